"""Intervals for proportions whose images come in patients.

Wilson where images are independent; a patient-cluster bootstrap where patients repeat; Wilson with an effective n
where the bootstrap cannot speak (fewer than 20 effective patients, or fewer than 15 patients with an event or without,
none and all included). Which was used is always said.

The bootstrap gives the standard error over resampled patients; the interval around it has Wilson's shape (it stays
in [0, 1] and is skewed as it should be) with the n that would give this standard error, and Student's t instead of
the normal quantile. `benchmarks/coverage.py` measures how often these intervals hold the truth
(docs/explanation/statistics.md); the bootstrap's plain percentiles did so 89–97 times in 100.

Sources: Wilson, JASA 22 (1927); Davison & Hinkley, Bootstrap Methods (1997) §3.8 (resampling clusters); Korn &
Graubard, Survey Methodology 24 (1998) (effective n, t); Kish, Survey Sampling (1965) §5.4 (design effect
1 + (m − 1)·ICC); Donner & Klar, Cluster Randomization Trials (2000) §6.2 (ANOVA estimate of the ICC).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy import stats

from advassay.errors import SpecError

REPLICATES = 1_000
FEWEST_PATIENTS = 20
"""Below this many effective patients (Kish) a cluster bootstrap is too narrow, so it is not used."""
FEWEST_EITHER = 15
"""Nor with fewer patients than this that have an event, or that have an image without."""
FEWEST_FOR_ICC = 5
"""The same for a point that enters the estimate of the intraclass correlation."""

WILSON = "Wilson"
WILSON_EFFECTIVE = "Wilson, effective n"
BOOTSTRAP = "patient bootstrap"


def checked_level(level: float) -> float:
    """A confidence level. Raises SpecError unless it lies between 0 and 1."""
    if not 0 < level < 1:
        raise SpecError(f"level: between 0 and 1, got {level}.", "For example 0.95.")
    return level


def wilson(events: np.ndarray, n: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson score interval (low, high) of events / n, each in [0, 1]; n may be fractional (effective); NaN if n = 0.

    >>> low, high = wilson(np.array([0]), np.array([10]))
    >>> round(float(low[0]), 4), round(float(high[0]), 4)
    (0.0, 0.2775)
    """
    events, n = np.asarray(events, np.float64), np.asarray(n, np.float64)
    z = stats.norm.ppf(0.5 + checked_level(level) / 2)
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

    @cached_property
    def n(self) -> np.ndarray:
        """(point,) images."""
        return self.images.sum(1)

    @cached_property
    def total(self) -> np.ndarray:
        """(point,) events."""
        return self.events.sum(1)

    @cached_property
    def patients(self) -> np.ndarray:
        """(point,) patients with at least one image."""
        return (self.images > 0).sum(1)

    @cached_property
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


def few_discordant_patients(points: Counts) -> np.ndarray:
    """(point,) bool: fewer than 15 patients have an event, or fewer than 15 an image without one."""
    return _either(points) < FEWEST_EITHER


def _either(points: Counts) -> np.ndarray:
    """(point,) patients with an event, or patients with an image without one, whichever are fewer."""
    return np.minimum((points.events > 0).sum(1), (points.images > points.events).sum(1))


def pooled_icc(points: Counts, curve: np.ndarray | None = None) -> np.ndarray:
    """(point,) intraclass correlation of the images of one patient, in [0, 1]: one-way ANOVA within each point, pooled
    over the points of a curve. `curve` (point,) int names each point's; None = one curve.

    1.0, the cautious end, where no point of the curve has at least 5 patients with an event, 5 with none, and repeated
    patients.
    """
    curve = np.zeros(len(points.n), np.int64) if curve is None else curve
    n, groups = points.n, points.patients
    informative = (_either(points) >= FEWEST_FOR_ICC) & (n > groups)
    e, m = points.events[informative], points.images[informative]
    n, groups = n[informative], groups[informative]
    share = np.divide(e, m, out=np.zeros_like(e), where=m > 0)
    mean = (e.sum(1) / n)[:, None]
    between = (m * (share - mean) ** 2).sum(1) / (groups - 1)
    within = (e * (1 - share)).sum(1) / (n - groups)
    size = (n - (m**2).sum(1) / n) / (groups - 1)
    number = int(curve.max(initial=0)) + 1
    numerator, denominator = (
        np.bincount(curve[informative], part, number) for part in (between - within, between + (size - 1) * within)
    )
    ratio = np.divide(numerator, denominator, out=np.ones(number), where=denominator > 0)
    return np.asarray(np.clip(ratio, 0, 1)[curve])


def effective_n(points: Counts, icc: np.ndarray | float | None = None) -> np.ndarray:
    """(point,) n / design effect, at least Kish's number of patients and at most n; `icc` None = pooled_icc.

    The design effect is 1 + (m − 1)·ICC with Kish's m = Σ mᵢ² / Σ mᵢ, the size of the average image's patient.
    """
    icc = pooled_icc(points) if icc is None else icc
    n = points.n
    size = np.divide((points.images**2).sum(1), n, out=np.ones(len(n)), where=n > 0)
    return np.asarray(np.minimum(n / (1 + (size - 1) * icc), n))


def bootstrap(
    points: Counts, level: float = 0.95, seed: int = 0, replicates: int = REPLICATES
) -> tuple[np.ndarray, np.ndarray]:
    """Interval (low, high) of events / images from resampled patients, all points under the same resamples.

    Wilson's bounds with n = rate · (1 − rate) / variance of the resampled rates, at most twice the images. Resampling
    G clusters gives (G − 1)/G of the variance; G is Kish's effective number Σ² m / Σ m², so that a few large patients
    count as few. Student's t in place of the normal quantile. NaN where a point has no images or a rate of 0 or 1.
    """
    rate, groups = points.rate, _effective_patients(points)
    variance = resampled_rates(points, seed, replicates).var(axis=0) * groups / np.maximum(groups - 1, 1e-9)
    size = np.divide(rate * (1 - rate), variance, out=np.full(len(rate), np.inf), where=variance > 0)
    size = np.minimum(size, 2 * points.n) * _student(groups, level)
    known = (rate > 0) & (rate < 1)
    return wilson(np.where(known, rate * size, np.nan), np.where(known, size, np.nan), level)


FEWEST_EFFECTIVE = 2.0
"""Effective patients below which images do not tell how much patients differ: one patient has most of them."""


def effective_patients(patients: np.ndarray) -> float:
    """Kish's effective number of patients, (Σm)² / Σm² for m images each; `patients` (image,) names them.

    The number of patients where all have as many images, 1 where one has them all; 0 without images.

    >>> effective_patients(np.array([0, 0, 1, 1, 2, 2])), round(effective_patients(np.array([0] * 60 + [1] * 40)), 2)
    (3.0, 1.92)
    """
    sizes = np.unique(patients, return_counts=True)[1].astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum()) if sizes.size else 0.0


def _effective_patients(points: Counts) -> np.ndarray:
    """(point,) Kish's effective number of patients: theirs where all have as many images, fewer where they differ."""
    squares = (points.images**2).sum(1)
    return np.divide(points.n**2, squares, out=np.zeros(len(squares)), where=squares > 0)


def _student(groups: np.ndarray, level: float) -> np.ndarray:
    """(point,) (z / t)², t with groups − 1 degrees of freedom: what turns a normal interval into a Student one."""
    upper = 0.5 + checked_level(level) / 2
    return np.asarray((stats.norm.ppf(upper) / stats.t.ppf(upper, np.maximum(groups - 1, 1))) ** 2)


def resampled_rates(points: Counts, seed: int = 0, replicates: int = REPLICATES) -> np.ndarray:
    """(replicate, point) float64: the rate under each resample of patients. Seeded; memory bounded by chunks."""
    patients = points.images.shape[1]
    weights = _weights(patients, seed, replicates)
    stacked = np.concatenate([points.events, points.images]).T.astype(np.float32)  # small integers: exact in float32
    parts = []
    for rows in _chunks(replicates, patients):
        events, images = np.split((weights[rows].astype(np.float32) @ stacked).astype(np.float64), 2, axis=1)
        parts.append(np.divide(events, images, out=np.full(events.shape, np.nan), where=images > 0))
    return np.concatenate(parts)


@lru_cache(maxsize=16)
def _weights(patients: int, seed: int, replicates: int) -> np.ndarray:
    """(replicate, patient) how often each patient is drawn, uint16: every curve of a cohort has the same resamples."""
    rng = np.random.default_rng(seed)
    weights = np.empty((replicates, patients), np.uint16)
    for rows in _chunks(replicates, patients):
        number = rows.stop - rows.start
        drawn = rng.integers(0, patients, (number, patients)) + np.arange(number)[:, None] * patients
        weights[rows] = np.bincount(drawn.ravel(), minlength=number * patients).reshape(number, patients)
    return weights


def _chunks(replicates: int, patients: int) -> list[slice]:
    size = max(1, min(replicates, 20_000_000 // max(patients, 1)))
    return [slice(start, min(start + size, replicates)) for start in range(0, replicates, size)]


def intervals(
    points: Counts, level: float = 0.95, seed: int = 0, curve: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(low, high, method) of every point, by the rule at the head of this file; `curve` as in `pooled_icc`."""
    independent = (points.images <= 1).all(axis=1)
    patients = _effective_patients(points)
    weak = ~independent & (few_discordant_patients(points) | (patients < FEWEST_PATIENTS))
    strong = ~independent & ~weak
    effective = np.maximum(effective_n(points, pooled_icc(points, curve)) * _student(patients, level), patients)
    size = np.where(independent, points.n, effective)
    low, high = wilson(points.rate * size, size, level)
    if strong.any():
        low[strong], high[strong] = bootstrap(Counts(points.events[strong], points.images[strong]), level, seed)
    return low, high, np.select([independent, weak], [WILSON, WILSON_EFFECTIVE], BOOTSTRAP).tolist()
