"""Intervals for proportions whose images come in patients.

Wilson where images are independent; a patient-cluster bootstrap where patients repeat; Wilson with an effective n
where the bootstrap cannot speak (no or all events, fewer than 20 patients). Which was used is always said.

Sources: Wilson, JASA 22 (1927); Davison & Hinkley, Bootstrap Methods (1997) §3.8 (resampling clusters);
Hesterberg, The American Statistician 69 (2015) §5.1 (expanded percentile); Kish, Survey Sampling (1965) §5.4
(design effect 1 + (m − 1)·ICC); Donner & Klar (2000) §6.2 (ANOVA estimate of the ICC).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

REPLICATES = 1_000
FEWEST_PATIENTS = 20
"""Below this many patients a cluster bootstrap is too narrow, so it is not used."""

WILSON = "Wilson"
WILSON_EFFECTIVE = "Wilson, effective n"
BOOTSTRAP = "patient bootstrap"


def wilson(events: np.ndarray, n: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson score interval (low, high) of events / n, each in [0, 1]; n may be fractional (effective); NaN if n = 0.

    >>> low, high = wilson(np.array([0]), np.array([10]))
    >>> round(float(low[0]), 4), round(float(high[0]), 4)
    (0.0, 0.2775)
    """
    events, n = np.asarray(events, np.float64), np.asarray(n, np.float64)
    z = stats.norm.ppf(0.5 + level / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = events / n
        centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low = np.where(p == 0, 0.0, np.maximum(centre - half, 0))
    high = np.where(p == 1, 1.0, np.minimum(centre + half, 1))
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan)


@dataclass(frozen=True)
class Counts:
    """Events and images of each point, by patient: all that an interval of a curve needs.

    events, images: (point, patient) float64.
    """

    events: np.ndarray
    images: np.ndarray

    @property
    def n(self) -> np.ndarray:
        """(point,) images."""
        return self.images.sum(1)

    @property
    def total(self) -> np.ndarray:
        """(point,) events."""
        return self.events.sum(1)

    @property
    def patients(self) -> np.ndarray:
        """(point,) patients with at least one image."""
        return (self.images > 0).sum(1)

    @property
    def rate(self) -> np.ndarray:
        """(point,) events / images, NaN without images."""
        return np.divide(self.total, self.n, out=np.full(len(self.n), np.nan), where=self.n > 0)


def counts(events: np.ndarray, included: np.ndarray, patients: np.ndarray, number: int | None = None) -> Counts:
    """Sum (point, image) bool arrays by patient. `events` count only where `included`; `patients` (image,) codes."""
    from scipy.sparse import csr_array

    number = int(patients.max(initial=-1)) + 1 if number is None else number
    images = len(patients)
    of_patient = csr_array((np.ones(images), (np.arange(images), patients)), shape=(images, number))
    return Counts((events & included).astype(np.float64) @ of_patient, included.astype(np.float64) @ of_patient)


def pooled_icc(points: Counts) -> float:
    """Intraclass correlation of the images of one patient, in [0, 1]: one-way ANOVA within each point, pooled.

    1.0, the cautious end, where no point has events, non-events and a patient with two images. Where there is
    no repeated patient it does not matter.
    """
    n, total, groups = points.n, points.total, points.patients
    informative = (total > 0) & (total < n) & (n > groups) & (groups > 1)
    if not informative.any():
        return 1.0
    e, m = points.events[informative], points.images[informative]
    n, groups = n[informative], groups[informative]
    share = np.divide(e, m, out=np.zeros_like(e), where=m > 0)
    mean = (e.sum(1) / n)[:, None]
    between = (m * (share - mean) ** 2).sum(1) / (groups - 1)
    within = (e * (1 - share)).sum(1) / (n - groups)
    size = (n - (m**2).sum(1) / n) / (groups - 1)
    numerator, denominator = (between - within).sum(), (between + (size - 1) * within).sum()
    return float(np.clip(numerator / denominator, 0, 1)) if denominator > 0 else 1.0


def effective_n(points: Counts, icc: float | None = None) -> np.ndarray:
    """(point,) n / design effect, at least the number of patients and at most n.

    The design effect is 1 + (m − 1)·ICC with Kish's m = Σ mᵢ² / Σ mᵢ, the size of the average image's patient.
    """
    icc = pooled_icc(points) if icc is None else icc
    n = points.n
    size = np.divide((points.images**2).sum(1), n, out=np.ones(len(n)), where=n > 0)
    return np.clip(n / (1 + (size - 1) * icc), points.patients, np.maximum(n, points.patients))


def bootstrap(
    points: Counts, level: float = 0.95, seed: int = 0, replicates: int = REPLICATES
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of events / images over resampled patients, all points under the same resamples.

    The percentiles are expanded for the number of patients (Hesterberg): α' = 2 Φ(√(G/(G−1)) · t_{α/2, G−1}).
    """
    sample = resampled_rates(points, seed, replicates)
    groups = np.maximum(points.patients, 2)
    quantile = stats.t.ppf((1 - level) / 2, groups - 1) * np.sqrt(groups / (groups - 1))
    alpha = stats.norm.cdf(quantile)
    bounds = [np.nanquantile(column, [a, 1 - a]) for column, a in zip(sample.T, alpha, strict=True)]
    low, high = np.array(bounds).T
    return low, high


def resampled_rates(points: Counts, seed: int = 0, replicates: int = REPLICATES) -> np.ndarray:
    """(replicate, point) float64: the rate under each resample of patients. Seeded; memory bounded by chunks."""
    rng = np.random.default_rng(seed)
    patients = points.images.shape[1]
    chunk = max(1, min(replicates, 20_000_000 // max(patients, 1)))
    stacked = np.concatenate([points.events, points.images]).T.astype(np.float32)  # small integers: exact in float32
    parts = []
    for start in range(0, replicates, chunk):
        rows = min(chunk, replicates - start)
        drawn = rng.integers(0, patients, (rows, patients)) + np.arange(rows)[:, None] * patients
        weights = np.bincount(drawn.ravel(), minlength=rows * patients).reshape(rows, patients).astype(np.float32)
        sums = (weights @ stacked).astype(np.float64)
        events, images = np.split(sums, 2, axis=1)
        parts.append(np.divide(events, images, out=np.full(events.shape, np.nan), where=images > 0))
    return np.concatenate(parts)


def intervals(points: Counts, level: float = 0.95, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(low, high, method) of every point, by the rule at the head of this file."""
    n, total, groups = points.n, points.total, points.patients
    independent = (points.images <= 1).all(axis=1)
    weak = ~independent & ((total == 0) | (total == n) | (groups < FEWEST_PATIENTS))
    strong = ~independent & ~weak
    size = np.where(independent, n, effective_n(points))
    low, high = wilson(points.rate * size, size, level)
    if strong.any():
        sample = bootstrap(Counts(points.events[strong], points.images[strong]), level, seed)
        low[strong], high[strong] = sample
    methods = np.select([independent, weak], [WILSON, WILSON_EFFECTIVE], BOOTSTRAP)
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan), methods.tolist()
