"""Do the names of image files say which images are of one patient? A pattern to propose, never to apply unasked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

import polars as pl

from advassay.sources.file_sources import patients_in_paths

_WORDS = r"(?i)(?:^|[_\-. ])((?:patient|person|subject|subj|sub|case|pat)[_\-. ]?[0-9]+)"
_KNOWN = (
    _WORDS,
    "^(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})",  # https://docs.gdc.cancer.gov/Encyclopedia/pages/TCGA_Barcode/
    "^SOB_[BM]_[A-Z]+-([0-9]+-[0-9]+)",  # BreakHis: the letters behind the number are slides of one patient
)
_PREFIXES = (
    r"^([^_\-. ]+)[_\-. ]",
    r"^([^_\-. ]+[_\-. ][^_\-. ]+)[_\-. ]",
    r"^((?:[^_\-. ]+[_\-. ]){2}[^_\-. ]+)[_\-. ]",
)
"""The first one, two or three parts of a name that has more."""

FEWEST_PATIENTS = 4
_LEAST_REPEATS = 1.15
"""Images per name: below it hardly any stem repeats, so a part of it is a number of the image."""
_LARGEST_SHARE = 0.5
"""Of the images of one name; beyond it the part is a word all names begin with."""


@dataclass(frozen=True)
class NamePattern:
    """A pattern, how many names of patients it finds in how many of the images."""

    pattern: str
    patients: int
    matched: int
    images: int


def propose_pattern(paths: pl.Series) -> NamePattern | None:
    """The first pattern by which several images have one patient; None where no part of the names repeats so.

    Known ways of naming go first (person12, TCGA barcodes), then the shortest beginning of the names with a digit.

    >>> names = pl.Series([f"person{n // 3}_virus_{n}.jpeg" for n in range(30)])
    >>> propose_pattern(names).patients
    10
    """
    plain = paths.drop_nulls().map_elements(lambda path: PurePath(path).name, return_dtype=pl.String)
    for pattern in (*_KNOWN, *_PREFIXES):
        found = patients_in_paths(plain, pattern)
        if pattern in _PREFIXES:
            found = found.set(~_may_name_a_patient(found), None)
        given = found.drop_nulls()
        counts = given.value_counts()["count"]
        if (
            counts.len() >= FEWEST_PATIENTS
            and given.len() >= _LEAST_REPEATS * counts.len()
            and int(counts.max()) <= _LARGEST_SHARE * plain.len()  # type: ignore[arg-type]
            and (pattern not in _PREFIXES or given.len() == plain.len())
        ):
            return NamePattern(pattern, counts.len(), given.len(), plain.len())
    return None


def _may_name_a_patient(part: pl.Series) -> pl.Series:
    """Whether a beginning of a name holds a digit and is no year, coordinate or magnification alone."""
    odd = part.str.contains(r"(?i)^((19|20)[0-9]{2}|[xyzrc][0-9]+|[0-9]+x)$")
    return (part.str.contains("[0-9]") & ~odd).fill_null(False)
