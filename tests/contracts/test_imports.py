"""The architecture as a test: who may import whom (read from the source, late imports included)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import advassay

PACKAGE = Path(advassay.__file__).parent
ROOMS = (
    "sources", "cohorts", "models", "training", "attacks", "records", "analysis", "report", "study", "workflows",
    "viewer", "cli",
)  # fmt: skip
WORDS = {"spec"}  # a folder of words, beside the files of the root
TORCH = {"torch", "torchvision", "torchmetrics", "timm"}

MAY_IMPORT = {
    "sources": {"words"},
    "cohorts": {"words", "sources"},
    "models": {"words"},
    "training": {"words", "cohorts", "models"},
    "attacks": {"words"},
    "records": {"words"},
    "analysis": {"words", "records"},
    "report": {"words", "records", "analysis"},
    "study": {"words", "sources", "cohorts", "models", "training", "attacks", "records"},
    "workflows": {"words", *ROOMS} - {"workflows", "viewer", "cli"},
    "viewer": {"words", "cohorts", "models", "attacks", "records", "analysis", "report", "study"},
    "cli": {"words", *ROOMS},
}
WITHOUT_TORCH = ("records", "analysis", "report")


def imported_modules(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import in a file, at any depth; relative ones made absolute."""
    package = ["advassay", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def room_of(module: str) -> str | None:
    """Room of an advassay module: a stage's name, "words", or None for a module from elsewhere."""
    parts = module.split(".")
    if parts[0] != "advassay":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "words"


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_import_follows_the_table(path: Path) -> None:
    parts = path.relative_to(PACKAGE).parts
    room = parts[0] if parts[0] in ROOMS else "words"
    room = "cli" if parts == ("__main__.py",) else room  # `python -m advassay` is the command
    allowed = {"words"} if room == "words" else MAY_IMPORT[room] | {room}
    wrong = [
        f"line {line}: {module}" for line, module in imported_modules(path) if room_of(module) not in allowed | {None}
    ]
    assert not wrong, f"{path.relative_to(PACKAGE)} ({room}) may import {sorted(allowed)}, not: {wrong}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_classifier_words_and_torch_rooms_import_torch(path: Path) -> None:
    parts = path.relative_to(PACKAGE).parts
    torch_rooms = {"models", "training", "attacks", "study", "workflows", "cli"}
    if parts[0] in {"classifier.py", "classifier_state.py"} | torch_rooms:
        return
    wrong = [
        f"line {line}: {module}"
        for line, module in imported_modules(path)
        if module.split(".")[0] in TORCH or module.startswith("advassay.classifier")
    ]
    assert not wrong, f"{path.relative_to(PACKAGE)} must not need torch: {wrong}"


def test_every_folder_is_a_room_of_the_table() -> None:
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in FILES if path.parent != PACKAGE}
    assert folders - WORDS == set(ROOMS) == set(MAY_IMPORT)


def test_every_room_says_what_comes_in_and_goes_out() -> None:
    missing = [room for room in (*ROOMS, *WORDS) if not (PACKAGE / room / "README.md").is_file()]
    assert not missing


def in_a_fresh_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_a_store_opens_without_torch(room: str) -> None:
    code = f"import pkgutil, importlib, sys, advassay.{room} as room\n"
    code += "for m in pkgutil.walk_packages(room.__path__, room.__name__ + '.'): importlib.import_module(m.name)\n"
    code += "print('torch' in sys.modules)"
    assert in_a_fresh_process(code) == "False"


def test_import_advassay_imports_no_heavy_library() -> None:
    code = "import advassay, sys; print(sorted({'torch', 'numpy', 'polars', 'altair', 'scipy'} & set(sys.modules)))"
    assert in_a_fresh_process(code) == "[]"
