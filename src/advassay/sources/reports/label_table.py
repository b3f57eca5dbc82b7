"""A table of reports → a table of labels. Equal texts are read once; the rest is shared out over processes."""

from __future__ import annotations

import itertools
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from advassay.errors import SourceError
from advassay.progress import Progress, Silent
from advassay.sources.reports.language_detection import DAMAGED, LanguageGuess, language_code
from advassay.sources.reports.report_classifier import LABELS, Evidence, ReportLabels, ReportReader
from advassay.sources.reports.vocabulary import load_vocabulary

Text = tuple[str, tuple[str | None, ...]]
"""Language and the report's fields."""

EVIDENCE = {
    "label": pl.String,
    "decision": pl.String,
    "entry": pl.String,
    "cue": pl.String,
    "column": pl.String,
    "start": pl.UInt32,
    "end": pl.UInt32,
    "cue_start": pl.UInt32,
    "cue_end": pl.UInt32,
}
"""Fields of the column `evidence`: label, its decision, the vocabulary's entry and cue, and where they stand:
characters of that column's text (white space around the text removed), end exclusive. No text of the report."""

_CHUNK = 2_000
_WORTH_PROCESSES = 10_000
_UNIT = "reports"


@dataclass(frozen=True)
class Labelled:
    """frame: one row per report: the id column, `language`, the columns of LABELS (present | absent | uncertain |
    not stated) and `evidence`. left_out: row (in the table), reason, detail (neither id nor text)."""

    frame: pl.DataFrame
    left_out: pl.DataFrame
    distinct_texts: int
    warnings: tuple[str, ...] = ()
    """What makes the labels doubtful: texts of another language than stated, damaged letters. Holds no id or text."""

    def counts(self) -> dict[str, int]:
        """Reasons for which rows were left out, with how many rows, the commonest first."""
        return dict(
            self.left_out["reason"]
            .value_counts(sort=True)
            .sort(["count", "reason"], descending=[True, False])
            .iter_rows()
        )


def label_reports(
    table: pl.DataFrame,
    *,
    text: Sequence[str],
    id: str,
    language: str | Path | None = None,
    language_column: str | None = None,
    processes: int = 1,
    progress: Progress | None = None,
) -> Labelled:
    """Read every report of a table.

    text: columns that make up a report, in order. id: column with the report's id. language: a shipped language or a
    vocabulary file for all reports; language_column: a column that names it per report; one of the two.
    processes: worker processes (the script that calls must then be importable, as for `multiprocessing`).
    Languages go by any usual name ("EN", "en-US", "eng", "English"). "NA", "NULL", "." and the like are no text and no
    id. Left out, with the reason: rows without id or text, in a language without vocabulary, and repeated ids (all of
    them where their texts differ, else all but the first). Raises SourceError for a missing column, an unknown
    language, or if no report is left.
    """
    _require_columns(table, text, id, language, language_column)
    language = language_code(str(language)) if language else None
    reports = _as_reports(table, text, id, language, language_column)
    left_out = _left_out(reports, language)
    kept = reports.join(left_out, on="row", how="anti", maintain_order="left")
    if kept.is_empty():
        reasons = dict(left_out["reason"].value_counts(sort=True).iter_rows())
        raise SourceError(
            f"reports: expected at least one report with id and text, got none of {table.height} rows ({reasons}).",
            "Check the columns given as text and id.",
        )
    fields = [f"text_{place}" for place in range(len(text))]
    texts = kept.select("language", *fields).unique(maintain_order=True).with_row_index("number")
    labels = _labels(_rows(texts, fields), texts.height, text, processes, progress or Silent())
    joined = kept.join(texts, on=["language", *fields], nulls_equal=True, maintain_order="left").join(
        labels, on="number", maintain_order="left"
    )
    frame = joined.select(pl.col("id").alias(id), "language", *LABELS, "evidence")
    return Labelled(frame, left_out, texts.height, tuple(_warnings(texts, fields)))


def _require_columns(
    table: pl.DataFrame, text: Sequence[str], id: str, language: object, language_column: str | None
) -> None:
    if (language is None) == (language_column is None):
        raise SourceError(
            f"language: expected one language or a column that names it, got {language!r} and {language_column!r}.",
            "Give one of the two.",
        )
    if not text:
        raise SourceError("text: expected at least one column, got none.", f"There are: {table.columns}.")
    wanted = [("text", name) for name in text] + [("id", id)]
    wanted += [("language_column", language_column)] if language_column else []
    for argument, name in wanted:
        if name not in table.columns:
            raise SourceError(f"{argument}: expected one of the columns, got {name!r}.", f"There are: {table.columns}.")


def _as_reports(
    table: pl.DataFrame, text: Sequence[str], id: str, language: str | None, language_column: str | None
) -> pl.DataFrame:
    def words(name: str) -> pl.Expr:
        column = pl.col(name).cast(pl.String).str.strip_chars()
        return pl.when(~column.str.to_lowercase().is_in(sorted(_EMPTY))).then(column)

    def codes(name: str) -> pl.Expr:
        return words(name).map_elements(language_code, return_dtype=pl.String)

    return table.select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
        words(id).alias("id"),
        (codes(language_column) if language_column else pl.lit(language)).alias("language"),
        *(words(name).alias(f"text_{place}") for place, name in enumerate(text)),
    )


def _left_out(reports: pl.DataFrame, language: str | None) -> pl.DataFrame:
    """row, reason, detail of every report that is not read; a row is named once, by its first reason."""
    fields = pl.selectors.starts_with("text_")
    said = pl.struct(fields, "language")
    repeats = said.n_unique().over("id")
    known = [language] if language else [name for name in reports["language"].unique().drop_nulls() if _readable(name)]
    no_text = pl.all_horizontal(fields.is_null())
    reason = (
        pl.when(pl.col("id").is_null()).then(pl.lit("no report id"))
        .when(no_text).then(pl.lit("no report text"))
        .when(~pl.col("language").is_in(known).fill_null(False)).then(pl.lit("no vocabulary for the language"))
        .when(repeats > 1).then(pl.lit("id with different texts"))
        .when(pl.int_range(pl.len()).over("id") > 0).then(pl.lit("id repeated"))
    )  # fmt: skip
    unknown = pl.col("language").str.extract(r"^([\w-]{1,20})$")  # longer ones may be text of a report
    other = pl.format("the language column names {}, which is not shipped", unknown)
    return (
        reports.select("row", "language", reason=reason)
        .filter(pl.col("reason").is_not_null())
        .select("row", "reason", detail=pl.col("reason").replace_strict(_DETAILS, default=other))
        .with_columns(pl.col("detail").fill_null("the language column is empty, or holds no name of a language"))
    )


_EMPTY = frozenset(
    ("", "na", "n/a", "n.a.", "nan", "null", "none", "nil", "<na>", "#n/a", "n/d", "s/d", "н/д", "?", "/")
).union(sign * times for sign in "._-–—" for times in (1, 2, 3))
"""What tables hold where there is nothing, in small letters."""

_DETAILS = {
    "no report id": "the id column is empty",
    "no report text": "every text column is empty",
    "id with different texts": "several rows with this id disagree",
    "id repeated": "an earlier row has this id and the same text",
}


def _readable(language: str) -> bool:
    from advassay.sources.reports.vocabulary import languages

    return language in languages()


def _warnings(texts: pl.DataFrame, fields: list[str]) -> Iterator[str]:
    """What makes the labels of these texts doubtful, a sentence each."""
    letters = pl.any_horizontal(pl.col(name).str.contains(DAMAGED) for name in fields)
    if damaged := texts.select(letters.fill_null(False).sum()).item():
        yield (
            f"{damaged:,} of {texts.height:,} different reports hold damaged letters: the table was written in one "
            "encoding and read in another. Export it again as UTF-8."
        )
    for (language,), stated in texts.group_by("language", maintain_order=True):
        sample = stated.sample(min(_SAMPLE, stated.height), seed=0)
        guess = LanguageGuess(language)
        read_as = Counter(guess.of(said) for _, said in _rows(sample, fields))
        other = sample.height - read_as[language]
        if other * _MANY >= sample.height and other:
            found = ", ".join(f"{name or 'no known word'}: {count}" for name, count in read_as.most_common())
            yield (
                f"{other:,} of {sample.height:,} reports looked at, read as {language}, hold more words of another "
                f"language or none that is known ({found}). Check the language and the encoding."
            )


_SAMPLE = 400
"""Different texts of a language that are looked at."""
_MANY = 5
"""One report in so many of another language is worth a warning."""


def _rows(texts: pl.DataFrame, fields: list[str]) -> Iterator[Text]:
    for language, *said in texts.select("language", *fields).iter_rows():
        yield language, tuple(said)


def _labels(
    texts: Iterable[Text], total: int, columns: Sequence[str], processes: int, progress: Progress
) -> pl.DataFrame:
    """number (of the text), LABELS, evidence."""
    task = f"read reports, {total:,} different texts"
    progress.start(task, total, _UNIT)
    parts: list[pl.DataFrame] = []
    for part in _read_all(_chunks(texts), columns, processes if total >= _WORTH_PROCESSES else 1):
        parts.append(part)
        progress.advance(task, part.height)
    progress.finish(task)
    return pl.concat(parts).with_row_index("number")


def _chunks(texts: Iterable[Text]) -> Iterator[list[Text]]:
    coming = iter(texts)
    while chunk := list(itertools.islice(coming, _CHUNK)):
        yield chunk


def _read_all(chunks: Iterator[list[Text]], columns: Sequence[str], processes: int) -> Iterator[pl.DataFrame]:
    """Labels of each chunk, in order. With several processes a few chunks are under way at a time."""
    if processes <= 1:
        readers: dict[str, ReportReader] = {}
        for chunk in chunks:
            yield _read(chunk, columns, readers)
        return
    # "spawn": a fork would copy this process in the middle of other threads' work (Polars, torch)
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(_read_here, chunk, columns) for chunk in itertools.islice(chunks, 2 * processes)]
        while waiting:
            yield waiting.pop(0).result()
            waiting.extend(pool.submit(_read_here, chunk, columns) for chunk in itertools.islice(chunks, 1))


_READERS: dict[str, ReportReader] = {}
"""Readers of this worker process."""


def _read_here(chunk: list[Text], columns: Sequence[str]) -> pl.DataFrame:
    return _read(chunk, columns, _READERS)


def _read(chunk: list[Text], columns: Sequence[str], readers: dict[str, ReportReader]) -> pl.DataFrame:
    for language in {language for language, _ in chunk} - set(readers):
        readers[language] = ReportReader(load_vocabulary(language))
    return _as_frame([readers[language].read(fields) for language, fields in chunk], columns)


def _as_frame(readings: Sequence[ReportLabels], columns: Sequence[str]) -> pl.DataFrame:
    """LABELS and evidence, one row per reading. Built from flat columns: a Python object per row would be slow."""
    decisions = zip(*(reading.decisions for reading in readings), strict=True)
    labels = {label: list(said) for label, said in zip(LABELS, decisions, strict=True)}
    flat = [one for reading in readings for one in reading.evidence]
    fields = {name: [getattr(one, name) for one in flat] for name in Evidence._fields}
    fields["column"] = [columns[place] for place in fields.pop("field")]
    evidence = pl.DataFrame({name: fields[name] for name in EVIDENCE}, schema=EVIDENCE)
    rows = [row for row, reading in enumerate(readings) for _ in reading.evidence]
    grouped = (
        evidence.select(pl.struct(pl.all()).alias("evidence"), row=pl.Series(rows, dtype=pl.UInt32))
        .group_by("row", maintain_order=True)
        .agg("evidence")
    )
    none = pl.lit([], dtype=pl.List(pl.Struct(EVIDENCE)))
    return (
        pl.DataFrame(labels, schema={label: pl.String for label in LABELS})
        .with_row_index("row")
        .join(grouped, on="row", how="left", maintain_order="left")
        .with_columns(pl.col("evidence").fill_null(none))
        .drop("row")
    )
