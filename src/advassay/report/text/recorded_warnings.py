"""Warnings that preparation, training and runs recorded: which can change a number, and which are for the record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from advassay.records.run_header import RunHeader
from advassay.records.store_reader import Records

FOR_THE_RECORD = ("Columns of the source not carried along: ",)
"""Beginnings of warnings that touch no image, split, training or attack. A text that is not known here is shown first
on the page: better one notice too many than one too few.
"""


def can_change_a_number(text: str) -> bool:
    """Whether a warning of preparation or training belongs before the results.

    >>> can_change_a_number("Columns of the source not carried along: site (carry: names more).")
    False
    >>> can_change_a_number("3 patients have images in training and in validation: scores are optimistic.")
    True
    """
    return not text.startswith(FOR_THE_RECORD)


def warnings(records: Records) -> list[str]:
    """Warnings of preparation and training that can change a number; each sentence once."""
    return list(dict.fromkeys(_warnings(records)))


def _warnings(records: Records) -> Iterator[str]:
    yield from (f"{name}: {text}" for name, text in _prepared(records) if can_change_a_number(text))
    for document in records.trainings:
        if document.full and document.spec.get("select_on") == "validation":
            yield (
                f"{document.cohort}: the checkpoint was chosen on the validation images (select_on: validation); "
                "scores are optimistic."
            )
    for document in records.trainings:
        for text in document.warnings:
            yield f"{document.cohort}, {document.train_size} training images: {text}"


def of_preparation(records: Records) -> list[str]:
    """Warnings of preparation that change no number."""
    return [f"{name}: {text}" for name, text in _prepared(records) if not can_change_a_number(text)]


def _prepared(records: Records) -> Iterator[tuple[str, str]]:
    return ((name, text) for name, prepared in records.preparations.items() for text in prepared.warnings)


def of_runs(records: Records, runs: Sequence[RunHeader]) -> list[str]:
    """Warnings of runs, each with the cohorts and arms it is about; and how many older runs are not shown."""
    about: dict[str, list[str]] = {}
    for header in runs:
        for note in header.notes:
            about.setdefault(note, []).append(f"{header.cohort} {header.arm}")
    notes = [f"{note} ({', '.join(dict.fromkeys(where))})" for note, where in about.items()]
    if replaced := len(records.superseded):
        what = "1 run of an earlier version of this study lies" if replaced == 1 else (
            f"{replaced} runs of an earlier version of this study lie"
        )  # fmt: skip
        notes.append(f"{what} in the store; none of it is shown.")
    return notes
