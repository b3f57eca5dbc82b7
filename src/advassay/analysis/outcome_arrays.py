"""Which runs a number is about, and each as arrays over ε × step × image, which every number counts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from weakref import WeakKeyDictionary

import numpy as np

from advassay import success as _success
from advassay.errors import SpecError
from advassay.identity import canonical_float
from advassay.records.row_shards import FLAG
from advassay.records.run_header import RunHeader
from advassay.records.run_reader import Run
from advassay.records.store_reader import Records

_CACHE: WeakKeyDictionary[Run, dict[str, OutcomeArrays]] = WeakKeyDictionary()


NEXT = "Take a recorded one, or add it to the study and run that again: only what is missing is attacked."
"""What to do where something that was not attacked is asked for."""
ONE_STEP_SIZE = "Name one of the recorded step sizes, or leave step_size out for the first."
GRADIENT_GONE = ("saturated", "zero_gradient")
"""Flags of images whose gradient vanished."""


@dataclass(frozen=True)
class OutcomeArrays:
    """Verdicts of one run at one step size (restart 0).

    epsilons          (epsilon,) float64, rising; the ε = 0 control is not among them
    image_ids         (image,) object
    labels            (image,) int64
    patients          (image,) int32: code of the image's patient, an index into patient_ids
    patient_ids       (patient,) object: pseudonyms
    present           (epsilon, image) bool: recorded at this ε
    decided           (epsilon, image) bool: recorded at this ε, and no iterate's logits are NaN
    attackable        (epsilon, image) bool: counts in success: decided, and first classified correctly
    last, any         (epsilon, step, image) bool: fallen at this iterate; at this or an earlier one
    decision          (epsilon, step, image) int8 (int16 beyond 127 classes): predicted class, −1 = NaN or not recorded
    correct           (epsilon, step, image) bool: classified correctly (for robust accuracy; natively wrong ones too)
    clean_logits      (image, class) float32
    final_logits      (epsilon, image, class) float32: at the last iterate
    clean_confidence  (image,) float64
    contrast          (image,) float64, NaN where not recorded
    flags             name → (epsilon, image) bool
    """

    header: RunHeader
    step_size: str
    epsilons: np.ndarray
    image_ids: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    patient_ids: np.ndarray
    present: np.ndarray
    decided: np.ndarray
    attackable: np.ndarray
    last: np.ndarray
    any: np.ndarray
    decision: np.ndarray
    correct: np.ndarray
    clean_logits: np.ndarray
    final_logits: np.ndarray
    clean_confidence: np.ndarray
    contrast: np.ndarray
    flags: dict[str, np.ndarray]

    @property
    def suspect(self) -> np.ndarray:
        """(image,) bool: at some ε the gradient vanished or the loss was saturated."""
        marks = [self.flags[name].any(axis=0) for name in GRADIENT_GONE if name in self.flags]
        return np.logical_or.reduce(marks) if marks else np.zeros(len(self.labels), bool)

    @property
    def steps(self) -> int:
        """K, the last iterate."""
        return self.last.shape[1] - 1

    def fallen(self, success: _success.Reading) -> np.ndarray:
        """(epsilon, step, image) bool of the named reading."""
        if success not in ("last", "any"):
            raise SpecError(f'success: "last" or "any", got {success!r}.', "See docs/explanation/statistics.md.")
        return self.last if success == "last" else self.any

    def at(self, epsilon: float) -> int:
        """Index of a recorded ε. Raises SpecError where it was not attacked."""
        known = isfinite(epsilon)
        found = np.flatnonzero(self.epsilons == canonical_float(epsilon)) if known else np.empty(0, np.intp)
        if not found.size:
            grid = ", ".join(f"{e:g}" for e in self.epsilons)
            raise SpecError(
                f"epsilon: one of {grid} ({self.header.cohort}, arm {self.header.arm}), got {epsilon:g}.", NEXT
            )
        return int(found[0])

    def step(self, step: int | None) -> int:
        """A valid iterate; None = the last. Raises SpecError outside 0 … K."""
        if step is not None and not (0 <= step <= self.steps and step == int(step)):
            raise SpecError(
                f"step: 0 to {self.steps} ({self.header.cohort}, arm {self.header.arm}), got {step}.",
                "Leave step out for the last iteration; more are attacked with more steps in the study.",
            )
        return self.steps if step is None else int(step)


def step_sizes(run: Run) -> tuple[str, ...]:
    """Names of the step sizes recorded at some ε > 0."""
    return tuple(dict.fromkeys(name for name, epsilon in run.index.points() if epsilon > 0))


def load_outcomes(run: Run, step_size: str | None = None) -> OutcomeArrays:
    """The run's verdicts at one step size (None = the first recorded one); kept while the run is. Callers that follow
    the study name the one that its arm declares first.

    `step_size="any"` is the union over step sizes: fallen at any of them. Raises SpecError for an unrecorded one.
    """
    known = step_sizes(run)
    name = known[0] if step_size is None and known else step_size
    if name not in (*known, "any") or name is None:
        raise SpecError(
            f'step_size: one of {", ".join(known)} or "any" ({run.header.cohort}), got {step_size!r}.', NEXT
        )
    cache = _CACHE.setdefault(run, {})
    if name not in cache:
        cache.update(_pack(run))
    if name == "any" and "any" not in cache:
        cache["any"] = _union([cache[k] for k in known])
    return cache[name]


def _pack(run: Run) -> dict[str, OutcomeArrays]:
    logits, target = run.column("logits"), run.column("target")
    flags = {name: run.column(FLAG + name) for name in run.index.flags}
    points = run.index.points()
    by_step_size: dict[str, list[tuple[float, slice]]] = {}
    for (name, epsilon), rows in points.items():
        if epsilon > 0:
            by_step_size.setdefault(name, []).append((epsilon, rows))
    return {name: _outcomes_at(run, name, found, logits, target, flags) for name, found in by_step_size.items()}


def _outcomes_at(
    run: Run, name: str, points: list[tuple[float, slice]], logits: np.ndarray, target: np.ndarray,
    flags: dict[str, np.ndarray],
) -> OutcomeArrays:  # fmt: skip
    images = np.unique(np.concatenate([run.index.image[rows] for _, rows in points]))
    frame = run.images[images.tolist()]
    labels = frame["label"].to_numpy()
    e, n, steps, classes = len(points), len(images), run.header.steps + 1, logits.shape[2]
    present, decided, attackable = (np.zeros((e, n), bool) for _ in range(3))
    verdicts = {key: np.zeros((e, steps, n), bool) for key in ("last", "any", "correct")}
    decision = np.full((e, steps, n), -1, np.int8 if classes <= 127 else np.int16)
    clean, final = np.full((n, classes), np.nan, np.float32), np.full((e, n, classes), np.nan, np.float32)
    flagged = {key: np.zeros((e, n), bool) for key in flags}
    for k, (_, rows) in enumerate(points):
        at = np.searchsorted(images, run.index.image[rows])
        block = np.swapaxes(logits[rows], 0, 1)
        aim = None if (target[rows] < 0).all() else target[rows]
        present[k, at] = True
        # Whole paths: so that a curve over iterates has one number of images.
        decided[k, at] = ~_success.undecided(block, "any")[-1]
        attackable[k, at] = _success.correct_on_clean(block, labels[at], aim) & decided[k, at]
        verdicts["last"][k][:, at] = _success.has_succeeded(block, labels[at], "last", aim)
        verdicts["any"][k][:, at] = _success.has_succeeded(block, labels[at], "any", aim)
        classes_seen = _success.predicted(block)
        decision[k][:, at], verdicts["correct"][k][:, at] = classes_seen, classes_seen == labels[at]
        clean[at], final[k, at] = block[0], block[-1]
        for key, values in flags.items():
            flagged[key][k, at] = values[rows]
    patient_ids, patients = np.unique(frame["patient_id"].to_numpy(), return_inverse=True)
    contrast = frame["clean_contrast"].cast(float).fill_null(float("nan")).to_numpy()
    return OutcomeArrays(
        header=run.header,
        step_size=name,
        epsilons=np.array([epsilon for epsilon, _ in points]),
        image_ids=np.array(frame["image_id"].to_list(), dtype=object),
        labels=labels,
        patients=patients.astype(np.int32),
        patient_ids=patient_ids,
        present=present,
        decided=decided,
        attackable=attackable,
        **verdicts,
        decision=decision,
        clean_logits=clean,
        final_logits=final,
        clean_confidence=_success.confidence(clean),
        contrast=contrast,
        flags=flagged,
    )


def _union(packs: list[OutcomeArrays]) -> OutcomeArrays:
    """Fallen at any step size, where every step size recorded the same images and ε; else SpecError.

    It has no decision of its own (−1).
    """
    first = packs[0]
    for pack in packs[1:]:
        same = pack.present.shape == first.present.shape and (pack.epsilons == first.epsilons).all()
        if not same or (pack.present != first.present).any() or (pack.image_ids != first.image_ids).any():
            raise SpecError(
                f"step_size any: all step sizes need the same images and ε ({first.header.cohort}).",
                "Run the study to its end, or name one step size.",
            )
    joined = {key: np.logical_or.reduce([getattr(p, key) for p in packs]) for key in ("last", "any")}
    for key in ("correct", "decided", "attackable"):
        joined[key] = np.logical_and.reduce([getattr(p, key) for p in packs])
    return replace(first, step_size="any", **joined, decision=np.full_like(first.decision, -1))


USUAL_EPSILON = 0.02
"""The amplitude the reference study names; `epsilon=None` takes the recorded one nearest to it."""


def runs_of(records: Records, arm: str | None = None, primary: bool = True) -> list[Run]:
    """Runs of one arm (None = the main one) with rows, cohorts in the study's order.

    `primary=True`: the cohort's main network; False: every network (a size series). Raises SpecError for an unknown
    arm, StoreError where nothing is recorded.
    """
    name = records.main_arm if arm is None else arm
    if name not in records.arms:
        raise SpecError(f"arm: one of {', '.join(records.arms)}, got {arm!r}.", NEXT)
    order = {cohort: place for place, cohort in enumerate(records.cohorts)}
    found = [run for run in records.runs if run.header.arm == name and (run.header.primary or not primary)]
    return sorted((run for run in found if step_sizes(run)), key=lambda run: order[run.header.cohort])


def packs_of(
    records: Records, arm: str | None = None, step_size: str | None = None, primary: bool = True
) -> list[OutcomeArrays]:
    """`runs_of` as arrays, one for each run: at `step_size`, or at the first its arm declares where None."""
    return [load_outcomes(run, step_size or first_step_size(records, run)) for run in runs_of(records, arm, primary)]


def first_step_size(records: Records, run: Run) -> str:
    """The step size of the run that its arm declares first; by name where the store has no study.yaml."""
    known = step_sizes(run)
    return next((name for name in records.step_sizes(run.header.arm) if name in known), known[0])


def nearest_epsilon(pack: OutcomeArrays, epsilon: float | None) -> float:
    """`epsilon` checked to be recorded, or the recorded one nearest to 0.02 where None."""
    return closest_epsilon(pack, None) if epsilon is None else float(pack.epsilons[pack.at(epsilon)])


def closest_epsilon(pack: OutcomeArrays, epsilon: float | None) -> float:
    """The recorded ε nearest to `epsilon` (None = 0.02): arms have grids of their own, a conclusion is about all."""
    wanted = USUAL_EPSILON if epsilon is None else epsilon
    return float(pack.epsilons[np.argmin(np.abs(pack.epsilons - wanted))])
