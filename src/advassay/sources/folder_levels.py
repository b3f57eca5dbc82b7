"""A tree of image folders → what each level of it says: the classes, a split, patients, parts such as masks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath

from advassay.sources.class_words import is_negative

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
