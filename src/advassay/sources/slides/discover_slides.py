"""Which files of a folder are slides, and what each is called once names are gone."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from advassay.errors import SourceError
from advassay.sources.file_paths import NOT_UTF8, is_text

SCANNED = (".svs", ".ndpi", ".vms", ".vmu", ".scn", ".mrxs", ".svslide", ".bif", ".czi", ".dcm")
IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".qptiff", ".btf")
ENDINGS = SCANNED + IMAGES
"""Endings of files that may be slides; what a file is, its content says."""
_BLOCKS, _BLOCK_BYTES = 16, 1 << 16


@dataclass(frozen=True)
class SlideFile:
    """A file that may be a slide. name: its path in the folder (private)."""

    name: str
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def stem(self) -> str:
        return PurePath(self.name).stem


@dataclass(frozen=True)
class SlideListing:
    """slides: in the order of their names. others: ending → files that are no slides, and parts of other slides."""

    slides: tuple[SlideFile, ...]
    others: dict[str, int]


def find_slides(folder: Path, argument: str) -> SlideListing:
    """Every slide below `folder`; hidden files are ignored, links to folders not followed.

    A DICOM slide is many files of one series, and a Hamamatsu VMS slide has JPEGs beside it: each counts once.
    Raises SourceError if the folder is missing, cannot be listed, or holds no file with a slide's ending.
    """
    if not folder.is_dir():
        raise SourceError(f"{argument}: no such folder: {folder}.", "Check the path.")
    others: Counter[str] = Counter()
    slides: list[SlideFile] = []
    series: set[tuple[str, str]] = set()
    for name, beside in _files(folder, argument):
        ending = PurePath(name).suffix.lower()
        if not is_text(name):
            others[NOT_UTF8[0]] += 1
        elif ending not in ENDINGS:
            others[ending or "no ending"] += 1
        elif _is_part(folder, name, ending, beside, series):
            others["part of another slide"] += 1
        else:
            slides.append(SlideFile(name, folder))
    if not slides:
        raise SourceError(
            f"{argument}: expected a folder with slides or images, got {folder} without any.",
            f"Known endings: {', '.join(ENDINGS)}.",
        )
    return SlideListing(tuple(slides), dict(sorted(others.items())))


def _files(folder: Path, argument: str) -> Iterator[tuple[str, frozenset[str]]]:
    """(path in `folder`, endings of the files beside it), in a fixed order."""

    def refuse(error: OSError) -> None:
        raise SourceError(f"{argument}: expected folders that can be listed, got {error.filename}.", str(error))

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
        beside = frozenset(PurePath(file).suffix.lower() for file in files)
        for file in sorted(file for file in files if not file.startswith(".")):
            yield os.path.relpath(os.path.join(parent, file), folder), beside


def _is_part(folder: Path, name: str, ending: str, beside: frozenset[str], series: set[tuple[str, str]]) -> bool:
    if ending in (".jpg", ".jpeg"):
        return bool(beside & {".vms", ".vmu"})
    if ending != ".dcm" or (uid := _series(folder / name)) is None:
        return False
    key = (str(PurePath(name).parent), uid)
    known = key in series
    series.add(key)
    return known


def _series(path: Path) -> str | None:
    """(0020,000E) Series Instance UID; None where there is none to be read."""
    import pydicom

    try:
        if not path.is_file():
            return None
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
        return str(header.SeriesInstanceUID)
    except Exception:  # whatever a broken file makes pydicom stumble over; opening it will give the reason
        return None


def fingerprint(path: Path) -> str:
    """Hash of a slide's content: its size and sixteen blocks of 64 KiB spread evenly over the file.

    Files of up to 1 MiB are hashed whole. Independent of name and place; a slide of several gigabytes is not read.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for block in range(_BLOCKS):
            file.seek(block * max(0, size - _BLOCK_BYTES) // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()[:32]
