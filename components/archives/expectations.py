"""The only door to Great Expectations: run rules over tables, write Data Docs, name every row that broke a rule."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from components.archives.rules import YIELD_RULES, ColumnRule, Table, face_tables, leak_table, manifest_table
from components.errors import Invalid, NoFaceFound
from components.params import ValidationOptions
from components.settings import hush

if TYPE_CHECKING:
    from great_expectations.data_context import AbstractDataContext
    from great_expectations.expectations import Expectation

SHOWN: Final = 10  # rows a message names before it only counts

_COMPLETE: Final = {"result_format": "COMPLETE"}  # with the index of every row that broke the rule


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What one rule found."""

    table: str
    rule: str
    words: str
    passed: bool
    warns: bool
    broken: int
    """Rows, or missing values, that broke the rule; some may be allowed."""
    rows: tuple[str, ...]
    """The first of them."""
    advice: str = ""

    def __str__(self) -> str:
        more = f" and {self.broken - len(self.rows)} more" if self.broken > len(self.rows) else ""
        return f"expected that {self.words}; broken by {self.broken}: {', '.join(self.rows)}{more}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a suite found, rule by rule."""

    results: tuple[RuleResult, ...]

    @property
    def broken(self) -> tuple[RuleResult, ...]:
        return tuple(result for result in self.results if not result.passed and not result.warns)

    @property
    def warnings(self) -> tuple[RuleResult, ...]:
        return tuple(result for result in self.results if not result.passed and result.warns)

    def as_json(self) -> dict[str, Any]:
        return {"passed": not self.broken, "results": [asdict(result) for result in self.results]}

    def enforce(self, archive: str) -> None:
        """Raise Invalid if a rule is broken; NoFaceFound if only the yield is."""
        if not self.broken:
            return
        lines = "\n".join(f"  {result}" for result in self.broken)
        if all(result.rule in YIELD_RULES for result in self.broken):
            advice = "Is the detector right for these clips, or faces.min_score too high?"
            raise NoFaceFound(f"archive '{archive}' gives too few faces:\n{lines}\n{advice}")
        usual = "Mend the archive and land it under a new name; the others are not affected."
        advice = " ".join(dict.fromkeys(result.advice or usual for result in self.broken))
        raise Invalid(f"archive '{archive}' must not be learned from:\n{lines}\n{advice}")


def check_manifest(
    manifest: pd.DataFrame,
    earlier: pd.DataFrame,
    *,
    role: str,
    params: ValidationOptions,
    docs: Path | None = None,
    set_aside: pd.DataFrame | None = None,
) -> Report:
    """The suite over a manifest, and over what was `set_aside` of it, if anything leaked."""
    tables = [manifest_table(manifest, earlier, role, params)]
    if set_aside is not None and (set_aside["shared"] != "").any():
        tables.append(leak_table(manifest, set_aside, params))
    return check(tables, docs)


def check_faces(
    rows: pd.DataFrame,
    manifest: pd.DataFrame,
    params: ValidationOptions,
    docs: Path | None = None,
    *,
    size_px: int | None = None,
) -> Report:
    """The suite over the rows of a face table, and over how many faces each clip of the manifest gave.

    Raises Invalid, or NoFaceFound if nothing but the yield is too low. `size_px`: side of every crop, if it is fixed.
    """
    report = check(list(face_tables(rows, manifest, params, size_px)), docs)
    report.enforce(str(rows["archive"].iat[0]) if len(rows) else "")
    return report


def check(tables: list[Table], docs: Path | None = None) -> Report:
    """Run every rule of every table; with `docs`, render Data Docs to `docs/local_site/index.html`."""
    with tempfile.TemporaryDirectory(prefix="expectations-") as workplace:
        context = _context(Path(workplace) if docs else None)
        results = [result for table in tables for result in _run(context, table)]
        if docs:
            _publish(Path(workplace), docs)
    return Report(tuple(results))


def _context(workplace: Path | None) -> AbstractDataContext:
    """On disk where Data Docs are wanted, in memory where not."""
    hush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports sre_constants, gone in Python 3.13
        import great_expectations as gx

    if workplace:
        context: AbstractDataContext = gx.get_context(mode="file", project_root_dir=workplace)
    else:
        context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    return context


def _run(context: AbstractDataContext, table: Table) -> list[RuleResult]:
    import great_expectations as gx

    rows = table.rows.reset_index(drop=True)
    looked_at = rows[list(dict.fromkeys(rule.column for rule in table.rules))]  # each rule copies all it is given
    suite = gx.ExpectationSuite(name=table.name, expectations=[_expectation(rule) for rule in table.rules])
    asset = context.data_sources.add_pandas(table.name).add_dataframe_asset(table.name)
    definition = gx.ValidationDefinition(
        name=table.name, data=asset.add_batch_definition_whole_dataframe("all"), suite=context.suites.add(suite)
    )
    checkpoint = gx.Checkpoint(
        name=table.name,
        validation_definitions=[context.validation_definitions.add(definition)],
        actions=[gx.checkpoint.UpdateDataDocsAction(name="data_docs")],
        result_format=_COMPLETE,
    )
    outcome = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": looked_at})
    (validation,) = outcome.run_results.values()
    results = {result.expectation_config.meta["rule"]: result for result in validation.results}
    return [_result(table, rows, rule, results[rule.name]) for rule in table.rules]


def _expectation(rule: ColumnRule) -> Expectation:
    import great_expectations.expectations as gxe

    about: dict[str, Any] = {
        "column": rule.column,
        "meta": {"rule": rule.name},
        "notes": rule.words,
        "severity": "warning" if rule.warns else "critical",
    }
    if rule.holds:
        return gxe.ExpectColumnDistinctValuesToContainSet(value_set=list(rule.holds), **about)
    about["mostly"] = rule.share
    if rule.among:
        return gxe.ExpectColumnValuesToBeInSet(value_set=list(rule.among), **about)
    if rule.empty:
        return gxe.ExpectColumnValuesToBeNull(**about)
    if rule.unique:
        return gxe.ExpectColumnValuesToBeUnique(**about)
    return gxe.ExpectColumnValuesToBeBetween(min_value=rule.least, max_value=rule.most, **about)


def _result(table: Table, rows: pd.DataFrame, rule: ColumnRule, result: Any) -> RuleResult:
    if result.exception_info and result.exception_info.get("raised_exception"):
        raise RuntimeError(f"rule '{rule.name}' could not be checked: {result.exception_info['exception_message']}")
    if rule.holds:
        missing = sorted(set(rule.holds) - set(rows[rule.column]))
        named = tuple(f"no {rule.column} '{value}'" for value in missing)
    else:
        missing = result.result.get("unexpected_index_list") or []
        named = tuple(_named(rows.loc[index], table.key, rule) for index in sorted(missing)[:SHOWN])
    passed = bool(result.success)
    return RuleResult(table.name, rule.name, rule.words, passed, rule.warns, len(missing), named, rule.advice)


def _named(row: pd.Series[Any], key: str, rule: ColumnRule) -> str:
    shown = ", ".join(f"{column} {row[column]}" for column in rule.shows or (rule.column,))
    return f"'{row[key]}' ({shown})"


def _publish(workplace: Path, docs: Path) -> None:
    site = docs / "local_site"
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(workplace / "gx" / "uncommitted" / "data_docs" / "local_site", site)
