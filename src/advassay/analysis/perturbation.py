"""How large the perturbation really was, and success at equal visibility instead of equal ε.

PSNR = 10 · log10(N / ‖δ‖₂²) dB for images in [0, 1] of N = channels · width · height values (peak 1). SSIM and the
clean contrast (standard deviation of the clean image) were recorded while the images were there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from advassay.analysis.confidence_shift import about
from advassay.analysis.intervals import Counts, counts, intervals
from advassay.analysis.outcome_arrays import (
    NEXT,
    ONE_STEP_SIZE,
    OutcomeArrays,
    first_step_size,
    load_outcomes,
    runs_of,
    step_sizes,
)
from advassay.errors import SpecError
from advassay.records.run_reader import Run
from advassay.records.store_reader import Records
from advassay.success import Reading

Measure = Literal["contrast", "psnr", "ssim"]
MEASURES = ("contrast", "psnr", "ssim")
QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Sizes:
    """Of one run at one step size, at the last iterate, float64 (epsilon, image); NaN where not recorded."""

    pack: OutcomeArrays
    linf: np.ndarray
    l2: np.ndarray
    ssim: np.ndarray

    @property
    def psnr(self) -> np.ndarray:
        """dB; infinite for an unchanged image."""
        header = self.pack.header
        values = header.channels * header.image_size_px**2
        with np.errstate(divide="ignore"):
            return np.asarray(10 * np.log10(values / self.l2**2))


def relative_to_contrast(pack: OutcomeArrays) -> np.ndarray:
    """ε / clean contrast, float64 (epsilon, image); NaN where an image has none."""
    return np.asarray(pack.epsilons[:, None] / np.where(pack.contrast > 0, pack.contrast, np.nan))


def one_step_size(run: Run, step_size: str | None) -> OutcomeArrays:
    """The run at a recorded step size, None = its first. Raises SpecError for "any"."""
    pack = load_outcomes(run, step_size)
    if pack.step_size == "any":
        raise SpecError('step_size: sizes need one recorded step size, got "any".', ONE_STEP_SIZE)
    return pack


def sizes_of(run: Run, step_size: str | None = None) -> Sizes:
    """Realised sizes; `step_size` None = the run's first."""
    pack = one_step_size(run, step_size)
    found = {name: np.full(pack.present.shape, np.nan) for name in ("linf", "l2", "ssim")}
    columns = {"linf": run.column("linf")[:, -1], "l2": run.column("l2")[:, -1], "ssim": run.column("ssim")}
    images = np.unique(np.concatenate([run.index.image[rows] for rows in _points(run, pack).values()]))
    for epsilon, rows in _points(run, pack).items():
        at = np.searchsorted(images, run.index.image[rows])
        for name, values in columns.items():
            found[name][pack.at(epsilon), at] = values[rows]
    return Sizes(pack, **found)


def _points(run: Run, pack: OutcomeArrays) -> dict[float, slice]:
    return {e: rows for (name, e), rows in run.index.points().items() if name == pack.step_size and e > 0}


def perturbation_size(records: Records, *, arm: str | None = None, step_size: str | None = None) -> pl.DataFrame:
    """Quartiles over the attacked images of each cohort and ε, at the last iterate.

    Columns: cohort, image_type, arm, step_size, epsilon, quantity (linf, l2, psnr in dB, ssim, clean_contrast,
    epsilon_over_contrast), n (images with a value), q25, median, q75 (psnr: infinite values, unchanged images, left
    out). `step_size` None = each run's first.
    """
    rows = [row for run in runs_of(records, arm) for row in _quantities(sizes_of(run, _known(records, run, step_size)))]
    return pl.DataFrame(rows, infer_schema_length=None)


def _known(records: Records, run: Run, step_size: str | None) -> str:
    known = step_sizes(run)
    if step_size is not None and step_size not in known:
        raise SpecError(f"step_size: one of {', '.join(known)} ({run.header.cohort}), got {step_size!r}.", NEXT)
    return step_size or first_step_size(records, run)


def _quantities(sizes: Sizes) -> list[dict[str, Any]]:
    pack = sizes.pack
    contrast = np.broadcast_to(pack.contrast, pack.present.shape)
    values = {
        "linf": sizes.linf, "l2": sizes.l2, "psnr": sizes.psnr, "ssim": sizes.ssim, "clean_contrast": contrast,
        "epsilon_over_contrast": relative_to_contrast(pack),
    }  # fmt: skip
    rows = []
    for i, epsilon in enumerate(pack.epsilons):
        for name, value in values.items():
            known = value[i][pack.present[i] & np.isfinite(value[i])]
            q25, median, q75 = np.quantile(known, QUARTILES).tolist() if known.size else (None, None, None)
            rows.append(
                about(pack) | {"epsilon": float(epsilon), "quantity": name, "n": known.size, "q25": q25,
                               "median": median, "q75": q75}
            )  # fmt: skip
    return rows


def visibility_curve(
    records: Records, measure: Measure = "contrast", *, arm: str | None = None, step_size: str | None = None,
    bins: int = 10, success: Reading = "last", level: float = 0.95, seed: int = 0,
) -> pl.DataFrame:  # fmt: skip
    """Success over how visible the perturbation is (at the last iterate), all cohorts in the same bins.

    success   "last": at the last iterate · "any": at some iterate
    measure   "contrast": ε / clean contrast, bins equal on a log scale · "psnr": dB · "ssim", both equal bins
    Columns: cohort, image_type, arm, step_size, measure, bin_low, bin_high, rate, low, high, n (image × ε), events,
    patients, method. Every attackable image counts once for each of its ε that falls into a bin; bins without any
    are left out. Raises SpecError for another measure.
    """
    if measure not in MEASURES:
        raise SpecError(f"measure: one of {', '.join(MEASURES)}, got {measure!r}.", 'For example measure="psnr".')
    found = [_visibility(run, _known(records, run, step_size), measure) for run in runs_of(records, arm)]
    known = [values[pack.attackable & np.isfinite(values)] for pack, values in found]
    if not sum(k.size for k in known):
        return pl.DataFrame()
    edges = np.linspace(min(k.min() for k in known if k.size), max(k.max() for k in known if k.size), bins + 1)
    shown = np.exp(edges) if measure == "contrast" else edges
    rows = [
        about(pack) | {"measure": measure} | row
        for pack, values in found
        for row in _binned(pack, values, edges, shown, success, level, seed)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _visibility(run: Run, step_size: str, measure: Measure) -> tuple[OutcomeArrays, np.ndarray]:
    """(run, how visible its perturbation is, float64 (epsilon, image)); contrast as a logarithm."""
    if measure == "contrast":
        pack = one_step_size(run, step_size)
        return pack, np.log(relative_to_contrast(pack))
    sizes = sizes_of(run, step_size)
    return sizes.pack, sizes.psnr if measure == "psnr" else sizes.ssim


def _binned(
    pack: OutcomeArrays,
    value: np.ndarray,
    edges: np.ndarray,
    shown: np.ndarray,
    success: Reading,
    level: float,
    seed: int,
) -> list[dict[str, Any]]:
    bins = len(edges) - 1
    at = np.clip(np.searchsorted(edges, np.nan_to_num(value, posinf=np.inf), side="right") - 1, 0, bins - 1)
    counted = pack.attackable & np.isfinite(value)
    parts = [
        counts(
            (at[i] == np.arange(bins)[:, None]) & pack.fallen(success)[i, -1],
            (at[i] == np.arange(bins)[:, None]) & counted[i], pack.patients, len(pack.patient_ids),
        )
        for i in range(len(pack.epsilons))
    ]  # fmt: skip
    points = Counts(sum(p.events for p in parts), sum(p.images for p in parts))  # type: ignore[arg-type]
    low, high, method = intervals(points, level, seed)
    return [
        {
            "bin_low": float(shown[b]), "bin_high": float(shown[b + 1]), "rate": float(points.rate[b]),
            "low": float(low[b]), "high": float(high[b]), "n": int(points.n[b]), "events": int(points.total[b]),
            "patients": int(points.patients[b]), "method": method[b],
        }
        for b in np.flatnonzero(points.n)
    ]  # fmt: skip
