"""Equal numbers: balance within classes, equal classes, caps. Every draw is keyed by content."""

from __future__ import annotations

import polars as pl

from advassay.cohorts.conditions import column_of, missing
from advassay.cohorts.selection_counts import SelectionCounts
from advassay.errors import CohortError
from advassay.identity import draw_each
from advassay.sources.column_allowlist import short_values
from advassay.spec.cohort_spec import CohortSpec

DRAW_ID = "draw_id"
"""Column that names an image in draws where its pixels are not known yet; without it, image_id does."""

MOST_SHOWN = 10
"""Values named in an error; where there are more they may be ids, and only their number is told."""


def subsample(images: pl.DataFrame, spec: CohortSpec, seed: int, flow: SelectionCounts) -> pl.DataFrame:
    """Apply `images_per_patient`, `balance`, `equal_classes` and `per_class`, in this order.

    `images`: image_id, patient_id, class_name, columns; draw_id where draws began before decoding.

    A later cut keeps the balance of an earlier one: it takes the same number from every stratum (combination of
    values of the balanced columns). The order of draws depends on (seed, image_id or draw_id) alone, so a
    smaller cap keeps a subset of what a larger one keeps, and row order does not matter.
    """
    if spec.images_per_patient == "one":
        images = _one_per_patient(images, seed, flow)
    if not (spec.balance or spec.equal_classes or spec.per_class is not None):
        return images
    images = _strata(images, spec, flow)
    images = images.with_columns(_rank(images, seed))
    strata = max(1, images["stratum"].n_unique())  # 0: no image has a value to balance by
    if spec.balance:
        smallest = images.group_by("class_name").agg(pl.col("stratum").value_counts().struct.field("count").min())
        images = _cut("balance", images, dict(smallest.iter_rows()), flow)
    if spec.equal_classes:
        fewest = int(images["class_name"].value_counts()["count"].min() or 0)  # type: ignore[arg-type]
        images = _cut("equal classes", images, dict.fromkeys(spec.classes, fewest // strata), flow)
    if spec.per_class is not None:
        caps = _caps(spec)
        images = _cut("per_class", images, {name: cap // strata for name, cap in caps.items()}, flow)
    return images.drop("stratum", "drawn")


def _one_per_patient(images: pl.DataFrame, seed: int, flow: SelectionCounts) -> pl.DataFrame:
    """Of every patient the image with the smallest draw, whatever its class."""
    keys = _keys(images, seed, "one per patient")
    others = (
        images.select("patient_id")
        .with_columns(keys)
        .select(
            pl.when(pl.col("key").rank("ordinal").over("patient_id") > 1).then(
                pl.lit("another image of a patient is in")
            )
        )
    )
    return flow.keep("images_per_patient", images, others.to_series())


def _strata(images: pl.DataFrame, spec: CohortSpec, flow: SelectionCounts) -> pl.DataFrame:
    for name in spec.balance:
        column = column_of(images, name, "balance")
        absent = pl.DataFrame({"absent": missing(column)}).select(
            pl.when(pl.col("absent")).then(pl.lit(f"{name}: no value to balance by"))
        )
        images = flow.keep(f"balance.{name}", images, absent.to_series())
    names = [pl.col(name).cast(pl.String) for name in spec.balance]
    images = images.with_columns((pl.concat_str(names, separator=" / ") if names else pl.lit("all")).alias("stratum"))
    _all_strata_in_all_classes(images, spec, flow)
    return images


def _all_strata_in_all_classes(images: pl.DataFrame, spec: CohortSpec, flow: SelectionCounts) -> None:
    strata = set(images["stratum"].unique())
    for name in spec.classes:
        absent = strata - set(images.filter(pl.col("class_name") == name)["stratum"].unique())
        if absent and spec.balance:
            shown = all(short_values(images[column]) for column in spec.balance) and len(absent) <= MOST_SHOWN
            raise CohortError(
                f"balance: every class needs images of every value of {list(spec.balance)}; "
                f"class {name!r} has none of {sorted(absent) if shown else len(absent)} ({flow.in_words()}).",
                "Restrict the column with `where`, or drop it from `balance`.",
            )


def _rank(images: pl.DataFrame, seed: int) -> pl.Series:
    """Rank of each image within its class and stratum, in the order of the draw."""
    keys = _keys(images, seed, "selection")
    ranked = images.select("class_name", "stratum").with_columns(keys)
    return ranked.select(pl.col("key").rank("ordinal").over("class_name", "stratum").alias("drawn")).to_series()


def _keys(images: pl.DataFrame, seed: int, purpose: str) -> pl.Series:
    """The draw of each image. Equal draw_ids tie, and ranks then follow the order of the rows."""
    return pl.Series("key", draw_each(seed, purpose, ids=images[DRAW_ID if DRAW_ID in images else "image_id"]))


def _cut(step: str, images: pl.DataFrame, per_stratum: dict[str, int], flow: SelectionCounts) -> pl.DataFrame:
    most = images.select(
        pl.col("class_name").replace_strict(per_stratum, default=images.height, return_dtype=pl.Int64)
    ).to_series()
    surplus = pl.DataFrame({"surplus": images["drawn"] > most}).select(
        pl.when(pl.col("surplus")).then(pl.lit(f"{step}: not drawn"))
    )
    return flow.keep(step, images, surplus.to_series())


def _caps(spec: CohortSpec) -> dict[str, int]:
    if isinstance(spec.per_class, int):
        return dict.fromkeys(spec.classes, spec.per_class)
    caps = dict(spec.per_class or {})
    if unknown := sorted(set(caps) - set(spec.classes)):
        raise CohortError(f"per_class: names of classes {list(spec.classes)}, got {unknown}.")
    return caps
