"""Where and on what a study runs: store, data folder, device, threads, progress. None enters an identity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from advassay.errors import SpecError
from advassay.progress import Progress, Silent
from advassay.store_layout import Store
from advassay.study.config.name_checks import store_at


class RelabelledProgress:
    """Passes one stage's progress on as `task` with `total` units (an estimate: it never runs past it)."""

    def __init__(self, progress: Progress, task: str, total: float) -> None:
        self._progress, self._task, self._left = progress, task, float(total)
        self._total = total

    def start(self, task: str, total: float | None, unit: str) -> None:
        self._progress.start(self._task, self._total, unit)

    def advance(self, task: str, amount: float = 1) -> None:
        step = min(amount, self._left)
        self._left -= step
        self._progress.advance(self._task, step)

    def finish(self, task: str) -> None:
        self._progress.finish(self._task)


@contextmanager
def begun(progress: Progress, task: str, total: float, unit: str) -> Iterator[Progress]:
    """One task made of several stages: they report to what this yields, and only their advances count, to `total`."""
    told = RelabelledProgress(progress, task, total)
    told.start(task, total, unit)
    try:
        yield _Part(told)
    finally:
        told.finish(task)


class _Part(Silent):
    """Passes a stage's advances on to a task that has begun already."""

    def __init__(self, told: RelabelledProgress) -> None:
        self._told = told

    def advance(self, task: str, amount: float = 1) -> None:
        self._told.advance(task, amount)


Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class RunEnvironment:
    """One place to run. Made with `site`, which checks it."""

    store: Store
    data: Path | None = None
    """Folder that relative paths of sources and weights start from."""
    device: str = "cpu"
    """cpu or cuda, decided."""
    threads: int | None = None
    """CPU threads; None = what the libraries choose."""
    key_file: Path | None = None
    """Key of the pseudonyms."""
    progress: Progress = field(default_factory=Silent)


def make_environment(
    store: Path | str,
    *,
    data: Path | None = None,
    device: Device = "auto",
    threads: int | None = None,
    key_file: Path | None = None,
    progress: Progress | None = None,
) -> RunEnvironment:
    """A checked Site. Raises SpecError for a data folder, key file, device or number of threads that cannot be
    used, StoreError for a place where no store can be."""
    if data is not None and not data.is_dir():
        raise SpecError(f"--data: expected a folder, got {data}.", "Give the folder that the study's paths start from.")
    if key_file is not None and not key_file.is_file():
        raise SpecError(f"--key-file: expected a file, got {key_file}.", "Any file of 16 or more random bytes will do.")
    if threads is not None and threads < 1:
        raise SpecError(f"--threads: at least 1, got {threads}.")
    return RunEnvironment(store_at(Path(store)), data, choose_device(device), threads, key_file, progress or Silent())


def choose_device(device: Device) -> str:
    """cpu or cuda; `auto` takes cuda where torch sees one. Raises SpecError for cuda without a GPU."""
    if device == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise SpecError("--device: cuda needs an NVIDIA GPU that torch can use, none was found.", "Use --device cpu.")
    return "cpu"
