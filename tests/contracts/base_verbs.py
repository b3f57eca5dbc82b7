"""What the base installation is for, run with the base alone: reading, analysing and reporting a store.

python tests/contracts/base_verbs.py build/base-store --installed     # in an environment that has only the base
python tests/contracts/base_verbs.py FOLDER                           # libraries of the extras blocked
"""

from __future__ import annotations

import json
import sys
from importlib.abc import MetaPathFinder
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tests/simulate.py

from advassay.optional_libraries import EXTRAS, is_installed

OPTIONAL = {module for _, modules in EXTRAS.values() for module in modules} | {
    "pandas", "sklearn", "skimage", "statsmodels", "torchvision"
}  # fmt: skip
"""Modules that no verb of the base may need."""
MOST_BYTES = 900e6
"""What the base may take on the disk, promised to users."""


class Blocked(MetaPathFinder):
    """Lets no module of OPTIONAL be imported, as if it were not installed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in OPTIONAL:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def verbs(store: Path) -> list[list[str]]:
    """The command lines that the base promises."""
    folder = store.parent
    return [
        ["doctor", "--store", str(folder)],
        ["schema"],
        ["datasets", "list"],
        ["analyse", str(store), "--over", "epsilon", "--json"],
        ["conclusions", str(store), "--json"],
        ["report", str(store), "-o", str(folder / "report.html"), "-q"],
        ["report", str(store), "-o", str(folder / "report.md"), "--format", "md", "-q"],
        ["compare", str(store), str(store), "-o", str(folder / "compare.html"), "-q"],
    ]


def run(words: list[str]) -> int:
    """The exit code of one command line, run in this process."""
    from advassay.cli.program import app

    try:
        app(words, standalone_mode=True)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def sizes() -> dict[str, int]:
    """Distribution → bytes of its files on the disk."""
    found = {}
    for one in distributions():
        places = [Path(str(one.locate_file(file))) for file in one.files or ()]
        found[one.metadata["Name"]] = sum(place.stat().st_size for place in places if place.is_file())
    return found


def main() -> NoReturn:
    folder, installed = Path(sys.argv[1]), "--installed" in sys.argv
    if installed:
        by_size = sorted(sizes().items(), key=lambda pair: -pair[1])
        whole = sum(size for _, size in by_size)
        print(json.dumps({name: round(size / 1e6, 1) for name, size in by_size if size > 1e6}, indent=1))
        print(f"{len(by_size)} distributions, {whole / 1e6:.0f} MB; at most {MOST_BYTES / 1e6:.0f} MB are promised")
        there = sorted(filter(is_installed, OPTIONAL))
        if whole > MOST_BYTES or there:
            sys.exit(f"the base is too large, or has what it should not have: {there}")
    else:
        sys.meta_path.insert(0, Blocked())
    from simulate import ARMS, COHORTS, make_store

    store = folder / "store"
    make_store(store, COHORTS[1:3], dict(list(ARMS.items())[:1]))
    failed = [words for words in verbs(store) if (code := run(words)) and print("exit code", code, *words) is None]
    loaded = sorted(OPTIONAL & {name.partition(".")[0] for name in sys.modules})
    print(f"{len(verbs(store))} verbs, {len(failed)} failed; optional libraries imported: {loaded}")
    sys.exit(bool(failed or loaded))


if __name__ == "__main__":
    main()
