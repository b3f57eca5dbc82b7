"""What names of folders and files say: classes, splits, parts such as masks, and patients."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import polars as pl

from advassay.sources.kinds.image_files import patients_in_paths
from advassay.spec.rule_spec import Scalar

_NEGATIVE = re.compile(
    r"(?i)(^|[^a-z])(normal(s|2)?|norm|nor|benign|negative|neg|control(s)?|healthy|health|uninfected|"
    r"no[ _-]?(finding|tumou?r|cancer|disease|dr|lesion|pneumonia|fracture|covid)s?|non?[ _-][a-z]+|not?[ _-]?tumou?r|"
    r"nontumou?r|noncancer\w*|absent|background|none|n)([^a-z]|$)"
)
"""Names of classes that are not a finding."""


def is_negative(name: Scalar) -> bool:
    """Whether a class's name says that nothing was found.

    >>> [is_negative(name) for name in ("NORMAL", "No Finding", "lung_n", "benign", "pneumonia", "abnormal", 0)]
    [True, True, True, True, False, False, False]
    """
    return isinstance(name, str) and bool(_NEGATIVE.search(name))


SPLITS = {"train", "training", "tuning", "val", "valid", "validation", "dev", "test", "testing"}
"""Names of folders that usually hold the parts of a split."""
PARTS = {"images", "image", "imgs", "img", "masks", "mask", "labels", "annotations", "segmentations", "groundtruth"}
"""Names of folders that hold the images, or what was drawn on them."""
IMAGE_PARTS = {"images", "image", "imgs", "img"}
MOST_CLASSES = 20
_MAGNIFICATION = re.compile(r"(?i)[0-9]{1,4}x")


def guess_levels(files: Sequence[str]) -> tuple[str, ...]:
    """Names of the levels of folders above `files` (paths below one folder), outermost first, "-" without meaning.

    The classes are the first level that has several names, one of them like "normal" where there is such a level, and
    is neither a split, nor parts, nor magnifications, nor so many names that they must be patients or slides.

    >>> guess_levels(["train/ill/1.png", "train/well/2.png", "test/ill/3.png", "test/well/4.png"])
    ('split', 'label')
    """
    folders = [PurePath(file).parts[:-1] for file in files]
    depth = min((len(parts) for parts in folders), default=0)
    names = [{parts[level] for parts in folders} for level in range(depth)]
    said = [_meaning(level) for level in names]
    classes = [place for place, meaning in enumerate(said) if meaning == "label"]
    label = next((place for place in classes if any(map(is_negative, names[place]))), classes[0] if classes else None)
    if label is None:  # nothing looks like classes: the first level that is no split, whatever it holds
        label = next((place for place, meaning in enumerate(said) if meaning not in ("split", "part")), 0)
    levels = ["label" if place == label else _other(meaning) for place, meaning in enumerate(said)]
    levels = [level if level not in levels[:place] else "-" for place, level in enumerate(levels)]
    while levels and levels[-1] == "-":
        levels.pop()
    return tuple(levels)


def states_a_split(words: Iterable[str | None]) -> bool:
    """Whether the values of a split column name a part to train on and one to score, and nothing else.

    >>> states_a_split(["train", "test"]), states_a_split(["train", "val"]), states_a_split([None, "train", "test"])
    (True, False, False)
    """
    parts = {None if word is None else word.casefold() for word in words}
    return parts <= SPLITS and bool(parts & {"train", "training"}) and bool(parts & {"test", "testing", "validation"})


def _other(meaning: str) -> str:
    return "group" if meaning == "label" else meaning


def _meaning(names: set[str]) -> str:
    """label, split, part, magnification, patient_id, or "-" for one name only."""
    plain = {name.casefold() for name in names}
    if plain <= SPLITS:
        return "split"
    if plain <= PARTS:
        return "part"
    if all(_MAGNIFICATION.fullmatch(name) for name in names):
        return "magnification"
    if len(names) < 2:
        return "-"
    numbered = sum(bool(re.search("[0-9]", name)) for name in names)
    if len(names) > MOST_CLASSES or (len(names) > 3 and numbered == len(names) and not _ordinal(names)):
        return "patient_id"
    return "label"


def _ordinal(names: set[str]) -> bool:
    """Whether names are short numbers or words with one, as grades and classes have them: 0 … 4, grade1, C2."""
    return all(re.fullmatch(r"[A-Za-z]*[ _-]?[0-9]", name) for name in names)


_WORDS = r"(?i)(?:^|[_\-. ])((?:patient|person|subject|subj|sub|case|pat)[_\-. ]?[0-9]+)"
_KNOWN = (
    _WORDS,
    "^(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})",  # https://docs.gdc.cancer.gov/Encyclopedia/pages/TCGA_Barcode/
    "^SOB_[BM]_[A-Z]+-([0-9]+-[0-9]+)",  # BreakHis: the letters behind the number are slides of one patient
)
_PREFIXES = (
    r"^([^_\-. ]+)[_\- ]",
    r"^([^_\-. ]+[_\- ][^_\-. ]+)[_\- ]",
    r"^((?:[^_\-. ]+[_\- ]){2}[^_\-. ]+)[_\- ]",
)
"""The first one, two or three parts of a name that has more; the ending (7.png) is no part."""

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
