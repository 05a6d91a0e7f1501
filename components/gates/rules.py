"""The rules of the gate: each looks at one case and says what it measured, what was required, and whether it holds.

    passed True    it holds
    passed False   it does not; a rule that was asked but cannot be measured does not hold either
    passed None    skipped, because there is nothing yet to compare with; the words say why

Only the absence of a champion or of an older task, and a benchmark on which no test is possible, skip a rule.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from components import guardian, params
from components.errors import BadParams
from components.evaluation.comparison import Comparison, compare, holm
from components.evaluation.matrix import Matrix
from components.evaluation.operating_point import OperatingPoint, Standing
from components.evaluation.point_files import NOT_CALIBRATED
from components.evaluation.scores import Scores

SAME_ANSWER = 1e-4  # two processes may differ by rounding, not by more


@dataclass(frozen=True)
class Case:
    """All a rule may look at."""

    candidate: Scores
    champion: Scores | None
    """None while nobody of the line has passed the gate."""
    matrix: Matrix
    """With the candidate's row."""
    learns: str
    """The task the candidate has just learned."""
    generation: Path
    """The candidate's folder."""
    point: OperatingPoint | None = None
    """The candidate's operating point."""
    no_point: str = NOT_CALIBRATED
    """Why it has none."""
    ladder: Mapping[str, Any] | None = None
    """What it knows of faces made worse, by benchmark; None where nobody asked."""
    champions_point: OperatingPoint | None = None
    """None without a champion, and where it was judged before there were operating points."""

    @property
    def taught(self) -> tuple[str, ...]:
        """Benchmarks it was examined on and its line was taught."""
        return tuple(name for name in self.candidate.measured if name in self.matrix.learns.values())

    @cached_property
    def standing(self) -> Standing | None:
        """How it does at its own threshold on what it was taught; None without one."""
        if self.point is None:
            return None
        return Standing.of(self.point, {name: self.candidate.clips(name) for name in self.taught})


@dataclass(frozen=True)
class Finding:
    """What one rule found, once per benchmark where it looks at several."""

    rule: str
    passed: bool | None
    words: str
    measured: dict[str, Any] = field(default_factory=dict)
    required: dict[str, Any] = field(default_factory=dict)
    benchmark: str | None = None

    def as_json(self) -> dict[str, Any]:
        entry = {name: getattr(self, name) for name in ("rule", "measured", "required", "passed", "words")}
        return entry if self.benchmark is None else {**entry, "benchmark": self.benchmark}


def judged(case: Case, rules: Sequence[params.Rule]) -> list[Finding]:
    """The findings of all rules, in their order. Raises BadParams without a rule: an empty gate approves nobody."""
    if not rules:
        raise BadParams(
            "expected at least one rule under gate in the recipe, found none; an empty gate approves nobody. "
            f"Add one to params.yaml: {', '.join(RULES)}, for example `- {{rule: absolute, min_auc: 0.8}}`."
        )
    return [finding for rule in rules for finding in RULES[rule.rule](case, rule)]


def absolute(case: Case, rule: params.Absolute) -> list[Finding]:
    """The new task is known well enough, and few of its genuine clips are called forged."""
    found = case.candidate.estimates(case.learns)
    return [
        _bound(case, "AUC", "auc", found["auc"].value, found["auc"].reason, "min_auc", rule.min_auc),
        _bound(
            case,
            "the share of genuine clips called forged",
            "false_alarms",
            found["false_alarms"].value,
            found["false_alarms"].reason,
            "max_false_alarms",
            rule.max_false_alarms,
        ),
    ]


def relative(case: Case, rule: params.Relative) -> list[Finding]:
    """On no benchmark is the candidate significantly more than `max_drop` below the champion (Holm over benchmarks)."""
    required = {"max_drop": rule.max_drop, "alpha": rule.alpha}
    if case.champion is None:
        words = "Nobody of this line has passed the gate yet, so there is no champion to compare with: skipped."
        return [Finding("relative", None, words, required=required)]
    found = {name: _compared(case, case.champion, name, rule.max_drop) for name in case.candidate.measured}
    tested = {name: c.p_worse for name, c in found.items() if c.p_worse is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    strictest = rule.alpha / max(len(tested), 1)
    return [
        _relative_finding(case.champion.generation, name, c, corrected.get(name), rule, required, strictest)
        for name, c in found.items()
    ]


def forgetting(case: Case, rule: params.Forgetting) -> list[Finding]:
    """What the line once knew it still knows: mean and worst fall of AUC from each old task's best.

    Where a generation was born before a benchmark joined, the best is taken over the generations that were examined.
    """
    required = {"max_mean": rule.max_mean, "max_worst": rule.max_worst}
    old = [case.matrix.learns[g] for g in case.matrix.generations[:-1]]
    if not old:
        words = "The first generation has no older task to forget: skipped."
        return [Finding("forgetting", None, words, required=required)]
    falls = dict(zip(old, _falls(case.matrix.square("auc")), strict=True))
    unknown = sorted(task for task, fall in falls.items() if math.isnan(fall))
    if unknown:
        words = (
            f"Forgetting of {_names(unknown)} cannot be measured: there is no AUC on it before or after. "
            "Add it to benchmarks in params.yaml and plan the next generation: refused."
        )
        return [Finding("forgetting", False, words, {"unmeasured": unknown}, required)]
    worst = max(falls, key=lambda task: falls[task])
    mean = float(np.mean(list(falls.values())))
    return [
        _forgetting_finding("mean", f"Over {_names(list(falls))} the mean", mean, rule.max_mean, {"per_task": falls}),
        _forgetting_finding("worst", f"The worst is '{worst}', where the", falls[worst], rule.max_worst, {}, worst),
    ]


def infra(case: Case, rule: params.Infra) -> list[Finding]:
    """The saved weights load in a fresh process, in time, and answer a known question as they do here."""
    from components.gates import probe  # torch, which the other rules do without

    required = {"max_seconds": rule.max_seconds, "max_difference": SAME_ANSWER}
    try:
        there = _asked_afresh(case.generation, rule.max_seconds)
    except subprocess.TimeoutExpired:
        words = f"A fresh process did not answer within {rule.max_seconds:g} s: refused."
        return [Finding("infra", False, words, {"answered": False}, required)]
    except ValueError as fault:
        words = f"The saved weights do not answer in a fresh process ({fault}): refused."
        return [Finding("infra", False, words, {"answered": False}, required)]
    difference = max(abs(a - b) for a, b in zip(probe.answer(case.generation), there, strict=True))
    same = difference <= SAME_ANSWER  # False for NaN
    measured = {"answered": True, "difference": round(difference, 6) if math.isfinite(difference) else None}
    words = "The saved weights load in a fresh process and answer a known input " + (
        "as they do here: passed." if same else f"differently, by {difference:.2g}: refused."
    )
    return [Finding("infra", same, words, measured, required)]


def operating_point(case: Case, rule: params.AtOnePoint) -> list[Finding]:
    """At its one threshold a generation tells apart what it was taught, and accuses few genuine clips of any benchmark.

    AUC cannot see a benchmark whose scores have all moved to one side of the threshold.
    """
    asked = {"min_balanced_accuracy": rule.min_balanced_accuracy, "max_false_alarms": rule.max_false_alarms}
    if case.standing is None or case.point is None:
        words = f"There is no operating point ({case.no_point}), and at one threshold it was to be judged: refused."
        return [Finding("operating_point", False, words, {}, asked)]
    at = f"At its threshold {case.point.threshold:.3f}"
    balanced, least = case.standing.balanced_accuracy, rule.min_balanced_accuracy
    required = {"min_balanced_accuracy": least}
    if balanced is None:
        words = f"{at} nothing is known of benchmarks it was taught, or not of both classes: refused."
        return [Finding("operating_point", False, words, {"balanced_accuracy": None}, required)]
    passed = balanced >= least
    words = (
        f"{at} balanced accuracy over {_names(case.taught)} is {balanced:.3f}, at least {least:.3f} was asked: "
        f"{_outcome(passed)}."
    )
    measured = {"balanced_accuracy": balanced, "threshold": case.point.threshold}
    return [
        Finding("operating_point", passed, words, measured, required),
        *(_alarms(at, name, share, rule.max_false_alarms) for name, share in case.standing.false_alarms.items()),
    ]


def calibration(case: Case, rule: params.Calibrated) -> list[Finding]:
    """Its probabilities are about what they say, and not much worse than the champion's on what both were taught."""
    asked = {"max_error": rule.max_error, "max_drift": rule.max_drift}
    error = case.standing.calibration_error if case.standing else None
    if error is None:
        why = f"there is no operating point: {case.no_point}" if case.standing is None else "a class is missing"
        return [Finding("calibration", False, f"Calibration cannot be measured ({why}): refused.", {}, asked)]
    passed = error <= rule.max_error
    words = (
        f"Over {_names(case.taught)} its probabilities are {error:.3f} off on average, at most {rule.max_error:.3f} was "
        f"allowed: {_outcome(passed)}."
    )
    own = Finding("calibration", passed, words, {"error": error}, {"max_error": rule.max_error})
    return [own, _drift(case, rule.max_drift)]


def robustness(case: Case, rule: params.Robust) -> list[Finding]:
    """Faces that were compressed, scaled, blurred or made noisy are told apart about as well as clean ones."""
    required = {"max_fall": rule.max_fall}
    climbed = {name: case.ladder[name] for name in case.taught if name in case.ladder} if case.ladder else {}
    if not climbed:
        words = "Nothing it was taught was asked about on the ladder, so its robustness is not known: refused."
        return [Finding("robustness", False, words, {}, required)]
    return [_climbed(name, found, rule, required) for name, found in climbed.items()]


RULES: dict[str, Callable[[Case, Any], list[Finding]]] = {
    "absolute": absolute,
    "relative": relative,
    "forgetting": forgetting,
    "infra": infra,
    "operating_point": operating_point,
    "calibration": calibration,
    "robustness": robustness,
}


def _bound(
    case: Case, what: str, metric: str, value: float | None, reason: str | None, name: str, limit: float
) -> Finding:
    """One number against one limit of the rule `absolute`; what cannot be measured does not pass."""
    at_least = name.startswith("min")
    asked = f"at {'least' if at_least else 'most'} {limit:.3f} was asked"
    if value is None:
        words = f"On '{case.learns}' {what} is undefined ({reason}); {asked}: refused."
        passed = False
    else:
        passed = value >= limit if at_least else value <= limit
        words = f"On '{case.learns}' {what} is {value:.3f}, {asked}: {_outcome(passed)}."
    return Finding("absolute", passed, words, {metric: value}, {name: limit}, case.learns)


def _compared(case: Case, champion: Scores, benchmark: str, margin: float) -> Comparison:
    if benchmark not in champion.measured:
        return Comparison(reason=f"the champion '{champion.generation}' was not examined on it")
    return compare(case.candidate.clips(benchmark), champion.clips(benchmark), margin=margin)


def _relative_finding(
    champion: str,
    benchmark: str,
    found: Comparison,
    p: float | None,
    rule: params.Relative,
    required: dict[str, Any],
    strictest: float,
) -> Finding:
    """One benchmark; `strictest` is the level at which Holm would test the smallest of the p-values."""
    smallest = found.smallest_fall(strictest)
    measured = {"champion": champion, "clips": found.clips, "drop": found.drop, "test": found.test}
    measured |= {"p_worse": found.p_worse, "p_worse_holm": p, "p_not_worse": found.p_not_worse}
    measured |= {"smallest_fall": smallest}
    if found.drop is None or p is None:
        words = f"On '{benchmark}' no comparison with the champion is possible ({found.reason}): skipped."
        return Finding("relative", None, words, measured, required, benchmark)
    moved = f"On '{benchmark}' AUC is {abs(found.drop):.3f} {'below' if found.drop > 0 else 'above'} '{champion}'"
    if abs(found.drop) < 5e-4:
        moved = f"On '{benchmark}' AUC is that of '{champion}'"
    seen = "no fall" if smallest is None else f"a fall of {smallest:.3f}"
    allowed = f"{moved}, at most {rule.max_drop:.3f} below was allowed ({seen} would be seen)"
    passed = p >= rule.alpha
    if found.drop <= rule.max_drop:
        words = f"{allowed}: {_outcome(passed)}."
    elif passed:
        words = f"{allowed}, yet with {found.clips} clips that may be chance (p = {p:.3g}): passed."
    else:
        words = f"{allowed}, and with {found.clips} clips that is not chance (p = {p:.3g}): refused."
    return Finding("relative", passed, words, measured, required, benchmark)


def _falls(R: np.ndarray) -> list[float]:
    """The fall of each old task since it was learned; NaN where its last score, or every earlier one, was not measured."""
    last = len(R) - 1
    return [float(np.fmax.reduce(R[j:last, j]) - R[last, j]) for j in range(last)]


def _forgetting_finding(
    which: str, subject: str, fall: float, limit: float, more: dict[str, Any], task: str | None = None
) -> Finding:
    passed = fall <= limit
    words = f"{subject} AUC lost since its best is {fall:.3f}, at most {limit:.3f} was allowed: {_outcome(passed)}."
    return Finding("forgetting", passed, words, {which: fall, **more}, {f"max_{which}": limit}, task)


def _alarms(at: str, benchmark: str, share: float | None, most: float) -> Finding:
    """The genuine clips of one benchmark, called forged at the threshold."""
    measured, required = {"false_alarms": share}, {"max_false_alarms": most}
    if share is None:
        words = f"On '{benchmark}' no genuine clip was scored, so its false alarms are not known: refused."
        return Finding("operating_point", False, words, measured, required, benchmark)
    passed = share <= most
    words = f"{at} the share of genuine clips of '{benchmark}' called forged is {share:.3f}, at most {most:.3f} was allowed: "
    return Finding("operating_point", passed, f"{words}{_outcome(passed)}.", measured, required, benchmark)


def _drift(case: Case, most: float) -> Finding:
    """How much worse its probabilities are than the champion's, each by its own calibration, on the same clips."""
    required = {"max_drift": most}
    if case.champion is None or case.champions_point is None or case.point is None:
        why = "there is no champion yet" if case.champion is None else "the champion has no operating point"
        return Finding("calibration", None, f"Drift cannot be measured, because {why}: skipped.", {}, required)
    champion = case.champion.generation
    older = [task for name, task in case.matrix.learns.items() if name != case.candidate.generation]
    shared = [name for name in case.taught if name in older and name in case.champion.measured]
    mine, theirs = (
        Standing.of(point, {name: scores.clips(name) for name in shared}).calibration_error
        for point, scores in ((case.point, case.candidate), (case.champions_point, case.champion))
    )
    if mine is None or theirs is None:
        words = f"Drift cannot be measured, because no benchmark was taught to '{champion}' as well: skipped."
        return Finding("calibration", None, words, {}, required)
    drift = mine - theirs
    passed = drift <= most
    words = (
        f"Over {_names(shared)} its probabilities are {mine:.3f} off, those of '{champion}' {theirs:.3f}; at most "
        f"{most:.3f} more was allowed: {_outcome(passed)}."
    )
    return Finding("calibration", passed, words, {"drift": drift, "champion": champion}, required)


def _climbed(benchmark: str, found: Mapping[str, Any], rule: params.Robust, required: dict[str, Any]) -> Finding:
    """One benchmark's ladder, told by the rung where most was lost beyond what was allowed."""
    clean, rungs = found["clean"], found["rungs"]
    allowed = rule.max_fall if isinstance(rule.max_fall, dict) else dict.fromkeys(rungs, rule.max_fall)
    missing = sorted(rung for rung in allowed if rungs.get(rung) is None)
    if clean is None or missing or not allowed:
        words = f"On '{benchmark}' the ladder tells nothing of {_names(missing) or 'any rung'}: refused."
        return Finding("robustness", False, words, {"clean": clean}, required, benchmark)
    falls = {rung: clean - rungs[rung] for rung in allowed}
    worst = max(falls, key=lambda rung: falls[rung] - allowed[rung])
    passed = falls[worst] <= allowed[worst]
    words = (
        f"On '{benchmark}' AUC of {found['faces']} faces is {clean:.3f}, and {rungs[worst]:.3f} after {worst}; at most "
        f"{allowed[worst]:.3f} less was allowed: {_outcome(passed)}."
    )
    measured = {"clean": clean, "rung": worst, "fall": falls[worst], "falls": falls}
    return Finding("robustness", passed, words, measured, required, benchmark)


def _asked_afresh(generation: Path, max_seconds: float) -> list[float]:
    """The answer of a new Python process; raises ValueError with its last words when it has none."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    ran = subprocess.run(
        guardian.command("components.gates.probe", str(generation)),
        capture_output=True,
        text=True,
        timeout=max_seconds,
        env={**os.environ, "PYTHONPATH": path},
    )
    if ran.returncode:
        raise ValueError((ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"])[-1])
    p_fake: list[float] = json.loads(ran.stdout.strip().splitlines()[-1])["p_fake"]
    return p_fake


def _outcome(passed: bool) -> str:
    return "passed" if passed else "refused"


def _names(tasks: Sequence[str]) -> str:
    return ", ".join(f"'{task}'" for task in tasks)
