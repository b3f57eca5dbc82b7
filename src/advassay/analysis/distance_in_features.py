"""How far attacked images move in pixels and in the network's features, beside images of other classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from advassay.analysis.conclusions.effect_sizes import mean_by_patient
from advassay.analysis.transfer_outcomes import ATTACKED, NOISE, TransferNetwork
from advassay.records.feature_distances import KEYS, read_features
from advassay.records.run_header import RunHeader
from advassay.records.run_reader import Run
from advassay.records.store_reader import Records
from advassay.success import correct_on_clean, has_succeeded, undecided


@dataclass(frozen=True)
class CohortFeatures:
    """Distances of one cohort's networks under one arm.

    rows  one row per network × ε × image that the network classifies correctly when clean. network, epsilon, image_id,
          patient_id; misled (bool): the attack succeeded; pixel_l2, ssim: of the attacked image; then distances over
          the mean distance between images of different classes: pixel, feature (clean to attacked), pixel_noise,
          feature_noise (clean to random noise of the same size), pixel_same, feature_same (two images of one class)
    """

    header: RunHeader
    rows: pl.DataFrame

    def at(self, epsilon: float) -> float:
        """The measured ε that is nearest to `epsilon`."""
        known = self.rows["epsilon"].unique().sort().to_numpy()
        return float(known[np.argmin(np.abs(known - epsilon))])


def cohort_features(records: Records, arm: str, step_size: str | None = None) -> tuple[CohortFeatures, ...]:
    """What was measured of each cohort under this arm and step size, in the study's order; empty where nothing was."""
    found: dict[str, list[tuple[RunHeader, pl.DataFrame]]] = {}
    for run in records.transfers:
        header = run.header
        if header.arm == arm and header.source_classifier == header.classifier:
            rows = _rows(run, step_size)
            if len(rows):
                found.setdefault(header.cohort, []).append((header, rows))
    order = {name: place for place, name in enumerate(records.cohorts)}
    names = sorted(found, key=lambda name: (order.get(name, len(order)), name))
    return tuple(CohortFeatures(_first(found[name]), pl.concat([rows for _, rows in found[name]])) for name in names)


def _first(found: list[tuple[RunHeader, pl.DataFrame]]) -> RunHeader:
    return next((header for header, _ in found if header.primary), found[0][0])


def _rows(run: Run, step_size: str | None) -> pl.DataFrame:
    measured = read_features(run.folder)
    if not len(measured):
        return measured
    rows, header = run.rows(), run.header
    path = rows.logits.swapaxes(0, 1)
    network = TransferNetwork(header.classifier, header.architecture, header.train_size, header.full, header.seed)
    frame = pl.DataFrame(
        {
            "network": [network.name] * len(rows), "image_id": rows.image_id.tolist(),
            "step_size": rows.step_size.tolist(), "epsilon": rows.epsilon,
            "counts": correct_on_clean(path, rows.label) & ~undecided(path, "any")[-1],
            "misled": has_succeeded(path, rows.label)[-1],
            "pixel_l2": rows.l2[:, ATTACKED].astype(float), "noise_l2": rows.l2[:, NOISE].astype(float),
            "ssim": rows.ssim.astype(float),
        }
    )  # fmt: skip
    joined = (
        frame.filter("counts").join(measured, on=KEYS).join(run.images.select("image_id", "patient_id"), on="image_id")
    )
    if step_size is not None:
        joined = joined.filter(pl.col("step_size") == step_size)
    of = {"pixel": ("pixel_l2", "pixel_other"), "feature": ("feature_attacked", "feature_other"),
          "pixel_noise": ("noise_l2", "pixel_other"), "feature_noise": ("feature_noise", "feature_other"),
          "pixel_same": ("pixel_same", "pixel_other"), "feature_same": ("feature_same", "feature_other")}  # fmt: skip
    shares = {name: pl.col(distance) / pl.col(whole) for name, (distance, whole) in of.items()}
    kept = ["network", "epsilon", "image_id", "patient_id", "misled", "pixel_l2", "ssim"]
    # NaN is larger than every number to Polars, so that "> 0" alone would keep it.
    whole_ones = pl.all_horizontal(
        pl.col("feature_other", "pixel_other").is_finite() & (pl.col("feature_other", "pixel_other") > 0)
    )
    moved = pl.all_horizontal(pl.col("feature_attacked", "feature_noise", "pixel_l2", "noise_l2").is_finite())
    known = joined.filter(whole_ones & moved)
    return (
        known.select(*kept, **shares)
        .with_columns(pl.col("pixel_same", "feature_same").fill_nan(None))
        .filter(pl.col("epsilon") > 0)
        .sort("epsilon", "image_id")
    )


def farther_in_features(rows: pl.DataFrame) -> tuple[float, float, float, int] | None:
    """(ln of the mean distance in features over the mean distance in pixels, its variance, degrees of freedom,
    networks) of rows of `CohortFeatures`; None where nothing moved, or patients are too few.

    By linearisation, with patients as clusters; from three networks on with the jackknife over them.
    """
    feature, pixel = (float(rows[name].sum()) for name in ("feature", "pixel"))
    if not len(rows) or not feature > 0 or not pixel > 0:
        return None
    value = float(np.log(feature / pixel))
    by_image = rows.group_by("image_id", "patient_id", maintain_order=True).agg(pl.col("feature", "pixel").sum())
    n = len(by_image)
    linear = value + n * (by_image["feature"] / feature - by_image["pixel"] / pixel).to_numpy()
    patients = np.unique(by_image["patient_id"].to_numpy(), return_inverse=True)[1]
    _, variance, effective = mean_by_patient(linear, patients, 0.0)
    between, networks = _between_networks(rows)
    total, freedom = variance + between, max(effective - 1, 1.0)
    if between > 0:
        freedom = max(total**2 / (variance**2 / freedom + between**2 / (networks - 1)), 1.0)
    return (value, total, freedom, networks) if np.isfinite(total) else None


def _between_networks(rows: pl.DataFrame) -> tuple[float, int]:
    """(variance by leaving each network out in turn, networks); 0 with fewer than three."""
    sums = rows.group_by("network", maintain_order=True).agg(pl.col("feature", "pixel").sum())
    n = len(sums)
    if n < 3:
        return 0.0, n
    feature, pixel = (sums[name].sum() - sums[name].to_numpy() for name in ("feature", "pixel"))
    if not (feature > 0).all() or not (pixel > 0).all():
        return 0.0, n
    left = np.log(feature / pixel)
    return float((n - 1) / n * ((left - left.mean()) ** 2).sum()), n
