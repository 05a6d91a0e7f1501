"""Put a generation in charge of its line: only with an open verdict on these weights against this champion.

    verdict opens, digests agree -> the registered weights load and answer -> ledger line -> aliases

The ledger line is the decision, written only while the champion is the one that the verdict was made against; the aliases
follow from it. Killed in between, the next call sets them right, and so does every lifecycle.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities.model_registry import ModelVersion

from components.digests import file_digest
from components.errors import Refused
from components.gates import probe
from components.gates.verdict import VERDICT_FILE, verdict_if_any
from components.generations.card import read_card
from components.registry import catalogue, ledger
from components.registry.ledger import Decision, Holder
from components.registry.record import challenge
from components.tracking import Tracking


@dataclass(frozen=True)
class Promotion:
    """How a promotion or a rollback ended."""

    line: str
    champion: str
    """Who answers now."""
    previous: str | None
    moved: bool
    """False: nothing had to change, and `words` says why."""
    words: str


def promote(
    generation: Path, *, verdict: Path, ledger_path: Path, tracking: Tracking, override: str = "", who: str = ""
) -> Promotion:
    """Make the generation in that folder the champion of its line; doing it again changes nothing.

    `verdict` is its verdict's folder. Raises Refused without an open verdict for these weights against the champion of
    today; `override`, a person's reason, goes on all the same and stands in the ledger. Nothing overrides weights that
    are not registered, or that do not load and answer.
    A generation that was promoted once and replaced since (by a descendant, by a rollback) stays replaced: running a
    lifecycle again never undoes what a person decided. Only `override` brings it back.
    """
    card = read_card(generation)
    name, line, weights = str(card["generation"]), str(card["line"]), str(card["weights"])
    version = catalogue.version_of(line, name, weights, tracking)
    if version is None:
        raise Refused(
            f"expected weights {weights[:12]} of '{name}' in the registered model '{catalogue.model_name(line)}', "
            "found none. Record the generation first: `perennial run` does."
        )
    reigning = _reigning(line, ledger_path, tracking)
    if reigning is not None:
        _remember(ledger_path, line, reigning)
    if reigning is not None and (reigning.generation, reigning.weights) == (name, weights):
        follow_ledger(line, ledger_path, tracking)
        return _promotion(line, ledger_path, moved=False, words=f"'{name}' is the champion of '{line}'")
    before = ledger.promoted(ledger_path, line, name, weights)
    if before is not None and not override:
        follow_ledger(line, ledger_path, tracking)
        words = f"'{name}' was promoted on {before.when} and has been replaced since; an override brings it back"
        return _promotion(line, ledger_path, moved=False, words=words)
    objection = _objection(name, weights, verdict, reigning)
    if objection and not override:
        raise Refused(f"{objection} A person may go on with --override 'REASON'.")
    smoke(version, tracking)
    ledger.append(
        ledger_path,
        Decision(
            when=ledger.now(),
            who=who or ledger.somebody(),
            action=ledger.PROMOTE,
            line=line,
            came_from=reigning,
            to=Holder(name, weights, str(version.version)),
            why=override or "the gate opened",
            verdict=_digest_of(verdict / VERDICT_FILE),
            override=bool(override),
        ),
    )
    follow_ledger(line, ledger_path, tracking)
    came_from = f", after '{reigning.generation}'" if reigning else ", the first"
    return _promotion(line, ledger_path, moved=True, words=f"'{name}' is the champion of '{line}'{came_from}")


def follow_ledger(line: str, ledger_path: Path, tracking: Tracking) -> bool:
    """Set the three aliases as the ledger says, and say whether the champion's was another; a version that is not recorded
    here yet is left out.

    The champion's comes last: while it is another one, the move is unfinished. Who moves it at the same time wrote into the
    ledger before, so that the ledger is asked once more when all is done.
    """
    moved, now = False, None
    while now != (now := ledger.standing(ledger_path, line)):
        challenge(line, tracking, now.champion)
        for alias, who in ((catalogue.PREVIOUS, now.previous), (catalogue.CHAMPION, now.champion)):
            version = catalogue.version_of(line, who.generation, who.weights, tracking) if who else None
            there = catalogue.holder(line, alias, tracking)
            if version is not None and (there is None or str(there.version) != str(version.version)):
                tracking.client.set_registered_model_alias(catalogue.model_name(line), alias, str(version.version))
                moved |= alias == catalogue.CHAMPION
    return moved


def settle(ledger_path: Path, tracking: Tracking) -> dict[str, str]:
    """Finish what was cut off, of every line the ledger knows: line -> its champion, where the alias was another."""
    moved = [line for line in ledger.standings(ledger_path) if follow_ledger(line, ledger_path, tracking)]
    return {line: champion.generation for line in moved if (champion := ledger.standing(ledger_path, line).champion)}


def smoke(version: ModelVersion, tracking: Tracking) -> None:
    """Load what the registry would serve and let it answer; raises Refused unless it answers with probabilities.

    Its digest is taken first, of the code too: `BrokenLineage` when it is not the recorded one. Where none was recorded, our
    own code answers with its weights.
    """
    folder = catalogue.fetch(version, tracking)
    answers = _of_the_store(folder.parent) if catalogue.executable(version) else np.asarray(probe.answer(folder))
    if answers.ndim != 1 or not answers.size or not ((answers >= 0) & (answers <= 1)).all():
        raise Refused(
            f"expected probabilities from version {version.version} of '{version.name}', found {answers.tolist()}. "
            "Raise the generation again."
        )


def _of_the_store(model: Path) -> Any:
    import mlflow

    faces = np.linspace(0, 255, 2 * 64 * 64 * 3).astype(np.uint8).reshape(2, 64, 64, 3)
    with catalogue.own_modules():
        return np.asarray(mlflow.pyfunc.load_model(str(model)).predict(faces))


def _objection(name: str, weights: str, verdict: Path, reigning: Holder | None) -> str:
    """Why the rules forbid it; empty when they do not."""
    said = verdict_if_any(verdict)
    if said is None:
        return f"expected a verdict of '{name}' at '{verdict / VERDICT_FILE}', found none. Judge it: `perennial run`."
    judged = said["candidate"]["weights"]
    if judged != weights:
        return (
            f"expected a verdict on weights {weights[:12]} of '{name}', found one on {judged[:12]}. "
            "Judge the generation again: `perennial run`."
        )
    if said["opens"] is not True:
        words = "; ".join(str(rule["words"]) for rule in said["rules"] if rule["passed"] is False)
        return f"expected an open gate for '{name}', found it closed: {words or 'no rule says why'}."
    judged_against = (said["champion"] or {}).get("weights")
    now = reigning.weights if reigning else None
    if judged_against != now:
        return (
            f"expected a verdict of '{name}' against the champion of today ({_short(reigning)}), found one against "
            f"{_short_raw(said['champion'])}: a person chose another champion since. The line's next generation is judged "
            "against that one."
        )
    return ""


def _reigning(line: str, ledger_path: Path, tracking: Tracking) -> Holder | None:
    """The champion: by the ledger, or by the alias where the ledger knows nothing of this line (it was lost)."""
    champion = ledger.standing(ledger_path, line).champion
    alias = catalogue.holder(line, catalogue.CHAMPION, tracking)
    if champion is None and alias is not None:
        return Holder(alias.tags[catalogue.GENERATION_TAG], alias.tags[catalogue.WEIGHTS_TAG], str(alias.version))
    return champion


def _remember(ledger_path: Path, line: str, reigning: Holder) -> None:
    """Write down a champion the ledger has lost."""
    if ledger.standing(ledger_path, line).champion is None:
        why = "found in the registry; the ledger knew nothing of this line"
        ledger.append(
            ledger_path,
            Decision(ledger.now(), ledger.somebody(), ledger.PROMOTE, line, came_from=None, to=reigning, why=why),
        )


def _promotion(line: str, ledger_path: Path, *, moved: bool, words: str) -> Promotion:
    now = ledger.standing(ledger_path, line)
    assert now.champion is not None
    return Promotion(line, now.champion.generation, now.previous.generation if now.previous else None, moved, words)


def _digest_of(path: Path) -> str:
    return file_digest(path) if path.is_file() else ""


def _short(holder: Holder | None) -> str:
    return f"'{holder.generation}', weights {holder.weights[:12]}" if holder else "nobody yet"


def _short_raw(champion: dict[str, str] | None) -> str:
    return f"'{champion['name']}', weights {champion['weights'][:12]}" if champion else "nobody"
