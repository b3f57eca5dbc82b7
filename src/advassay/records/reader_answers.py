"""Answers of a reader study: which of two images was attacked, and what they show, one row an answer.

STORE/reader_study/design.json   seed, images and amplitudes, written before the first answer
STORE/reader_study/answers.csv   what each reader answered, in order; the table below

Readers have pseudonyms. Images are named by their content, as everywhere in the records.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import polars as pl

from advassay.checked_files import damaged, read_model, write_document
from advassay.csv_export import write_csv
from advassay.errors import SpecError, StoreError
from advassay.spec.base_model import Frozen
from advassay.store_layout import Store, file_lock, writing

DESIGN, ANSWERS = "design.json", "answers.csv"
HEALED = "Restore it from a copy, or move the folder reader_study away to begin anew."
FORMAT_VERSION = "1"
READER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
COLUMNS: dict[str, type[pl.DataType]] = {
    "reader": pl.String,
    "trial": pl.Int64,
    "cohort": pl.String,
    "run_id": pl.String,
    "image_id": pl.String,
    "step_size": pl.String,
    "epsilon": pl.Float64,
    "step": pl.Int64,
    "attacked_side": pl.String,
    "chosen_side": pl.String,
    "right": pl.Boolean,
    "label": pl.String,
    "diagnosis": pl.String,
    "diagnosis_right": pl.Boolean,
    "proof": pl.String,
    "begun": pl.String,
    "seconds": pl.Float64,
}
"""reader: pseudonym · trial: its place in the reader's order, from 1 · step: the iterate shown · sides: left | right ·
right: the attacked side was chosen · label, diagnosis: names of classes · proof: exact | close (the attacked image was
proved to be the recorded one) · begun: UTC, when both images were there · seconds: from then to the answer."""


class DesignImage(Frozen):
    """One image of the study; each reader sees it once, at one of its amplitudes."""

    run_id: str
    cohort: str
    image_id: str
    step_size: str
    epsilons: tuple[float, ...]


class ReaderStudyDesign(Frozen):
    """What is shown. Order, sides and amplitudes follow for each reader from the seed and the pseudonym."""

    format_version: str = FORMAT_VERSION
    seed: int
    images: tuple[DesignImage, ...]


def checked_reader(reader: str) -> str:
    """A reader's pseudonym. Raises SpecError for what is none.

    >>> checked_reader("reader-1")
    'reader-1'
    """
    if not READER.fullmatch(reader):
        raise SpecError("reader: expected 1 to 32 letters, digits, - and _.", "A pseudonym, no name: reader-1, say.")
    return reader


def read_design(store: Store) -> ReaderStudyDesign | None:
    """The design; None where no study has begun. Raises DamagedError."""
    try:
        return read_model(store.reader_study / DESIGN, ReaderStudyDesign, HEALED)
    except FileNotFoundError:
        return None


def write_design(store: Store, design: ReaderStudyDesign) -> ReaderStudyDesign:
    """Fix the design; the one that is there already, where another process was first."""
    with file_lock(store.reader_study / ".lock"):
        found = read_design(store)
        if found is None:
            write_document(store.reader_study / DESIGN, design.model_dump(mode="json"))
        return found or design


def read_answers(store: Store) -> pl.DataFrame:
    """All answers, COLUMNS. Raises DamagedError where the table cannot be read."""
    path = store.reader_study / ANSWERS
    if not path.exists():
        return pl.DataFrame(schema=COLUMNS)
    try:
        found = pl.read_csv(path, schema=COLUMNS)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise damaged(path, f"it cannot be read as CSV ({type(error).__name__})", HEALED) from None
    if found.columns != list(COLUMNS) or found.null_count().sum_horizontal().item():
        raise damaged(path, "columns or values are missing", HEALED)
    return found


def append_answer(store: Store, answer: dict[str, Any]) -> None:
    """Add one answer, on the disk before this returns. Raises StoreError where the reader answered the image before."""
    with file_lock(store.reader_study / ".lock"):
        before = read_answers(store)
        if before.filter(reader=answer["reader"], run_id=answer["run_id"], image_id=answer["image_id"]).height:
            raise StoreError("answer: this reader has answered the image already.", "Go on with the next one.")
        _write(store, pl.concat([before, pl.DataFrame([answer], schema=COLUMNS)]))


def remove_answers(store: Store, image_ids: Collection[str]) -> int:
    """Take images out of design and answers; the number of answers removed."""
    if not store.reader_study.is_dir():
        return 0
    with file_lock(store.reader_study / ".lock"):
        design, before = read_design(store), read_answers(store)
        if design is not None and any(one.image_id in image_ids for one in design.images):
            kept = tuple(one for one in design.images if one.image_id not in image_ids)
            write_document(
                store.reader_study / DESIGN, design.model_copy(update={"images": kept}).model_dump(mode="json")
            )
        after = before.filter(~pl.col("image_id").is_in(list(image_ids)))
        if after.height < before.height:
            _write(store, after)
        return before.height - after.height


def _write(store: Store, answers: pl.DataFrame) -> None:
    with writing(store.reader_study / ANSWERS) as beside:
        write_csv(answers, beside)
