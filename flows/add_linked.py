"""``dvc add`` with hard links to the cache in place of a second copy, for which it has no option.

python -m flows.add_linked TARGET …
"""

from __future__ import annotations

import sys


def main(targets: list[str]) -> None:
    """Bring the targets under version control of the repository here."""
    from dvc.repo import Repo

    with Repo(config={"cache": {"type": "hardlink,copy"}}, _wait_for_lock=True) as repo:
        repo.add(targets)


if __name__ == "__main__":
    main(sys.argv[1:])
