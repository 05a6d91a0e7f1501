"""The only door to Great Expectations: run rules over tables, name every row that broke a rule.

What it found is kept in its own JSON, rendered in its own words; `components.reports.data_docs` makes Data Docs of that.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from components.archives.report import Validation, write_report
from components.archives.rules import YIELD_RULES, ColumnRule, Table, face_tables, leak_table, manifest_table
from components.errors import Invalid, NoFaceFound
from components.params import ValidationOptions
from components.settings import hush

if TYPE_CHECKING:
    from great_expectations.data_context import AbstractDataContext
    from great_expectations.expectations import Expectation

SHOWN: Final = 10  # rows a message names before it only counts

_COMPLETE: Final = {"result_format": "COMPLETE"}  # with the index of every row that broke the rule
_OF_EVERY_ROW: Final = (
    "unexpected_list",
    "unexpected_index_list",
    "unexpected_index_query",
    "partial_unexpected_index_list",
)
"""What grows with the rows that broke a rule, and is not kept."""


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

    results: tuple[RuleResult, ...] = ()
    validations: tuple[Validation, ...] = ()
    """The same as Great Expectations says it: one result a table, without times, so that the same rows give the same bytes."""

    @property
    def broken(self) -> tuple[RuleResult, ...]:
        return tuple(result for result in self.results if not result.passed and not result.warns)

    @property
    def warnings(self) -> tuple[RuleResult, ...]:
        return tuple(result for result in self.results if not result.passed and result.warns)

    def as_json(self) -> dict[str, Any]:
        return {"passed": not self.broken, "results": [asdict(result) for result in self.results]}

    def write(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write both into `folder`, and `about` what they are."""
        write_report(folder, {**about, **self.as_json()}, self.validations)

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
    set_aside: pd.DataFrame | None = None,
) -> Report:
    """The suite over a manifest, and over what was `set_aside` of it, if anything leaked."""
    tables = [manifest_table(manifest, earlier, role, params)]
    if set_aside is not None and (set_aside["shared"] != "").any():
        tables.append(leak_table(manifest, set_aside, params))
    return check(tables)


def check_faces(
    rows: pd.DataFrame,
    manifest: pd.DataFrame,
    params: ValidationOptions,
    folder: Path | None = None,
    *,
    size_px: int | None = None,
) -> Report:
    """The suite over the rows of a face table, and over how many faces each clip of the manifest gave.

    The report is written to `folder`, if one is given, before it is enforced: Invalid, or NoFaceFound if nothing but the
    yield is too low. `size_px`: side of every crop, if it is fixed.
    """
    report = check(face_tables(rows, manifest, params, size_px))
    name = str(rows["archive"].iat[0]) if len(rows) else ""
    if folder is not None:
        report.write(folder, {"archive": name, "faces": len(rows)})
    report.enforce(name)
    return report


def check(tables: Iterable[Table]) -> Report:
    """Run every rule of every table."""
    context = _context()
    checked = [_run(context, table) for table in tables]
    return Report(tuple(one for results, _ in checked for one in results), tuple(said for _, said in checked))


def _context() -> AbstractDataContext:
    hush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports sre_constants, gone in Python 3.13
        import great_expectations as gx

    context: AbstractDataContext = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    return context


def _run(context: AbstractDataContext, table: Table) -> tuple[list[RuleResult], Validation]:
    import great_expectations as gx

    rows = table.rows.reset_index(drop=True)
    looked_at = rows[list(dict.fromkeys(rule.column for rule in table.rules))]  # each rule copies all it is given
    asset = context.data_sources.add_pandas(table.name).add_dataframe_asset(table.name)
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": looked_at})
    suite = gx.ExpectationSuite(name=table.name, expectations=[_expectation(rule) for rule in table.rules])
    validation = batch.validate(suite, result_format=_COMPLETE)
    found = {result.expectation_config.meta["rule"]: result for result in validation.results}
    results = [_result(table, rows, rule, found[rule.name]) for rule in table.rules]
    said = validation.to_json_dict() | {
        "meta": {"great_expectations_version": gx.__version__},
        "results": [_said(found[one.rule], one.rows) for one in results],
    }
    return results, said


def _said(result: Any, rows: tuple[str, ...]) -> dict[str, Any]:
    """What Great Expectations says of one expectation, rendered, with the rows that we name."""
    result.render()
    said: dict[str, Any] = result.to_json_dict()
    kept = {key: value for key, value in said["result"].items() if key not in _OF_EVERY_ROW}
    return said | {"result": kept, "meta": {"rows": list(rows)}}


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
