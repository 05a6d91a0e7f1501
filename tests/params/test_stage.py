"""A stage on the command line: what dvc.yaml writes is what its function gets, and no stage outlives its flow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components import code

ROOT = Path(__file__).parents[2]
STAGE = '''
import sys, time
from pathlib import Path
from components import stage
from components.errors import NoFaceFound
from components.params import CropOptions, Params, ValidationOptions

def cut(clips: Path, faces: Path, *, name: str, limit: int = 3, faces_params: CropOptions, params: Params,
        made_of: str = "") -> None:
    """Cut faces."""
    print(repr(clips), repr(faces), name, limit, faces_params.size_px, params.seed, sep="|", flush=True)
    if name == "empty":
        raise NoFaceFound("expected a face, found none. Look.")
    if name == "broken":
        raise ZeroDivisionError("a defect of ours")
    if name == "full":
        raise OSError(28, "No space left on device", "data/x")
    if name == "half":
        import torch
        with open("/dev/full", "wb") as file:
            torch.save({"weights": torch.zeros(1_000_000)}, file)
    if name == "hungry":
        bytearray(1 << 60)
    if name == "torch":
        import torch
        torch.empty(1 << 60)
    if name == "told":
        print(made_of)
    if name == "edited":
        Path("data/code/stages/crop").write_text("components.stage 0")
    if name == "long":
        time.sleep(60)

stage.run(cut)
'''
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start the stage above with these words in a workspace of its own."""
    (tmp_path / "cut.py").write_text(STAGE)
    (tmp_path / "params.yaml").write_text("seed: 7\nfaces: {size_px: 96}\n")

    def run(*words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "cut.py", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


def test_paths_come_in_order_options_and_sections_by_name(start: Start) -> None:
    out, err = start("data/a", "data/b", "--name", "swap", "--limit", "5").communicate(timeout=60)
    assert out.strip().split("|") == ["PosixPath('data/a')", "PosixPath('data/b')", "swap", "5", "96", "7"], err


def test_an_option_that_is_not_given_has_its_default(start: Start) -> None:
    out, _ = start("a", "b", "--name", "swap").communicate(timeout=60)
    assert out.split("|")[3] == "3"


def test_a_fault_of_the_user_s_is_advice_on_stderr_and_exit_code_1(start: Start) -> None:
    process = start("a", "b", "--name", "empty")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.strip() == "NoFaceFound: expected a face, found none. Look."


def test_a_disk_that_is_full_is_one_line_with_advice(start: Start) -> None:
    process = start("a", "b", "--name", "full")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.strip() == (
        "'data/x' cannot be read or written: No space left on device: the disk is full: make room and try again. "
        "What was made before is safe; run again."
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_disk_that_is_full_is_told_though_a_library_fails_of_what_it_left_half_written(start: Start) -> None:
    process = start("a", "b", "--name", "half")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "No space left on device: the disk is full" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("who", ["hungry", "torch"])
def test_a_stage_that_memory_does_not_suffice_for_is_one_line_with_advice(start: Start, who: str) -> None:
    process = start("a", "b", "--name", who)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith("the memory of this machine does not suffice: give it less") and "training.batch" in err
    assert len(err.splitlines()) == 1


def test_a_defect_of_ours_shows_where(start: Start) -> None:
    process = start("a", "b", "--name", "broken")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" in err and "ZeroDivisionError" in err


def test_bad_params_stop_a_stage_before_it_begins(start: Start, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("faces: {size: 96}\n")
    process = start("a", "b", "--name", "swap")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err.startswith("BadParams: params.yaml cannot be followed:\n  faces.size: unknown key")


def test_a_missing_argument_is_named(start: Start) -> None:
    process = start("a", "--name", "swap")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and "required: faces" in err


def test_a_stage_dies_with_its_guardian(start: Start) -> None:
    guardian = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    stage = start("a", "b", "--name", "long", PERENNIAL_GUARDIAN=str(guardian.pid))
    try:
        assert stage.stdout is not None
        stage.stdout.readline()  # it is at work
        assert stage.poll() is None
        guardian.kill()
        killed = time.monotonic()
        assert stage.wait(timeout=10) == 137
        assert time.monotonic() - killed < 5
    finally:
        guardian.kill()
        guardian.wait()
        stage.kill()
        stage.communicate()


def test_a_stage_whose_guardian_is_already_gone_does_not_begin(start: Start) -> None:
    guardian = subprocess.Popen([sys.executable, "-c", ""])
    guardian.wait()
    process = start("a", "b", "--name", "swap", PERENNIAL_GUARDIAN=str(guardian.pid))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "the flow that started this stage" in err and "is gone" in err


# -- the code it is made of ----------------------------------------------------------------------------------------------

CROP, YUNET = "data/code/stages/crop", "data/code/faces/yunet"
TOLD = ("a", "b", "--name", "told", "--made-of", CROP, YUNET)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """What DVC has on record of today's code."""
    code.write(tmp_path / code.FOLDER, code.parts())
    return tmp_path


def test_a_stage_is_told_the_digest_of_the_code_it_is_made_of(start: Start, recorded: Path) -> None:
    out, err = start(*TOLD).communicate(timeout=60)
    parts = code.parts()
    assert out.split()[-1] == code.digest([parts["stages/crop"], parts["faces/yunet"]]), err


def test_a_stage_without_a_record_of_its_code_does_not_begin(start: Start) -> None:
    process = start(*TOLD)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert CROP in err and "`dvc repro` takes note" in err


def test_a_stage_whose_code_was_edited_since_does_not_begin_and_names_the_modules(start: Start, recorded: Path) -> None:
    parts = code.parts()["stages/crop"]
    (recorded / CROP).write_text(code.text({**parts, "components.faces.table": "0"}))
    process = start(*TOLD)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "found another in components.faces.table: it was edited since" in err


def test_a_record_that_was_written_anew_meanwhile_is_an_error(start: Start, recorded: Path) -> None:
    process = start("a", "b", "--name", "edited", "--made-of", CROP, YUNET)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "written anew while this stage was at work" in err


def test_a_stage_imports_what_it_is_made_of_before_it_begins(start: Start, recorded: Path, tmp_path: Path) -> None:
    script = STAGE.replace("print(made_of)", "print('components.faces.detection.yunet' in sys.modules)")
    (tmp_path / "cut.py").write_text(script)
    out, err = start(*TOLD).communicate(timeout=60)
    assert out.split()[-1] == "True", err


def test_a_brief_stage_imports_what_it_uses_alone(start: Start, recorded: Path, tmp_path: Path) -> None:
    script = STAGE.replace("print(made_of)", "print('components.faces.detection.yunet' in sys.modules)")
    (tmp_path / "cut.py").write_text(script.replace("stage.run(cut)", "stage.run(cut, brief=True)"))
    out, err = start(*TOLD).communicate(timeout=60)
    assert out.split()[-1] == "False", err


def test_a_brief_stage_whose_code_was_edited_while_it_was_at_work_fails(
    start: Start, recorded: Path, tmp_path: Path
) -> None:
    edit = "Path('package/components/errors.py').with_name('orders.py').open('a').write('EDITED = 1')"
    script = STAGE.replace("print(made_of)", edit).replace("stage.run(cut)", "stage.run(cut, brief=True)")
    (tmp_path / "cut.py").write_text(script)
    shutil.copytree(ROOT / "components", tmp_path / "package" / "components")
    process = start(*TOLD, PYTHONPATH=str(tmp_path / "package"))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "found another in components.orders: it was edited since" in err
