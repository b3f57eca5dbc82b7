"""Where and on what a study runs: store, data folder, device, threads. None of it enters an identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from advassay.errors import SpecError
from advassay.layout import Store
from advassay.progress import Progress, Silent
from advassay.study.name_checks import store_at

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Site:
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


def site(
    store: Path | str,
    *,
    data: Path | None = None,
    device: Device = "auto",
    threads: int | None = None,
    key_file: Path | None = None,
    progress: Progress | None = None,
) -> Site:
    """A checked Site. Raises SpecError for a data folder, key file, device or number of threads that cannot be
    used, StoreError for a place where no store can be."""
    if data is not None and not data.is_dir():
        raise SpecError(
            f"--data: a folder is needed, got {data}.", "Give the folder that the study's paths start from."
        )
    if key_file is not None and not key_file.is_file():
        raise SpecError(
            f"--key-file: a file is needed, got {key_file}.", "Any file of 16 or more random bytes will do."
        )
    if threads is not None and threads < 1:
        raise SpecError(f"--threads: at least 1, got {threads}.")
    return Site(store_at(Path(store)), data, choose_device(device), threads, key_file, progress or Silent())


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
