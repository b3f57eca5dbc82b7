"""Networks whose clean answers hold nothing to take away: one class for all images, or no better than chance.

Such a network can stand under any attack. Its low success rate is no robustness, and that must be read first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import polars as pl

from advassay.analysis.scores import chance_reach
from advassay.report.wording import count, listed

ONE_CLASS = (
    "The network gives one class to every clean image: {}. Its answer does not depend on the image, so a low success "
    "rate there, 0 % too, is not robustness."
)
CHANCE = (
    "The network is not shown to do better than chance (AUROC 0.5) on the clean images: {}. There may be little "
    "knowledge that an attack could overturn, so neither a low nor a high success rate there tells how "
    "robust the image type is."
)


def uninformed(transitions: pl.DataFrame, performance: pl.DataFrame) -> list[str]:
    """One sentence for each way in which networks know nothing, naming the cohorts and what was seen.

    Frames of findings, one arm: `transitions` (cohort, epsilon, label, predicted, n), `performance` (cohort, epsilon,
    n, patients (null where none is known: each image counts as its own), auroc). A cohort that answers one class is not
    named again for its AUROC.
    """
    clean = transitions.filter(pl.col("epsilon") == 0)
    constant = dict(_constant(clean))
    rows = performance.filter(pl.col("epsilon") == 0).iter_rows(named=True)
    chance = [told for row in rows if row["cohort"] not in constant and (told := _by_chance(row, clean))]
    found = ((ONE_CLASS, list(constant.values())), (CHANCE, chance))
    return [sentence.format(listed(cohorts)) for sentence, cohorts in found if cohorts]


def _constant(clean: pl.DataFrame) -> Iterator[tuple[str, str]]:
    """Cohorts of at least two classes whose clean images are all taken for one of them."""
    for (cohort,), part in clean.filter(pl.col("n") > 0).group_by("cohort", maintain_order=True):
        if part["predicted"].n_unique() == 1 and part["label"].n_unique() > 1:
            yield str(cohort), f"{cohort} (all {count(int(part['n'].sum()))} taken for {part['predicted'][0]})"


def _by_chance(row: dict[str, Any], clean: pl.DataFrame) -> str:
    """What is said of a cohort whose AUROC is within the reach of chance, or below it; empty where it is above."""
    area, clusters = row["auroc"], row["n"] if row["patients"] is None else row["patients"]
    labels = clean.filter(cohort=row["cohort"]).group_by("label").agg(pl.col("n").sum())["n"].to_list()
    reach = chance_reach([n * clusters / row["n"] for n in labels]) if row["n"] else math.nan
    if area is None or not area - reach <= 0.5:
        return ""
    patients = "" if clusters == row["n"] else f" of {count(clusters)} patients"
    return (
        f"{row['cohort']} (AUROC {area:.2f} over {count(row['n'])} images{patients}, chance "
        f"reaches {min(0.5 + reach, 1.0):.2f})"
    )
