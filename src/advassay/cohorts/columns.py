"""Which columns travel with a prepared image: a second, strict look at what the index let through.

The index already hides patient ids, file names and direct identifiers and turns other ids into pseudonyms. A
prepared cohort is what people copy around, so here anything that may still tell who it is stays behind, by name.
"""

from __future__ import annotations

import re

import polars as pl

from advassay.sources.tables import is_id

OWN = ("image_id", "label", "class_name", "patient_id", "has_patient", "role", "order", "parent_image_id")
"""Columns a prepared manifest has of its own; a source column of such a name does not replace them."""

INTERNAL = ("row", "path", "original_patient", "image", "split")
"""Never carried and not worth a remark: private locators, and `split`, which `role` replaces."""

TELLING = re.compile(
    r"(^|_)(\w*name|birth\w*|dob|date|path|file\w*|address|phone|email|accession\w*|mrn|report\w*|text|comments?|"
    r"impression|indication|initials|ssn|passport)(_|$)"
)
LONGEST_TEXT = 80
MOST_DISTINCT = 20


def carried_columns(images: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, str]]:
    """`images` without columns that may identify a person, and why each such column was left behind.

    `images` has `original_patient` (text or null), which never travels.
    """
    dropped: dict[str, str] = {}
    for name in [name for name in images.columns if name not in (*INTERNAL, *OWN)]:
        if reason := why_not(images[name], images["original_patient"]):
            dropped[name] = reason
    return images.drop(*[name for name in INTERNAL if name in images.columns], *dropped), dropped


def why_not(column: pl.Series, original_patient: pl.Series) -> str | None:
    """Why `column` stays behind, or None where it may travel.

    >>> why_not(pl.Series("Patient Name", ["A^B"]), pl.Series(["1"]))
    'its name suggests a person, a date, a file or free text'
    """
    name = re.sub(r"\W+", "_", column.name.strip().lower())
    if column.dtype.is_temporal():
        return "a date or time"
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        return "not a number or a text"
    if TELLING.search(name):
        return "its name suggests a person, a date, a file or free text"
    texts = column.cast(pl.String)
    repeats = (texts == original_patient.cast(pl.String)).fill_null(False)
    if repeats.any() if column.dtype == pl.String else repeats.sum() > 0.5 * column.len():  # an age may equal an id
        return "repeats an original patient id"
    return None if is_id(column.name) or column.dtype != pl.String else _free_text(texts.drop_nulls())


def _free_text(values: pl.Series) -> str | None:
    distinct = values.n_unique()
    if distinct <= MOST_DISTINCT:
        return None
    if values.str.len_chars().max() > LONGEST_TEXT:  # type: ignore[operator]
        return "free text"
    return "a text of its own for nearly every image" if distinct > 0.9 * values.len() else None
