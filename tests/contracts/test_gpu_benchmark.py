"""The benchmark of a GPU runs on a bare machine: torch, timm, NumPy and pydantic, and nothing else of ours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BARE = ("torch", "timm", "numpy", "pydantic")


def with_dependencies(names: tuple[str, ...]) -> set[str]:
    """The names of these distributions and of all that they need, as far as installed."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            waiting += [re.split(r"[^\w.-]", need)[0] for need in needs if "extra ==" not in need]
    return found


@pytest.fixture
def bare_packages(tmp_path: Path) -> Path:
    """A folder with links to the bare machine's packages alone."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for name in with_dependencies(BARE):
        for file in distribution(name).files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(distribution(name).locate_file(top))
    return folder


def test_it_runs_with_the_packages_of_a_bare_machine(bare_packages: Path, tmp_path: Path) -> None:
    assert not (bare_packages / "lazy_loader").exists()
    assert not (bare_packages / "jaxtyping").exists()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(map(str, (bare_packages, ROOT / "src", ROOT))),
    }
    done = subprocess.run(
        [sys.executable, "-S", "-m", "benchmarks.gpu", "--small", "--device", "cpu"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "FAILS" not in done.stdout
    assert "recorded decision on the last iterate equals the processor's in float32 | 8 of 8 | holds" in done.stdout
    for precision in ("exact", "fast32", "fast"):
        assert f"advassay, {precision}: the whole grid" in done.stdout
        assert re.search(rf"{precision}: 110 gradients", done.stdout)
    assert "Not run on CUDA here." in done.stdout
    assert "hours" not in done.stdout  # a small network says nothing about the study
