"""torchvision can be imported, whatever torch it was built for."""

from __future__ import annotations

import subprocess
import sys

from components import torchvision_ops


def test_completing_twice_changes_nothing() -> None:
    assert torchvision_ops.complete() == torchvision_ops.complete()


def test_a_fresh_process_imports_torchvision_after_completing() -> None:
    script = (
        "from components import torchvision_ops as t; t.complete(); t.complete(); "
        "import torchvision; assert callable(torchvision.transforms.functional.resize)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
