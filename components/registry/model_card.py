"""What a model says of itself to somebody who meets it alone, in Markdown: what it learned, from whom, its row, its limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from components.gates.files import GenerationFiles
from components.tables import markdown, plain

FORGETTING = "mean over older tasks of the best AUC since each was learned less the AUC of today"


def of_generation(files: GenerationFiles) -> str:
    """The card of one generation."""
    return "\n\n".join(_paragraphs(files))


def of_line(files: GenerationFiles) -> str:
    """The card of a line, as its generation `files` leaves it."""
    matrix, card = files.matrix, files.card
    rows = [
        (
            name,
            matrix["learns"][name],
            *(_fixed(matrix["summary"].get(name, {}).get(key)) for key in ("average_auc", "forgetting")),
        )
        for name in matrix["generations"]
    ]
    return "\n\n".join(
        [
            f"Line **{files.line}** of Perennial: detector `{card['detector']}`, strategy `{card['strategy']}`. Every "
            "version is a generation, raised from the one before it on a new task and a memory of the older ones. The alias "
            "`champion` answers; `challenger` is younger and was refused.",
            markdown(("generation", "learned", "average AUC", "forgetting"), rows).rstrip(),
            f"*Forgetting*: {FORGETTING}.",
        ]
    )


def _paragraphs(files: GenerationFiles) -> Iterator[str]:
    card, matrix = files.card, files.matrix
    before = [matrix["learns"][name] for name in matrix["generations"][: files.index - 1]]
    teacher = (
        "as the founder of its line" if not before else f"from `{card['teacher']}`, which had learned {_listed(before)}"
    )
    memory = ", with a memory of the older tasks," if card.get("memory") else ""
    yield (
        f"**{files.name}** of line `{files.line}`: detector `{card['detector']}`, strategy `{card['strategy']}`. It answers "
        f"how probable it is that a face is forged. It learned `{files.learns}`{memory} {teacher}."
    )
    cells = [(name, found["auc"], found.get("clips")) for name, found in files.metrics["benchmarks"].items()]
    rows = [
        (name, "yes" if name in (*before, files.learns) else "no", _fixed(auc), _interval(auc), plain(clips, 0))
        for name, auc, clips in cells
    ]
    yield markdown(("benchmark", "learned", "AUC", "interval", "clips"), rows).rstrip()
    summary = matrix["summary"].get(files.name, {})
    yield f"Average AUC {_fixed(summary.get('average_auc'))}, forgetting {_fixed(summary.get('forgetting'))} ({FORGETTING})."
    yield _gate(files)
    yield _point(files)
    yield "\n".join(f"* {limit}" for limit in _limits(files, before))


def _gate(files: GenerationFiles) -> str:
    refused = [rule["words"] for rule in files.verdict["rules"] if rule["passed"] is False]
    if files.verdict["opens"]:
        return "The gate opened."
    return "The gate stayed closed: it is not fit to answer. " + " ".join(refused)


def _point(files: GenerationFiles) -> str:
    point = files.calibrated["point"]
    if not point:
        return f"No operating point: {files.calibrated['reason']}."
    alarms = point["found"]["false_alarms"]
    return (
        f"Operating point: a clip is called forged above {point['threshold']:.3f}. On validation clips it then calls "
        f"{alarms['value']:.1%} of genuine clips forged (interval {_interval(alarms) or 'unknown'}). "
        "Probabilities are at even odds."
    )


def _limits(files: GenerationFiles, before: Sequence[str]) -> Iterator[str]:
    methods, profiles = files.card.get("methods"), files.card.get("profiles") or ()
    seen = f" of {_listed(methods)}" if methods else ""
    yield f"It has seen forgeries{seen} alone, from {_listed([*before, files.learns])}; elsewhere it was not measured."
    for one in profiles:
        yield f"Its faces were found by `{one['detector']}` and cut to {one['size_px']} px with margin {one['margin']}."
    if withdrawn := len(files.card.get("withdrawn") or ()):
        yield f"{withdrawn} withdrawals were heeded when it was raised."
    yield "An answer is a probability, no proof: do not decide about a person by it alone."
    yield f"Weights `{files.weights}`."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _fixed(estimate: Any) -> str:
    return plain(estimate["value"] if estimate else None)


def _interval(estimate: Any) -> str:
    return (
        ""
        if estimate.get("low") is None or estimate.get("high") is None
        else f"{estimate['low']:.3f}–{estimate['high']:.3f}"
    )
