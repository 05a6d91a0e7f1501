"""Who becomes champion, who does not, and what is remembered of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from mlflow.tracking._tracking_service import utils as artifact_repos

from components.errors import BrokenLineage, Refused
from components.gates.verdict import VERDICT_FILE
from components.generations.card import CARD
from components.registry import catalogue, ledger
from components.registry import promote as promote_module
from components.registry.promote import Promotion, promote, settle
from components.registry.record import record
from components.registry.rollback import rollback
from components.tracking import connect


@pytest.fixture
def books(tmp_path) -> Path:
    return tmp_path / "ledger.jsonl"


@pytest.fixture
def put(tracking, books):
    """``put(generation)``: record it, then ask for its promotion."""

    def recorded_and_promoted(born, **keywords) -> Promotion:
        record(born.generation, tracking=tracking, **born.recording)
        return promote(born.generation, verdict=born.verdict, ledger_path=books, tracking=tracking, **keywords)

    return recorded_and_promoted


def aliases(tracking, line: str = "rsia") -> dict[str, str]:
    named = {alias: catalogue.holder(line, alias, tracking) for alias in ("champion", "previous", "challenger")}
    return {alias: version.tags[catalogue.GENERATION_TAG] for alias, version in named.items() if version}


def test_the_founder_becomes_champion_of_a_line_that_has_none(bear, put, tracking, books):
    first = bear(1)
    promotion = put(first, who="ada")
    assert promotion.moved and promotion.champion == "rsia-M1" and promotion.previous is None
    assert aliases(tracking) == {"champion": "rsia-M1"}
    (entry,) = ledger.read(books)
    assert (entry.who, entry.action, entry.came_from, entry.to.weights) == ("ada", "promote", None, first.weights)
    assert entry.why == "the gate opened" and not entry.override


def test_an_heir_replaces_the_champion_which_stays_as_the_way_back(bear, put, tracking):
    first = bear(1)
    put(first)
    put(bear(2, champion=first))
    assert aliases(tracking) == {"champion": "rsia-M2", "previous": "rsia-M1"}


def test_a_closed_gate_is_refused_in_the_words_of_the_rule_that_closed_it(bear, put, tracking, books):
    first = bear(1)
    put(first)
    with pytest.raises(Refused, match=r"found it closed: AUC 0\.500 is below 0\.800"):
        put(bear(2, opens=False, champion=first))
    assert aliases(tracking) == {"champion": "rsia-M1", "challenger": "rsia-M2"}
    assert len(ledger.read(books)) == 1


def test_a_person_may_go_on_against_a_closed_gate_and_the_ledger_says_why(bear, put, tracking, books):
    put(bear(1, opens=False), override="the only detector we have")
    assert aliases(tracking)["champion"] == "rsia-M1"
    (entry,) = ledger.read(books)
    assert entry.override and entry.why == "the only detector we have"


def test_no_verdict_is_no_approval(bear, put, tracking, books):
    first = bear(1)
    record(first.generation, tracking=tracking, **first.recording)
    (first.verdict / VERDICT_FILE).unlink()
    with pytest.raises(Refused, match="expected a verdict of 'rsia-M1'"):
        promote(first.generation, verdict=first.verdict, ledger_path=books, tracking=tracking)


def test_a_verdict_on_other_weights_is_refused(bear, put, tracking, books):
    first = bear(1)
    record(first.generation, tracking=tracking, **first.recording)
    verdict = first.verdict / VERDICT_FILE
    verdict.write_text(verdict.read_text().replace(first.weights, "f" * 64))
    with pytest.raises(Refused, match="found one on ffffffffffff"):
        promote(first.generation, verdict=first.verdict, ledger_path=books, tracking=tracking)


@pytest.mark.parametrize("judged_against_first", [True, False])
def test_a_verdict_against_another_champion_than_todays_is_refused(bear, put, judged_against_first):
    first = bear(1)
    if judged_against_first:
        with pytest.raises(Refused, match=r"today \(nobody yet\), found one against 'rsia-M1'"):
            put(bear(2, champion=first))
    else:
        put(first)
        with pytest.raises(Refused, match=r"today \('rsia-M1', weights \w+\), found one against nobody"):
            put(bear(2, champion=None))


def test_a_generation_that_is_not_registered_is_refused_whatever_a_person_says(bear, tracking, books):
    first = bear(1)
    with pytest.raises(Refused, match="Record the generation first"):
        promote(first.generation, verdict=first.verdict, ledger_path=books, tracking=tracking, override="now!")


@pytest.fixture
def stored(tmp_path):
    """A file of the one model in the artifact store."""

    def find(name: str) -> Path:
        (found,) = tmp_path.glob(f"mlartifacts/models/*/artifacts/{name}")
        return found

    return find


def test_registered_weights_that_were_tampered_with_never_become_champion(bear, tracking, books, stored):
    first = bear(1)
    record(first.generation, tracking=tracking, **first.recording)
    shutil.rmtree(tracking.models)
    weights = stored("artifacts/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(BrokenLineage, match=f"expected weights {first.weights[:12]}"):
        promote(first.generation, verdict=first.verdict, ledger_path=books, tracking=tracking, override="now!")
    assert aliases(tracking) == {"challenger": "rsia-M1"} and not ledger.read(books)


@pytest.mark.parametrize("file", ["model.py", "code/components/errors.py", "MLmodel", "kept"])
def test_code_of_the_store_that_is_not_the_recorded_one_is_never_executed(
    bear, tracking, books, stored, file, tmp_path
):
    first = bear(1)
    record(first.generation, tracking=tracking, **first.recording)
    trap = f"\nopen({str(tmp_path / 'executed')!r}, 'w')\n"
    if file == "kept":  # here, where it was looked at before; the store still has what was recorded
        (kept,) = tracking.models.glob("*/model.py")
        kept.write_text(kept.read_text() + trap)
        assert promote(first.generation, verdict=first.verdict, ledger_path=books, tracking=tracking).moved
    else:
        shutil.rmtree(tracking.models)
        spoilt = stored(file)
        spoilt.write_text(spoilt.read_text() + (trap if file != "MLmodel" else "\n"))
        with pytest.raises(BrokenLineage, match="found other code beside them: nothing of it was executed"):
            promote(first.generation, verdict=first.verdict, ledger_path=books, tracking=tracking)
    assert not (tmp_path / "executed").exists()


def test_a_version_of_which_no_code_was_recorded_answers_with_our_own(bear, tracking, books, stored, tmp_path):
    first = bear(1)
    record(first.generation, tracking=tracking, **first.recording)
    (version,) = catalogue.versions("rsia", tracking)
    tracking.client.delete_model_version_tag(version.name, version.version, catalogue.MODEL_TAG)  # as 0.2 left it
    stored("model.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    assert promote(first.generation, verdict=first.verdict, ledger_path=books, tracking=tracking).moved
    assert not (tmp_path / "executed").exists()


def test_a_model_is_fetched_once_and_nothing_temporary_stays(bear, put, tracking):
    put(bear(1))
    (kept,) = tracking.models.iterdir()
    assert catalogue.champion("rsia", tracking).folder.parent == kept
    assert list(tracking.models.iterdir()) == [kept] and not list(kept.rglob("__pycache__"))


def test_promoting_again_changes_nothing(bear, put, tracking, books):
    first = bear(1)
    put(first)
    again = put(first)
    assert not again.moved and again.champion == "rsia-M1"
    assert len(ledger.read(books)) == 1


def test_running_the_lifecycle_again_does_not_bring_back_whom_a_person_rolled_back(bear, put, tracking, books):
    first = bear(1)
    second = bear(2, champion=first)
    put(first)
    put(second)
    rollback("rsia", ledger_path=books, tracking=tracking, why="too many false alarms", who="ada")
    assert aliases(tracking) == {"champion": "rsia-M1", "previous": "rsia-M2", "challenger": "rsia-M2"}
    for born in (first, second):
        assert not put(born).moved
    assert aliases(tracking)["champion"] == "rsia-M1"
    assert put(second, override="it was the camera").moved
    assert [entry.action for entry in ledger.read(books)] == ["promote", "promote", "rollback", "promote"]


def test_a_rollback_twice_returns_to_where_it_started(bear, put, tracking, books):
    first = bear(1)
    put(first)
    put(bear(2, champion=first))
    rollback("rsia", ledger_path=books, tracking=tracking, why="a")
    rollback("rsia", ledger_path=books, tracking=tracking, why="b")
    assert aliases(tracking) == {"champion": "rsia-M2", "previous": "rsia-M1"}


def test_there_is_no_rollback_from_the_first_champion(bear, put, tracking, books):
    with pytest.raises(Refused, match="nobody was ever promoted"):
        rollback("rsia", ledger_path=books, tracking=tracking, why="x")
    put(bear(1))
    with pytest.raises(Refused, match="'rsia-M1' and nobody before it"):
        rollback("rsia", ledger_path=books, tracking=tracking, why="x")


def test_a_promotion_killed_between_ledger_and_aliases_is_finished_by_running_again(bear, put, tracking, books):
    first = bear(1)
    put(first)
    second = bear(2, champion=first)
    put(second)
    name = catalogue.model_name("rsia")
    one, _ = catalogue.versions("rsia", tracking)
    tracking.client.set_registered_model_alias(name, "champion", str(one.version))  # as it was before the aliases moved
    tracking.client.delete_registered_model_alias(name, "previous")
    assert not put(second).moved
    assert aliases(tracking) == {"champion": "rsia-M2", "previous": "rsia-M1"}
    assert len(ledger.read(books)) == 2


def test_an_empty_tracking_server_is_caught_up_from_the_files_and_the_ledger(bear, put, books, tmp_path):
    first = bear(1)
    second = bear(2, champion=first)
    put(first)
    put(second)
    fresh = connect(tmp_path / "fresh")
    for born in (first, second):
        record(born.generation, tracking=fresh, **born.recording)
        assert not promote(born.generation, verdict=born.verdict, ledger_path=books, tracking=fresh).moved
    assert aliases(fresh) == {"champion": "rsia-M2", "previous": "rsia-M1"}
    assert len(ledger.read(books)) == 2


def test_a_lost_ledger_learns_the_champion_from_the_registry(bear, put, tracking, books):
    first = bear(1)
    put(first)
    books.unlink()
    assert not put(first).moved
    (entry,) = ledger.read(books)
    assert entry.to.generation == "rsia-M1" and "knew nothing" in entry.why


def test_the_champion_is_handed_out_with_its_weights_on_disk(bear, put, tracking):
    assert catalogue.champion("rsia", tracking) is None
    first = bear(1)
    put(first)
    champion = catalogue.champion("rsia", tracking)
    assert champion is not None and (champion.name, champion.weights) == ("rsia-M1", first.weights)
    assert json.loads((champion.folder / CARD).read_text())["generation"] == "rsia-M1"


def test_lines_do_not_meet(bear, put, tracking):
    put(bear(1))
    put(bear(1, line="masm"))
    assert aliases(tracking, "rsia") == {"champion": "rsia-M1"} and aliases(tracking, "masm") == {"champion": "masm-M1"}


def cut_off(promotion, monkeypatch) -> None:
    """A move whose process is killed after its line is in the ledger and before an alias has moved."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.MlflowClient.set_registered_model_alias", killed)
        patch.setattr("mlflow.MlflowClient.delete_registered_model_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            promotion()


def test_a_rollback_that_was_cut_off_is_finished_when_it_is_asked_for_again(bear, put, tracking, books, monkeypatch):
    first = bear(1)
    put(first)
    put(bear(2, champion=first))

    def back() -> Promotion:
        return rollback("rsia", ledger_path=books, tracking=tracking, why="it fails in the field")

    cut_off(back, monkeypatch)
    assert aliases(tracking)["champion"] == "rsia-M2"
    said = back()
    assert (said.moved, said.champion, said.previous) == (
        True,
        "rsia-M1",
        "rsia-M2",
    ) and "is finished now" in said.words
    assert aliases(tracking) == {"champion": "rsia-M1", "previous": "rsia-M2", "challenger": "rsia-M2"}
    assert [entry.action for entry in ledger.read(books)] == ["promote", "promote", "rollback"]


def test_what_was_cut_off_is_settled_for_every_line(bear, put, tracking, books, monkeypatch):
    first = bear(1)
    put(first)
    put(bear(1, line="masm"))
    second = bear(2, champion=first)
    record(second.generation, tracking=tracking, **second.recording)
    cut_off(lambda: put(second), monkeypatch)
    assert aliases(tracking)["champion"] == "rsia-M1"
    assert settle(books, tracking) == {"rsia": "rsia-M2"}
    assert aliases(tracking) == {"champion": "rsia-M2", "previous": "rsia-M1"}
    assert settle(books, tracking) == {}


def test_a_champion_that_was_moved_meanwhile_is_not_replaced(bear, put, tracking, books, monkeypatch):
    first = bear(1)
    put(first)
    second, third = bear(2, champion=first), bear(3, champion=first)
    record(third.generation, tracking=tracking, **third.recording)
    meanwhile = promote_module.smoke

    def looked_at(*about: object) -> None:
        monkeypatch.setattr(promote_module, "smoke", meanwhile)
        put(second)

    monkeypatch.setattr(promote_module, "smoke", looked_at)
    with pytest.raises(Refused, match=r"expected 'rsia-M1' as the champion of 'rsia', found 'rsia-M2'"):
        put(third)
    assert aliases(tracking) == {"champion": "rsia-M2", "previous": "rsia-M1", "challenger": "rsia-M3"}


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_the_books_of_a_workspace_that_was_moved_or_copied_find_its_artifacts_beside_them(
    bear, empty_books, tmp_path, how
):
    there, here = tmp_path / "there", tmp_path / "an other 50%"
    there.mkdir()
    shutil.copy(empty_books, there)
    first = bear(1)
    record(first.generation, tracking=connect(there), **first.recording)
    shutil.rmtree(there / ".perennial")
    shutil.copytree(there, here)
    if how == "moved":
        shutil.rmtree(there)
    artifact_repos._artifact_repos_cache.clear()  # of this process; who meets the workspace elsewhere is another one
    tracking, before = connect(here), sorted(there.rglob("*"))
    promote(first.generation, verdict=first.verdict, ledger_path=here / "ledger.jsonl", tracking=tracking)
    champion = catalogue.champion("rsia", tracking)
    assert champion is not None and champion.weights == first.weights
    second = bear(2, champion=first)
    record(second.generation, tracking=tracking, **second.recording)
    assert sorted(there.rglob("*")) == before, "what is written belongs to the workspace it is written in"
    assert len(list(here.glob("mlartifacts/models/*/artifacts/MLmodel"))) == 2
