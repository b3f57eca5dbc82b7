"""Simulated studies with a known truth, for the benchmark of the five verdicts.

Each image has a threshold ln T; it is misclassified at ε where ln ε + (what iterations, confidence, size, luck add)
exceeds it. The truth of a scenario is stated on the scale of the question's own effect: points per doubling, ratio of
ε50, rise over the second half. Verdict arrays are made in memory; no disk, no logits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy import stats

from advassay.analysis.conclusions.evidence import Evidence
from advassay.analysis.outcome_arrays import OutcomeArrays
from advassay.records.run_header import RunHeader
from advassay.spec.analysis_plan import AnalysisPlan
from advassay.store_documents import Controls, Doubling

GRID = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02)
STEPS = 5
MIDDLE = float(np.log(0.0025))
SPREAD = 0.7
"""Standard deviation of ln T within a cohort."""
LARGE = 200_000
"""Images that a truth without a closed form is taken from."""


_GUMBEL_MEDIAN = float(stats.gumbel_r.median())


@dataclass(frozen=True)
class Shape:
    """How thresholds are distributed about a cohort's location: standardised to a median of 0."""

    name: str
    never: float = 0.0
    """Share of images that never fall."""
    spread: float = SPREAD
    """Scale of ln T: the standard deviation of a normal one."""

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        value = {
            "normal": lambda: rng.standard_normal(n),
            "logistic": lambda: rng.logistic(size=n) * 0.55,
            "skewed": lambda: (rng.gumbel(size=n) - _GUMBEL_MEDIAN) * 0.78,
            "skewed left": lambda: -(rng.gumbel(size=n) - _GUMBEL_MEDIAN) * 0.78,
            "heavy tails": lambda: rng.standard_t(3, size=n) * 0.7,
        }[self.name]()
        return np.where(rng.random(n) < self.never, np.inf, self.spread * np.asarray(value))

    @cached_property
    def median(self) -> float:
        """Of ln T about the location, images that never fall included."""
        q = 0.5 / (1 - self.never)
        quantile = {
            "normal": stats.norm.ppf(q),
            "logistic": stats.logistic.ppf(q) * 0.55,
            "skewed": (stats.gumbel_r.ppf(q) - _GUMBEL_MEDIAN) * 0.78,
            "skewed left": -(stats.gumbel_r.ppf(1 - q) - _GUMBEL_MEDIAN) * 0.78,
            "heavy tails": stats.t.ppf(q, 3) * 0.7,
        }[self.name]
        return self.spread * float(quantile)


NORMAL = Shape("normal")


@dataclass(frozen=True)
class CohortTruth:
    """One cohort of a simulated study."""

    name: str
    image_type: str = "X-ray"
    images: int = 100
    images_per_patient: int = 1
    largest_patient: int = 0
    """Images that one patient has alone, beside the others' `images_per_patient` each; 0 = none stands out."""
    icc: float = 0.4
    """Share of the thresholds' variance that images of one patient have in common, where patients repeat."""
    location: float = MIDDLE
    shape: Shape = NORMAL
    grid: tuple[float, ...] = GRID
    archive: str = ""
    """Cohorts of one archive have the same images."""
    confidence_shift: float = 0.0
    """Added to ln T of images with a clean confidence above 0.95."""
    confident_never: float = 0.0
    """Share of those that never fall."""
    confident_spread: float = 1.0
    """Factor on the distance of their ln T from the cohort's location."""
    late: float = 0.0
    """Success still gained over the second half of the iterations, in the shift of ln ε at K/2 (≥ 0)."""
    falls: float | None = None
    """Change of the success rate per doubling of ε drawn image by image (None: thresholds decide)."""
    centre: float = 0.5
    """With `falls`: success at the middle of the grid."""


def network(
    rng: np.random.Generator, cohort: CohortTruth, *, shift: float = 0.0, size: int | None = 320, seed: int = 0,
    primary: bool = True, base: np.ndarray | None = None,
) -> OutcomeArrays:  # fmt: skip
    """Verdict arrays of one network; `shift` moves ln T of all images, `base` gives the images' own ln T."""
    n, grid = cohort.images, np.array(cohort.grid)
    patients = patients_of(cohort)
    logs = thresholds_of(rng, cohort) if base is None else base
    confidence = 0.5 + 0.5 * rng.beta(5, 1, n)
    logs = _of_confident(rng, cohort, logs, confidence > 0.95) + shift
    last = _fallen(rng, cohort, logs, grid, patients)
    attackable = np.tile(rng.random(n) < 0.95, (len(grid), 1))
    archive = cohort.archive or cohort.name
    header = _header(cohort, size, seed, primary)
    any_ = np.maximum.accumulate(last, axis=1)
    return OutcomeArrays(
        header=header, step_size="epsilon/4", epsilons=grid,
        image_ids=np.array([f"{archive}-{i}" for i in range(n)], dtype=object), labels=np.zeros(n, np.int64),
        patients=patients.astype(np.int32),
        patient_ids=np.array([f"{archive}-p{i}" for i in range(patients[-1] + 1)], dtype=object),
        present=np.ones((len(grid), n), bool), decided=np.ones((len(grid), n), bool), attackable=attackable,
        last=last & attackable[:, None], any=any_ & attackable[:, None], decision=np.zeros((len(grid), 1, n), np.int8),
        correct=np.broadcast_to(attackable[:, None], last.shape) & ~last,
        clean_logits=np.zeros((n, 2), np.float32), final_logits=np.zeros((len(grid), n, 2), np.float32),
        clean_confidence=confidence, contrast=np.full(n, 0.16), flags={},
    )  # fmt: skip


def patients_of(cohort: CohortTruth) -> np.ndarray:
    """(image,) int: the patient of each image."""
    rest = np.arange(cohort.images - cohort.largest_patient) // cohort.images_per_patient
    return np.r_[np.zeros(cohort.largest_patient, np.int64), rest + (cohort.largest_patient > 0)]


def _of_confident(rng: np.random.Generator, cohort: CohortTruth, logs: np.ndarray, above: np.ndarray) -> np.ndarray:
    """(image,) ln T with what the images above the confidence threshold have of their own."""
    spread = np.where(above, cohort.confident_spread, 1.0)
    logs = cohort.location + spread * (logs - cohort.location) + cohort.confidence_shift * above
    if not cohort.confident_never:
        return logs
    return np.where(above & (rng.random(len(logs)) < cohort.confident_never), np.inf, logs)


def thresholds_of(rng: np.random.Generator, cohort: CohortTruth) -> np.ndarray:
    """ln T of each image; images of a patient share a part of what makes them easy or hard."""
    n = cohort.images
    own = cohort.shape.draw(rng, n)
    if cohort.largest_patient:
        # Images of one patient by no rank: their ln T is normal, and the large patient's own part moves most of them.
        patients = patients_of(cohort)
        common = rng.standard_normal(patients[-1] + 1)[patients]
        own = SPREAD * (np.sqrt(cohort.icc) * common + np.sqrt(1 - cohort.icc) * rng.standard_normal(n))
    elif cohort.images_per_patient > 1:
        # The patient's part is exchanged by rank, so that the distribution over images stays the shape's own.
        patients = patients_of(cohort)
        common = rng.standard_normal(patients[-1] + 1)[patients]
        score = np.sqrt(cohort.icc) * common + np.sqrt(1 - cohort.icc) * rng.standard_normal(n)
        own = np.sort(own)[np.argsort(np.argsort(score))]
    return cohort.location + own


def _fallen(
    rng: np.random.Generator, cohort: CohortTruth, logs: np.ndarray, grid: np.ndarray, patients: np.ndarray
) -> np.ndarray:
    """(epsilon, step, image) bool."""
    steps = np.arange(STEPS + 1)
    if cohort.falls is not None:
        x = np.log2(grid) - np.log2(grid).mean()
        rate = np.clip(cohort.centre + cohort.falls * x, 0.02, 0.98)
        now = rng.random((len(grid), len(logs))) < rate[:, None]
        fallen = np.repeat(now[:, None], len(steps), axis=1)
    else:
        behind = cohort.late * np.where(steps >= STEPS // 2, (STEPS - steps) / (STEPS - STEPS // 2), 1.0)
        early = np.where(steps < STEPS // 2, 1.0 * (STEPS // 2 - steps), 0.0)
        dose = np.log(grid)[:, None, None] - (behind + early)[None, :, None]
        fallen = dose > logs[None, None, :]
    fallen[:, 0] = False
    return np.asarray(fallen)


def _header(cohort: CohortTruth, size: int | None, seed: int, primary: bool) -> RunHeader:
    return RunHeader.model_construct(
        run_id=f"{cohort.name}-{size}-{seed}", cohort=cohort.name, image_type=cohort.image_type, arm="A",
        attack={"update": "projected-sign", "loss": "margin", "norm": "linf"}, class_names=("norm", "disease"),
        train_size=size, seed=seed, primary=primary, full=primary, controls=None, steps=STEPS, positive="norm",
        patients_known=True, created="", updated="", versions={},
    )  # fmt: skip


def with_control(
    rng: np.random.Generator, pack: OutcomeArrays, *, gain: float = 0.0, loss: float = 0.0, images: int = 10**9,
    any_gain: float | None = None,
) -> OutcomeArrays:  # fmt: skip
    """The network with a control to 2K iterations on its first `images`.

    Of the images × ε that stand at K (by the last iterate) a share falls by 2K, so that success rises by `gain` of all;
    of those that fell a share stands again, so that it falls by `loss`. any_gain: the same under the reading "any".
    """
    sample = np.arange(min(images, len(pack.image_ids)))
    ids = tuple(str(pack.image_ids[i]) for i in sample)
    counts, changes = {}, {}
    for i, epsilon in enumerate(pack.epsilons):
        fell, countable = pack.last[i, -1, sample], pack.attackable[i, sample]
        ever = pack.any[i, -1, sample]
        gained = countable & ~fell & (rng.random(len(sample)) < gain / max((countable & ~fell).mean(), gain, 1e-9))
        lost = fell & (rng.random(len(sample)) < loss / max(fell.mean(), loss, 1e-9))
        more = gain if any_gain is None else any_gain
        open_ = countable & ~ever
        any_gained = open_ & (rng.random(len(sample)) < more / max(open_.mean(), more, 1e-9))
        text = f"{epsilon:.12g}"
        named = {"gained": gained, "lost": lost, "any_gained": any_gained, "any_lost": gained & False}
        changes[text] = {
            key: tuple(np.flatnonzero(of).tolist()) for key, of in (named | {"left_out": ~countable}).items()
        }
        counts[text] = {
            "images": int(countable.sum()), "at_k": int(fell.sum()), "at_2k": int((fell & ~lost).sum() + gained.sum()),
            "gained": int(gained.sum()), "lost": int(lost.sum()), "any_k": int(ever.sum()),
            "any_2k": int(ever.sum() + any_gained.sum()),
        }  # fmt: skip
    control = Doubling(
        steps=2 * STEPS, step_size=pack.step_size, arm="A", by_epsilon=counts, image_ids=ids, changes=changes
    )
    controls = Controls(
        images=len(sample), epsilon_zero_changed=0, noise={}, cross_check={}, stronger="", doubling=control
    )
    return replace(pack, header=pack.header.model_copy(update={"controls": controls}))


def study(
    packs: list[OutcomeArrays], plan: AnalysisPlan | None = None, *, prespecified: bool | None = None
) -> Evidence:
    """These networks as the evidence of one store."""
    return Evidence(plan or AnalysisPlan(), tuple(packs), {}, prespecified)


Make = Callable[[np.random.Generator], Evidence]


@dataclass(frozen=True)
class Scenario:
    """A population of studies.

    effect  the truth on the scale of Conclusion.estimate: points per doubling, a ratio, or a rise
    right   verdicts that are true of it; any other but undecided is false
    null    whether it is a null: the effect is none, or lies exactly at the margin that decides
    """

    name: str
    question: int
    make: Make
    effect: float
    right: frozenset[str]
    opposite: str = ""
    null: bool = False
    k: int = 0
    tags: tuple[str, ...] = field(default=())


def cohorts_of(
    kinds: dict[str, int], rng: np.random.Generator, *, tau: float = 0.3, ratio: float = 1.0, **common: object
) -> list[CohortTruth]:
    """`kinds`: image type → cohorts; histology's location is ln `ratio` higher; τ between cohorts of a type."""
    found = []
    for kind, number in kinds.items():
        middle = MIDDLE + (np.log(ratio) / 2 if kind == "histology" else -np.log(ratio) / 2)
        for i in range(number):
            cohort = CohortTruth(f"{kind[0].upper()}{i}", kind, location=float(middle + tau * rng.standard_normal()))
            found.append(replace(cohort, **common))  # type: ignore[arg-type]
    return found


def slope_truth(shape: Shape, grid: tuple[float, ...], tau: float, location: float = MIDDLE) -> float:
    """Change of success per doubling of ε over the grid, mean over the population of cohorts."""
    rng = np.random.default_rng(0)
    logs = location + tau * rng.standard_normal(LARGE) + shape.draw(rng, LARGE)
    x = np.log2(grid)
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    return float(sum(w * (np.log(e) > logs).mean() for w, e in zip(weights, grid, strict=True)))


def rise_truth(shape: Shape, late: float, tau: float, grid: tuple[float, ...] = GRID) -> float:
    """Rise of success over the second half of the iterations, mean over ε and over the population of cohorts."""
    rng = np.random.default_rng(1)
    logs = MIDDLE + tau * rng.standard_normal(LARGE) + shape.draw(rng, LARGE)
    gained = [(np.log(e) > logs).mean() - (np.log(e) - late > logs).mean() for e in grid]
    return float(np.mean(gained))


def late_for(rise: float, shape: Shape, tau: float) -> float:
    """The shift at K/2 that makes the rise over the second half this large."""
    low, high = 0.0, 3.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if rise_truth(shape, middle, tau) < rise else (low, middle)
    return (low + high) / 2
