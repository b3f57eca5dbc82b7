"""Distance in features as a table: how far attacked images move, beside noise and images of other classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from advassay.analysis.conclusions.evidence import plan_in_force
from advassay.analysis.distance_in_features import cohort_features, farther_in_features
from advassay.records.store_reader import Records


def feature_distance(records: Records, *, level: float = 0.95) -> pl.DataFrame:
    """One row per cohort and ε: how far attacked images lie from the clean ones, networks pooled.

    Columns: cohort, arm, epsilon, networks, n (images that a network classifies correctly, summed over networks),
    misled (share), pixel_l2, ssim (means); then means of distances over the mean distance between images of different
    classes: pixel, feature, feature_noise (random noise of the same size), pixel_same, feature_same (two images of one
    class); ratio (feature over pixel) with ratio_low and ratio_high; noise_ratio. Empty
    where the study has no `attack.features`.
    """
    if not records.transfers:
        return pl.DataFrame()
    force = plan_in_force(records)
    made: list[dict[str, Any]] = []
    for cohort in cohort_features(records, force.arm, force.step_size()):
        for (epsilon,), rows in cohort.rows.group_by("epsilon", maintain_order=True):
            found = farther_in_features(rows)
            low = high = None
            if found is not None:
                half = float(stats.t.ppf(0.5 + level / 2, found[2])) * found[1] ** 0.5
                low, high = float(np.exp(found[0] - half)), float(np.exp(found[0] + half))
            names = ("pixel_l2", "ssim", "pixel", "feature", "feature_noise", "pixel_same", "feature_same")
            noise, seen = (float(rows[name].sum()) for name in ("pixel_noise", "feature_noise"))
            made.append(
                {"cohort": cohort.header.cohort, "arm": cohort.header.arm, "epsilon": epsilon,
                 "networks": rows["network"].n_unique(), "n": len(rows), "misled": rows["misled"].mean()}
                | {name: rows[name].mean() for name in names}
                | {"ratio": None if found is None else float(np.exp(found[0])), "ratio_low": low, "ratio_high": high,
                   "noise_ratio": seen / noise if noise > 0 else None}
            )  # fmt: skip
    return pl.DataFrame(made, infer_schema_length=None)
