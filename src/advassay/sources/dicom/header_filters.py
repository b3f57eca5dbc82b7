"""Who is out by the header: the rules of a DicomSource over the header table, and their version."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from advassay.sources.read_failures import Unreadable
from advassay.spec.source_spec import DicomSource

DICOM_READING = 4
"""Raised when the same files would give other images or other candidates; prepared cohorts say which read them."""


def filter_by_header(headers: pl.DataFrame, source: DicomSource) -> pl.DataFrame:
    """Columns reason and detail for each row of `headers` (schema HEADER, same order); null where a file stays in."""
    rules = list(_rules(source))
    named = pl.coalesce(pl.when(holds).then(_expression(reason)) for holds, reason, _ in rules)
    told = pl.coalesce(pl.when(holds).then(detail) for holds, _, detail in rules)
    broken = pl.col("reason").is_not_null()
    return headers.select(
        reason=pl.when(broken).then(_as_counted("reason")).otherwise(named),
        detail=pl.when(broken).then("detail").otherwise(told),
    )


_NOT_READ = (
    *("not an image", "not DICOM", "link out of the tree", "link to a folder", "file name is not UTF-8"),
    *("DICOMDIR", "zip archive", "packed archive"),
)
"""Reasons that need no "unreadable: " before them."""


def _as_counted(column: str) -> pl.Expr:
    return (
        pl.when(pl.col(column).is_in(_NOT_READ))
        .then(column)
        .otherwise(pl.concat_str(pl.lit("unreadable: "), pl.col(column)))
    )


def _expression(reason: str | pl.Expr) -> pl.Expr:
    return reason if isinstance(reason, pl.Expr) else pl.lit(reason)


def _rules(source: DicomSource) -> Iterator[tuple[pl.Expr, str | pl.Expr, pl.Expr]]:
    """(where it holds, reason, detail): what the image is, what it shows, how it was made."""
    modality, part, view = pl.col("modality"), pl.col("body_part"), pl.col("view")
    yield pl.col("localiser"), "localiser", pl.lit("(0008,0008) Image Type says LOCALIZER")
    yield modality.is_null(), "no modality", pl.lit("(0008,0060) Modality is empty")
    yield ~modality.is_in(source.modalities), "other modality", modality
    if source.image_kinds:
        kind = pl.col("image_kind")
        yield ~kind.is_in(source.image_kinds), kind, pl.lit("by Image Type, descriptions or tags of its kind")
    if source.for_processing == "leave-out":
        yield pl.col("presentation_intent") == "processing", "for processing", pl.lit("raw image, not for presentation")
    yield pl.col("frames") > 1, "several frames", _number("frames")
    yield (pl.col("samples") > 1) | (pl.col("photometric") == "other"), "colour image", pl.lit("not MONOCHROME1 or 2")
    yield pl.col("burned_in"), "burned-in annotation", pl.lit("(0028,0301) Burned In Annotation says YES")
    if source.body_parts:
        yield from _stated(part, source.body_parts, source.unstated, "body part")
    if source.views:
        yield (view == "lateral") & ~view.is_in(source.views), "lateral view", view
        yield from _stated(view, source.views, source.unstated, "view")
    yield from _technical(source)


def _stated(
    column: pl.Expr, wanted: tuple[str, ...], unstated: str, what: str
) -> Iterator[tuple[pl.Expr, str, pl.Expr]]:
    yield ~column.is_in(wanted), f"other {what}", column
    if unstated == "leave-out":
        yield column.is_null(), f"no {what} stated", pl.lit("")


def _technical(source: DicomSource) -> Iterator[tuple[pl.Expr, str, pl.Expr]]:
    size = pl.concat_str(pl.col("columns_px"), pl.lit(" × "), pl.col("rows_px"), pl.lit(" pixels"))
    height, width = pl.col("rows_px") * pl.col("pixel_aspect"), pl.col("columns_px")
    longer, shorter = pl.max_horizontal(height, width), pl.min_horizontal(height, width)
    yield pl.col("rows_px") * pl.col("columns_px") > source.most_pixels, Unreadable("too large").named, size
    yield pl.col("cut_short"), "unreadable: cut short", pl.lit("fewer bytes of pixel data than rows and columns need")
    side = pl.min_horizontal("rows_px", "columns_px")
    yield side < source.smallest_side_px, Unreadable("too small").named, size
    yield longer > shorter * source.longest_aspect, Unreadable("wrong aspect").named, size


def _number(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.String)
