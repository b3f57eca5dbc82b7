"""Who was imaged when, with which disease, and what their files and reports look like: no pixel drawn yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from advassay.errors import SpecError
from advassay.sources.reports.vocabulary import FINDINGS
from advassay.sources.synthetic_archive.report_templates import LANGUAGES, report_text

LEGAL: tuple[Callable[[int], str], ...] = (lambda years: f"{years:03d}Y", lambda years: f"{years * 12:03d}M")
ILLEGAL: tuple[Callable[[int], str], ...] = (
    lambda years: f"{years}",
    lambda years: f"{years}Y",
    lambda years: f"{years:03d}",
    lambda years: f"{years:03d}y",
)
"""Against the standard, but not to be mistaken: two digits are years."""
SAYS_NOTHING: tuple[str | None, ...] = (None, "", "414Y", "-45", "XXXY")
"""No tag, an empty one, older than anyone, negative, no number."""


def write_age(years: int, rng: np.random.Generator) -> tuple[str | None, float | None]:
    """How a file states an age of `years` (15 … 83), and the age in years that can be read from it.

    None for the text: the tag is absent; None for the age: the file does not say.

    >>> LEGAL[0](45), LEGAL[1](45), ILLEGAL[1](45)
    ('045Y', '540M', '45Y')
    """
    kind = rng.random()
    if kind < 0.06:
        return SAYS_NOTHING[rng.integers(len(SAYS_NOTHING))], None
    if kind < 0.2:
        return ILLEGAL[rng.integers(len(ILLEGAL))](years), float(years)
    in_months = kind > 0.96
    return LEGAL[int(in_months)](years), float(years)


KEPT = "kept"
FILE_DEFECTS = (
    *("truncated", "cut short", "empty file", "not DICOM", "other modality", "other body part", "localiser", "blank"),
    *("no image", "colour", "too small", "undecodable", "duplicate", "lateral"),
)
"""What is wrong with a file that no chest cohort may contain; KEPT: nothing is.

truncated: ends within its pixels; cut short: within its header; colour: RGB with writing burned in; undecodable: its
compressed pixels are noise; duplicate: a byte-for-byte copy.
"""
SYNTAXES = ("explicit", "implicit", "deflated", "rle", "jpeg2000", "jpeg-ls", "jpeg-lossless", "no preamble")
PLAIN = ("truncated", "cut short", "colour")
"""Fates that are written uncompressed."""
SIDES, LARGE = (256, 320, 384), 1024
"""Heights in pixels; one image in a hundred is large."""
EVERY = 8
"""One image in so many has something wrong with it."""


@dataclass(frozen=True)
class PlannedFile:
    """One file of the archive. Everything but the last five fields is a column of truth/files.csv."""

    path: str
    """Below DIR/dicom."""
    fate: str
    patient_id: str
    accession_number: str
    year: int
    age: float | None
    """Years, as the file states them in whatever form; None where it does not say."""
    age_written: str | None
    sex: str | None
    view: str
    photometric: str
    syntax: str
    bits: int
    rows: int
    columns: int
    number: int
    """Of the patient."""
    image: int
    """Of the archive; keys the exposure."""
    years: int
    """What the age really is."""
    tuberculosis: bool
    aortic_rotation: bool


@dataclass(frozen=True)
class PlannedReport:
    """One row of reports.csv and what it says."""

    accession_number: str
    language: str
    text: str | None
    decisions: dict[str, str]
    """norm and the eight findings → present | absent | uncertain | not stated."""


@dataclass(frozen=True)
class ArchivePlan:
    files: tuple[PlannedFile, ...]
    reports: tuple[PlannedReport, ...]


def plan_archive(patients: int, seed: int = 0) -> ArchivePlan:
    """The archive of `patients` people, deterministic by seed. Raises SpecError for fewer than one."""
    if patients < 1:
        raise SpecError(f"--patients: at least 1, got {patients}.")
    files: list[PlannedFile] = []
    reports: list[PlannedReport] = []
    images = count()
    for number in range(patients):
        for visit in _visits(number, seed):
            reports += visit.reports()
            for file in visit.files(images):
                files.append(_with_fate(file, files))
    return ArchivePlan(tuple(files), tuple(reports))


@dataclass(frozen=True)
class _Visit:
    patient: int
    place: int
    year: int
    years: int
    sex: str | None
    language: str
    said: dict[str, str]
    norm: bool
    rng: np.random.Generator

    @property
    def accession(self) -> str:
        return f"A{self.patient:06d}{self.place}"

    def reports(self) -> list[PlannedReport]:
        """The visit's row in the table of reports; some visits have none, and some rows are empty."""
        lost = self.rng.random()
        if lost < 0.03:
            return []
        text = None if lost < 0.05 else report_text(self.language, self.said, self.norm, self.rng)
        return [PlannedReport(self.accession, self.language, text, self._decisions())]

    def _decisions(self) -> dict[str, str]:
        stated = set(self.said.values()) - {"absent"}
        norm = "present" if self.norm else "not stated"
        if stated:
            norm = "absent" if "present" in stated else "uncertain"
        return {"norm": norm} | {name: self.said.get(name, "not stated") for name in FINDINGS}

    def files(self, images: Iterator[int]) -> Iterator[PlannedFile]:
        """A frontal image, sometimes a second exposure, sometimes a lateral one."""
        yield self._file("PA" if self.rng.random() < 0.85 else "AP", next(images))
        if self.rng.random() < 0.08:
            yield self._file("PA", next(images))
        if self.rng.random() < 0.2:
            yield replace(self._file("LL", next(images)), fate="lateral")

    def _file(self, view: str, image: int) -> PlannedFile:
        rng = self.rng
        written, age = write_age(self.years, rng)
        side = LARGE if image % 100 == 50 else int(rng.choice(SIDES))
        return PlannedFile(
            path=f"{self.year}/P{self.patient:06d}/{self.accession}/{_name(image)}",
            fate=KEPT,
            patient_id=f"PHANTOM-{self.patient:06d}",
            accession_number=self.accession,
            year=self.year,
            age=age,
            age_written=written,
            sex=self.sex,
            view=view,
            photometric="MONOCHROME1" if rng.random() < 0.3 else "MONOCHROME2",
            syntax=SYNTAXES[image // 3 % len(SYNTAXES)],
            bits=int(rng.choice((12, 14, 16))),
            rows=side,
            columns=round(side * float(rng.choice((0.8, 0.9, 1.0)))),
            number=self.patient,
            image=image,
            years=self.years,
            tuberculosis=self.said.get("tuberculosis") == "present",
            aortic_rotation=self.said.get("aortic_rotation") == "present",
        )


def _name(image: int) -> str:
    return (f"IM{image:05d}", f"IM{image:05d}.dcm", f"{image:08d}.DCM")[image % 3]


def _visits(number: int, seed: int) -> list[_Visit]:
    rng = np.random.default_rng([seed, number])
    sex = (None, "F", "M")[0 if rng.random() < 0.02 else 1 + int(rng.integers(2))]
    first_age, first_year = int(rng.integers(15, 80)), int(rng.integers(2001, 2010))
    language, health = LANGUAGES[int(rng.integers(3))], rng.random()
    visits = []
    for place in range(1 + int(rng.choice(3, p=(0.5, 0.3, 0.2)))):
        later, norm = 2 * place, health < 0.6
        said = {} if norm else _said(rng, unusual=health > 0.95)
        visits.append(_Visit(number, place, first_year + later, first_age + later, sex, language, said, norm, rng))
    return visits


def _said(rng: np.random.Generator, *, unusual: bool) -> dict[str, str]:
    """What a report that is not normal says: one or two findings, and a few denied ones."""
    names = list(rng.permutation(FINDINGS))
    stated = 0 if unusual else 1 + int(rng.random() < 0.3)
    said = {str(name): "present" if rng.random() < 0.8 else "uncertain" for name in names[:stated]}
    return said | {str(name): "absent" for name in names[stated : stated + int(rng.integers(3))]}


def _with_fate(file: PlannedFile, earlier: Sequence[PlannedFile]) -> PlannedFile:
    """Every eighth image gets the next fate in turn, so that a small archive already has them all."""
    turn, place = divmod(file.image, EVERY)
    if file.fate != KEPT or place != EVERY - 1:
        return file
    fate = FILE_DEFECTS[turn % (len(FILE_DEFECTS) - 1)]
    if fate == "duplicate":
        original = next(other for other in reversed(earlier) if other.fate == KEPT)
        return replace(original, fate=fate, path=file.path)
    syntax = {"undecodable": "jpeg2000"}.get(fate, "explicit" if fate in PLAIN else file.syntax)
    return replace(file, fate=fate, syntax=syntax)
