"""Labels of reports as columns of a source's rows, so that a cohort's rules can use them."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

import polars as pl

from advassay.errors import AdvassayWarning, SourceError
from advassay.sources.reports.label_table import Labelled, label_reports
from advassay.sources.reports.report_classifier import LABELS
from advassay.sources.table_files import is_id, read_table
from advassay.spec.source_spec import ReportSpec

STATUS = "report"
"""Column that says what became of an image's report: read, no report, or the reason why it was left out."""


def with_reports(
    rows: pl.DataFrame, spec: ReportSpec, path: Path, *, patient_column: str | None, argument: str
) -> pl.DataFrame:
    """`rows` with the columns of LABELS (null without a report that was read) and STATUS.

    path: where the reports lie. patient_column: of the source. argument: how messages call the spec. The key is
    dropped where nobody would take it for an id later (its name is not one, and it is not the patient's). "12.0" joins
    with "12" where all ids of a side are such numbers. Warns, on screen only, of ids that do not join and of texts that
    the language does not fit. Raises SourceError for a missing column, or one of the source's own that bears a label's
    name.
    """
    if spec.key not in rows.columns:
        raise SourceError(
            f"{argument}.key: expected a column of the table, got {spec.key!r}.", f"There are: {rows.columns}."
        )
    if taken := sorted({*LABELS, STATUS} & set(rows.columns)):
        raise SourceError(
            f"{argument}: the columns {taken} would be written twice.", "Rename them in the table, or drop `reports`."
        )
    change = path.stat() if path.is_file() else None
    labels = _labels(spec, path, (change.st_size, change.st_mtime_ns) if change else (0, 0))
    labels = labels.with_columns(_whole(labels[spec.id]))
    keyed = rows.with_columns(_whole(rows[spec.key].cast(pl.String).str.strip_chars()).alias("_key"))
    _warn_of_strangers(keyed["_key"], labels[spec.id], argument)
    joined = keyed.join(labels, left_on="_key", right_on=spec.id, how="left", maintain_order="left")
    done = joined.with_columns(pl.col(STATUS).fill_null("no report")).drop("_key")
    return done if is_id(spec.key) or spec.key == patient_column else done.drop(spec.key)


def _whole(ids: pl.Series) -> pl.Series:
    """Ids that a spreadsheet made numbers with a point ("12.0") without it; others as they are."""
    given = ids.drop_nulls()
    if given.is_empty() or not given.str.contains(r"^\d+\.0$").all():
        return ids
    return ids.str.strip_suffix(".0")


def _warn_of_strangers(keys: pl.Series, ids: pl.Series, argument: str) -> None:
    """Warn where most images find no report although reports are left over, with two ids of each side.

    The ids are shown on screen, to whoever holds both tables; a warning enters no record.
    """
    keys, ids = keys.drop_nulls().unique(maintain_order=True), ids.drop_nulls().unique(maintain_order=True)
    images, reports = keys.filter(~keys.is_in(ids.implode())), ids.filter(~ids.is_in(keys.implode()))
    if images.is_empty() or reports.is_empty() or len(images) * 2 < len(keys):
        return
    warnings.warn(
        f"{argument}: {len(images):,} of {len(keys):,} ids of images have no report, and {len(reports):,} of "
        f"{len(ids):,} reports no image. Images: {images[:2].to_list()}; reports: {reports[:2].to_list()}. Check `key` "
        "and `id`.",
        AdvassayWarning,
        stacklevel=3,
    )


@lru_cache(maxsize=4)
def _labels(spec: ReportSpec, path: Path, change: tuple[int, int]) -> pl.DataFrame:
    """One row per report id. Kept while the file does not change: every cohort of a source opens it anew."""
    table = read_table(path, text=frozenset((*spec.text, spec.id)), encoding=spec.encoding, nul=False)
    labelled = label_reports(
        table, text=spec.text, id=spec.id, language=spec.language, language_column=spec.language_column
    )
    for warning in labelled.warnings:
        warnings.warn(f"reports: {warning}", AdvassayWarning, stacklevel=2)
    read = labelled.frame.select(pl.col(spec.id), *LABELS, pl.lit("read").alias(STATUS))
    return pl.concat([read, _not_read(table[spec.id], labelled)], how="diagonal")


def _not_read(ids: pl.Series, labelled: Labelled) -> pl.DataFrame:
    """Ids whose report was left out, with the reason; an id that an earlier row answers is not one of them."""
    lost = labelled.left_out.with_columns(ids.cast(pl.String).gather(labelled.left_out["row"]).alias(ids.name))
    return (
        lost.filter(pl.col(ids.name).is_not_null() & (pl.col("reason") != "id repeated"))
        .join(labelled.frame, on=ids.name, how="anti", maintain_order="left")
        .unique(ids.name, keep="first", maintain_order=True)
        .select(ids.name, pl.col("reason").alias(STATUS))
    )
