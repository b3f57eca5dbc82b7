"""A folder of slides that is open: every slide with what is known of it, and the readers its rules need."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from advassay.identity import content_hash
from advassay.sources.file_paths import as_text
from advassay.sources.read_failures import Unreadable
from advassay.sources.slides.discover_slides import SlideFile, find_slides, fingerprint
from advassay.sources.slides.slide import regular_file
from advassay.sources.slides.slide_table import SlideRow, SlideTable
from advassay.sources.slides.tile_grid import SlideRejected
from advassay.sources.slides.tile_labels import Labels
from advassay.spec.tile_spec import SlideClasses


@dataclass(frozen=True)
class SlidePaths:
    """Where a source's files lie: all paths as they are opened."""

    slides: Path
    table: Path | None = None
    annotations: Path | None = None
    masks: Path | None = None


@dataclass(frozen=True)
class SlideEntry:
    """A slide before it is opened. fingerprint: of its content, null where it cannot be read. problem: why it is left
    out."""

    file: SlideFile
    row: SlideRow
    fingerprint: str | None
    problem: SlideRejected | None


class SlideFolder:
    """The slides of a folder, in the order of their names."""

    def __init__(self, places: SlidePaths, classes: SlideClasses, patient: str, argument: str) -> None:
        """`patient`: patient column of the table. Raises SourceError for missing folders, tables and columns."""
        found = find_slides(places.slides, argument)
        self.files = found.slides
        self.others = found.others
        self.table = SlideTable(classes, places.table, found.slides, patient)
        self.labels = Labels(classes, places.annotations, places.masks)

    def known(self) -> Iterator[SlideEntry]:
        """Each slide with its content's fingerprint; the second of two equal files is left out."""
        seen: set[str] = set()
        for file in self.files:
            row = self.table.row(file)
            real = regular_file(file.path, file.folder)
            if isinstance(real, Unreadable):
                yield SlideEntry(file, row, None, SlideRejected(real.reason, real.detail))
                continue
            try:
                content = fingerprint(real)
            except OSError as error:
                yield SlideEntry(file, row, None, SlideRejected("missing", type(error).__name__))
                continue
            problem = SlideRejected("unusable table row", row.problem) if row.problem else None
            if content in seen:
                problem = SlideRejected("same slide twice", "another file has the same content")
            seen.add(content)
            yield SlideEntry(file, row, content, problem)


def slides_state(places: SlidePaths) -> str:
    """Fingerprint of slides as they lie there now: names and sizes of their files and masks, content of the table and
    the region files. A slide changed in place to the same size is not seen.
    """
    files = [_listed(folder, content=False) for folder in (places.slides, places.masks) if folder is not None]
    words = [] if places.annotations is None else _listed(places.annotations, content=True)
    table = None if places.table is None or not places.table.is_file() else _hash(places.table)
    return content_hash([files, words, table])


def _listed(folder: Path, content: bool) -> list[list[str | int]]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [[as_text(str(file.relative_to(folder))), _hash(file) if content else file.stat().st_size] for file in files]


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
