"""A folder of slides that is open: what is known of every slide, and the readers its rules need.

A slide's class and patient are a table's, or the patient is in the file's name.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal

import polars as pl

from advassay.identity import content_hash
from advassay.sources.file_paths import as_text
from advassay.sources.read_failures import Unreadable
from advassay.sources.slides.discover_slides import SlideFile, find_slides, fingerprint
from advassay.sources.slides.slide import UNEQUAL_MPP, Slide, regular_file
from advassay.sources.slides.tile_grid import SlideRejected
from advassay.sources.slides.tile_labels import Labels
from advassay.sources.table_files import read_table, require_column
from advassay.spec.tile_spec import SlideClasses

# ---- a slide as a whole ----------------------------------------------------------------------------------------------

OWN = frozenset({"row", "path", "original_patient", "image_type", "slide_id", "patient_id", "label", "label_share"}) | {
    *("image", "patient_from", "x", "y", "level", "mpp", "tissue_share")
}
"""Names of our columns; a table's own columns of these names are not carried."""


LARGEST_MPP = 1e4

PatientFrom = Literal["table", "name", "slide"]


@dataclass(frozen=True)
class SlideRow:
    """patient: the original id. problem: why the table's word cannot be used."""

    label: str | None = None
    patient: str | None = None
    patient_from: PatientFrom = "slide"
    carried: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    mpp: float | None = None
    """µm per pixel of level 0, where the table says it."""


def state_mpp(slide: Slide, row: SlideRow) -> str | None:
    """Give a slide the µm per pixel that its table row says; a note where the file says another number."""
    if row.mpp is None:
        return None
    stated, slide.mpp, slide.mpp_from = slide.mpp, row.mpp, "table"
    if stated is None or abs(stated - row.mpp) <= UNEQUAL_MPP * row.mpp:
        return None
    return f"the table says {row.mpp:g} µm per pixel, the file {stated:g}"


class SlideTable:
    """One row a slide, found by its path in the folder, its name, or its name without ending, in this order."""

    def __init__(self, classes: SlideClasses, path: Path | None, slides: Sequence[SlideFile], patient: str) -> None:
        """`patient`: the table's patient column. Raises SourceError for a table or a column that is not there."""
        self._pattern = re.compile(classes.patient_pattern) if classes.patient_pattern else None
        self._slide, self._label, self._patient, self._mpp = classes.slide, classes.label, patient, classes.mpp
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._names = Counter(name for slide in slides for name in _short_names(slide))
        self.columns: dict[str, pl.DataType] = {}
        if path is not None:
            self._read(path)

    def _read(self, path: Path) -> None:
        table = read_table(path, text=frozenset({self._slide, self._label, self._patient}))
        require_column(table.columns, self._slide, "classes.slide")
        if self._patient != "patient_id":
            require_column(table.columns, self._patient, "patient_id")
        if self._label != "label":
            require_column(table.columns, self._label, "classes.label")
        if self._mpp != "mpp":
            require_column(table.columns, self._mpp, "classes.mpp")
        known = {self._slide, self._label, self._patient, self._mpp} | OWN
        self.columns = {name: dtype for name, dtype in table.schema.items() if name not in known}
        for row in table.iter_rows(named=True):
            if row[self._slide] is not None:
                self._rows.setdefault(str(PurePath(row[self._slide])), []).append(row)

    def row(self, slide: SlideFile) -> SlideRow:
        """What is known of a slide; without a table, its patient alone."""
        named, source = self._from_name(slide)
        found = self._find(slide)
        if not found:
            return SlideRow(None, named, source)
        if len(found) > 1:
            return SlideRow(None, named, source, problem=f"{len(found)} rows of the table name it")
        row = found[0]
        patient = row.get(self._patient)
        if patient is not None:
            named, source = str(patient), "table"
        label = row.get(self._label)
        carried = {name: row[name] for name in self.columns}
        mpp = _positive(row.get(self._mpp))
        if mpp is None and row.get(self._mpp) is not None:
            problem = f"{self._mpp} {str(row[self._mpp])[:20]!r} is no number of µm per pixel"
            return SlideRow(None, named, source, problem=problem)
        return SlideRow(None if label is None else str(label), named, source, carried, mpp=mpp)

    def _find(self, slide: SlideFile) -> list[dict[str, Any]]:
        short = [name for name in _short_names(slide) if self._names[name] == 1]
        return next((self._rows[name] for name in (slide.name, *short) if name in self._rows), [])

    def _from_name(self, slide: SlideFile) -> tuple[str | None, PatientFrom]:
        match = self._pattern.search(PurePath(slide.name).name) if self._pattern else None
        return (match.group(1), "name") if match and match.group(1) else (None, "slide")


def _positive(value: Any) -> float | None:
    """A number of µm per pixel; None for what is none, or is no microscope's."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < LARGEST_MPP else None


def _short_names(slide: SlideFile) -> tuple[str, ...]:
    """Names that a table may use where only one slide has them."""
    return tuple(dict.fromkeys((PurePath(slide.name).name, slide.stem)))


# ---- the folder ------------------------------------------------------------------------------------------------------


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
