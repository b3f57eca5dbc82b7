"""Training, tuning and validation: who is on which side. Patients stay whole unless `split: image` asks otherwise.

Whether a split with every class on every side exists depends on which patients have images of which classes, not on the
seed. Where the first draw of patients gives none, others are searched: with few patients all assignments are compared,
with more the best of several draws is improved patient by patient.
"""

from __future__ import annotations

from functools import cached_property
from itertools import combinations, product

import numpy as np
import polars as pl

from advassay.cohorts.selection_counts import SelectionCounts
from advassay.errors import CohortError
from advassay.identity import draw_each
from advassay.sources.kinds.npz import SPLITS
from advassay.spec.cohort_spec import CohortSpec

# ---- who is on which side --------------------------------------------------------------------------------------------

ROLES = ("training", "tuning", "validation")

DECLARED = {role: role for role in ROLES} | SPLITS
DECLARED |= {"valid": SPLITS["val"], "dev": SPLITS["val"], "testing": SPLITS["test"]}
"""Values of a declared `split` column and what they mean (MedMNIST's: val selects the model, test scores it)."""

REDRAWS = 16
"""Draws that are improved where there are too many patients to compare all splits."""


def assign_roles(images: pl.DataFrame, spec: CohortSpec, seed: int, flow: SelectionCounts) -> pl.DataFrame:
    """Add `role` (training | tuning | validation). `images`: image_id, label, patient_id; `split` where declared.

    The order in which patients are dealt is keyed by (seed, smallest image_id of the patient): neither row order
    nor the pseudonym key enters it. Where that draw leaves a class without images on a side, other splits are searched.
    Raises CohortError where a class has no image on a side in any split that was found.
    """
    if spec.split == "none":
        return images.with_columns(pl.lit("validation").alias("role"))
    if spec.split == "tuning":
        return _without_training(images, spec, seed)
    if spec.split == "declared":
        images = _declared(images, flow)
        if not (images["role"] == "tuning").any():
            images = _dealt(images, spec, "patient_id", seed, {"tuning": spec.tuning_fraction})
    else:
        unit = "patient_id" if spec.split == "patient" else "image_id"
        images = images.with_columns(pl.lit("training").alias("role"))
        shares = {"validation": spec.validation_fraction, "tuning": spec.tuning_fraction}
        images = _dealt(images, spec, unit, seed, shares)
    _check_sides(images, spec, flow)
    _warn_of_shared_patients(images, flow)
    return images


def _without_training(images: pl.DataFrame, spec: CohortSpec, seed: int) -> pl.DataFrame:
    """Tuning images as `tuning_fraction` says, whole patients; every other image is a validation image."""
    dealt = _deal_each(
        images.with_columns(pl.lit("training").alias("role")), "patient_id", seed, {"tuning": spec.tuning_fraction}
    )
    return dealt.with_columns(pl.col("role").replace({"training": "validation"}))


def _dealt(images: pl.DataFrame, spec: CohortSpec, unit: str, seed: int, shares: dict[str, float]) -> pl.DataFrame:
    """Move shares of the training images into the roles of `shares`, one after another; whole units only.

    The first draw counts where every class is on every side. Otherwise the best split that is found does.
    """
    drawn = _deal_each(images, unit, seed, shares)
    if _lacking(drawn, spec, shares) == (0, 0) or not _can_be_split(images, unit):
        return drawn
    found = _searched(images, unit, seed, shares)
    return found if _lacking(found, spec, shares) < _lacking(drawn, spec, shares) else drawn


def _deal_each(images: pl.DataFrame, unit: str, seed: int, shares: dict[str, float], redraw: int = 0) -> pl.DataFrame:
    for role, share in shares.items():
        images = _deal(images, role, share, unit, seed, redraw)
    return images


def _lacking(images: pl.DataFrame, spec: CohortSpec, shares: dict[str, float]) -> tuple[int, int]:
    """Classes without images in training and validation, and in the tuning part."""
    sides = {role: set(images.filter(pl.col("role") == role)["class_name"]) for role in ROLES}
    lacking = {role: sum(name not in sides[role] for name in spec.classes) for role in ROLES}
    return lacking["training"] + lacking["validation"], lacking["tuning"] if shares.get("tuning") else 0


def _can_be_split(images: pl.DataFrame, unit: str) -> bool:
    """Whether each class has units for two sides; where one has not, no search would help."""
    return bool((images.group_by("label").agg(pl.col(unit).n_unique())[unit] >= 2).all())


def _searched(images: pl.DataFrame, unit: str, seed: int, shares: dict[str, float]) -> pl.DataFrame:
    """The best split of the training images among those that were looked at."""
    units, counts = _units(images.filter(pl.col("role") == "training"), unit, seed)
    roles = ["training", *shares]
    goal = SplitGoal(counts, _whole_shares(shares), np.array([role != "tuning" for role in roles]))
    if goal.exhausts():
        chosen = goal.best()
    else:
        starts = (
            _sides(_deal_each(images, unit, seed, shares, redraw), units, unit, roles) for redraw in range(REDRAWS)
        )
        chosen = min((goal.improved(start) for start in starts), key=goal.score)
    names = units.select(unit, pl.Series("_side", [roles[side] for side in chosen], dtype=pl.String))
    joined = images.join(names, on=unit, how="left", maintain_order="left")
    training = pl.col("role") == "training"
    return joined.with_columns(pl.when(training).then("_side").otherwise("role").alias("role")).drop("_side")


def _whole_shares(shares: dict[str, float]) -> np.ndarray:
    """Share of training first, then of each role, of all the images: each is taken of what the ones before left."""
    left, of_role = 1.0, []
    for share in shares.values():
        of_role.append(left * share)
        left -= of_role[-1]
    return np.array([left, *of_role])


def _sides(images: pl.DataFrame, units: pl.DataFrame, unit: str, roles: list[str]) -> np.ndarray:
    """Index of each unit's role in `roles`, in the order of `units`."""
    found = dict(images.filter(pl.col("role").is_in(roles)).select(unit, "role").unique().iter_rows())
    return np.array([roles.index(found[name]) for name in units[unit]])


def take(counts: np.ndarray, share: float) -> np.ndarray:
    """Which units, dealt in the given order, make up `share` of every class: bool (unit,).

    `counts`: (unit, class) numbers per unit. A unit is taken where that brings the classes closer to their
    targets (least squares relative to each target). A class of two or more units gets at least one taken, and a class
    of a single unit none: it is needed on the other side.

    >>> take(np.array([[1, 0], [0, 1]] * 5), 0.2).tolist()
    [True, True, False, False, False, False, False, False, False, False]
    """
    taken = np.zeros(len(counts), dtype=bool)
    if share <= 0 or not len(counts):
        return taken
    divisible = (counts > 0).sum(axis=0) >= 2
    target = np.where(divisible, np.maximum(share * counts.sum(axis=0), 1.0), 0.0)
    start = int((np.cumsum(counts, axis=0) <= target).all(axis=1).argmin())
    taken[:start] = counts[:start].any(axis=1)  # so far everyone leads to the targets
    have = counts[:start].sum(axis=0, dtype=float)
    of_lacking = (counts[start:] > 0)[:, have < target].any(axis=1)  # whoever else only leads away from them
    for unit in np.flatnonzero(of_lacking) + start:
        if _distance(have + counts[unit], target) < _distance(have, target):
            taken[unit] = True
            have += counts[unit]
            if (have >= target).all():
                break
    while (lacking := np.flatnonzero(divisible & (have == 0))).size:
        candidates = np.flatnonzero(counts[:, lacking[0]] > 0)
        best = min(candidates, key=lambda unit: _distance(have + counts[unit], target))
        taken[best] = True
        have += counts[best]
    return taken


def _distance(have: np.ndarray, target: np.ndarray) -> float:
    return float((((have - target) / np.maximum(target, 1.0)) ** 2).sum())


def _deal(images: pl.DataFrame, role: str, share: float, unit: str, seed: int, redraw: int = 0) -> pl.DataFrame:
    """Move `share` of the training units (patients) into `role`: of each class's images and of its units alike."""
    training = images.filter(pl.col("role") == "training")
    units, counts = _units(training, unit, seed, redraw)
    chosen = units.filter(pl.Series(take(np.hstack([counts, counts > 0]), share)))
    moved = pl.col(unit).is_in(chosen[unit].implode()) & (pl.col("role") == "training")
    return images.with_columns(pl.when(moved).then(pl.lit(role)).otherwise(pl.col("role")).alias("role"))


def _units(images: pl.DataFrame, unit: str, seed: int, redraw: int = 0) -> tuple[pl.DataFrame, np.ndarray]:
    """The units (patients) in the order of the draw, and (unit, class) numbers of images."""
    labels = sorted(images["label"].unique())
    per_class = [(pl.col("label") == label).sum().alias(str(label)) for label in labels]
    units = images.group_by(unit).agg(pl.col("image_id").min().alias("_first"), *per_class)
    purpose = ("split",) if redraw == 0 else ("split", redraw)
    keys = draw_each(seed, *purpose, ids=units["_first"])
    units = units.with_columns(pl.Series("_key", keys, dtype=pl.UInt64)).sort("_key", "_first")
    return units, units.select(str(label) for label in labels).to_numpy().astype(float)


def _declared(images: pl.DataFrame, flow: SelectionCounts) -> pl.DataFrame:
    if "split" not in images.columns:
        raise CohortError("split: declared needs a column `split` in the source.", "Use split: patient, or add it.")
    stated = images["split"].cast(pl.String).str.to_lowercase()
    if "validation" in (there := set(stated.drop_nulls())) and (test := {"test", "testing"} & there):
        raise CohortError(
            f"split: declared column `split` holds both 'validation' and {test.pop()!r}: which of them scores is not "
            "clear.",
            "Name its values training | tuning | validation.",
        )
    images = images.with_columns(stated.replace_strict(DECLARED, default=None, return_dtype=pl.String).alias("role"))
    reasons = images.select(pl.when(pl.col("role").is_null()).then(pl.lit("no known value in column split")))
    return flow.keep("declared split", images, reasons.to_series())


def _check_sides(images: pl.DataFrame, spec: CohortSpec, flow: SelectionCounts) -> None:
    for role in ("training", "validation"):
        counts = images.filter(pl.col("role") == role)["class_name"].value_counts()
        have = dict(counts.iter_rows())
        if empty := [name for name in spec.classes if not have.get(name)]:
            raise CohortError(
                f"split: every class needs images on both sides; {role} has none of {empty} "
                f"(has {have or 'none'}; {flow.in_words()}).",
                _advice(images, spec, empty),
            )
    tuned = set(images.filter(pl.col("role") == "tuning")["class_name"])
    if tuned and (empty := [name for name in spec.classes if name not in tuned]):
        flow.warnings.append(
            f"The tuning part has no image of {', '.join(empty)}: too few training "
            f"{'patients' if _knows_patients(images) else 'images'}. "
            "tuning_fraction: 0 does without that part; the last checkpoint is then taken."
        )


def _advice(images: pl.DataFrame, spec: CohortSpec, empty: list[str]) -> str:
    """What would help a cohort in which the classes `empty` are on one side only."""
    if spec.split == "declared":
        return "Correct the source's column `split`, or use split: patient."
    unit = "patients" if spec.split == "patient" and _knows_patients(images) else "images"
    column = "image_id" if spec.split == "image" else "patient_id"
    numbers = {name: images.filter(pl.col("class_name") == name)[column].n_unique() for name in spec.classes}
    named = ", ".join(f"{name} {number}" for name, number in numbers.items())
    if single := [name for name in empty if numbers[name] < 2]:
        lacking = f"{' and '.join(single)} {'has' if len(single) == 1 else 'have'} fewer than 2 {unit} ({named})."
    else:
        lacking = f"No split of the {images[column].n_unique()} {unit} was found that has every class ({named})."
    by_image = " With split: image a patient may be on both sides, and a warning says so." if unit == "patients" else ""
    return (
        f"{lacking} Loosen the rules so that more {unit} enter, leave the class out, or join it with another.{by_image}"
    )


def _knows_patients(images: pl.DataFrame) -> bool:
    return "has_patient" not in images.columns or bool(images["has_patient"].any())


def _warn_of_shared_patients(images: pl.DataFrame, flow: SelectionCounts) -> None:
    patients = {role: set(images.filter(pl.col("role") == role)["patient_id"]) for role in ROLES}
    scored = "scores and success rates are optimistic or biased by recognised patients."
    chosen = "the checkpoint is chosen on recognised patients."
    for one, other, effect in (
        ("training", "validation", scored),
        ("tuning", "validation", scored),
        ("training", "tuning", chosen),
    ):
        if shared := len(patients[one] & patients[other]):
            flow.warnings.append(f"{shared} patients have images in {one} and in {other}: {effect}")


# ---- a split that puts every class on every side, searched for where the first draw gives none -----------------------

MOST_COMPARED = 20_000
"""Assignments that are all compared: 9 patients on three sides, 14 on two."""
_CRITICAL = 40
"""Patients of the rarest classes whose sides are also changed two at a time."""
_MOST_STEPS = 200

Score = tuple[int, int, float]
"""Classes without images on a side that needs them, classes missing on the tuning side, distance from the shares."""


class SplitGoal:
    """What a split should be like, and how far an assignment of patients to sides is from it.

    counts: (patient, class) images. shares: of each side, adding up to 1. required: sides that cannot do without a
    class; the others merely should have each.
    """

    def __init__(self, counts: np.ndarray, shares: np.ndarray, required: np.ndarray) -> None:
        self.counts = counts
        self.sides = len(shares)
        self._required = required
        self._desired = ~required & (shares > 0)
        parts = np.hstack([counts, counts > 0]).astype(float)  # images and patients count alike
        self._parts = parts
        self._target = shares[:, None] * parts.sum(axis=0)

    def scores(self, sides: np.ndarray) -> np.ndarray:
        """(assignment, 3): the score of each row of `sides`, (assignment, patient) of indices of sides."""
        have = np.stack([(sides == side).astype(float) @ self._parts for side in range(self.sides)], axis=1)
        return self._scores_of(have)

    def _scores_of(self, have: np.ndarray) -> np.ndarray:
        """`have`: (assignment, side, class twice)."""
        classes = self.counts.shape[1]
        present = self.counts.sum(axis=0) > 0
        lacking = (have[:, :, :classes] == 0) & present
        distance = (((have - self._target) / np.maximum(self._target, 1.0)) ** 2).sum(axis=(1, 2))
        return np.stack(
            [lacking[:, self._required].sum(axis=(1, 2)), lacking[:, self._desired].sum(axis=(1, 2)), distance], axis=1
        )

    def score(self, sides: np.ndarray) -> Score:
        """The score of one assignment, (patient,)."""
        required, desired, distance = self.scores(sides[None])[0]
        return int(required), int(desired), float(distance)

    def exhausts(self) -> bool:
        """Whether all assignments are few enough to be compared."""
        return self.sides ** len(self.counts) <= MOST_COMPARED

    def best(self) -> np.ndarray:
        """The assignment of the lowest score; of equals the first in the order of the patients."""
        every = np.array(list(product(range(self.sides), repeat=len(self.counts))))
        return every[_lowest(self.scores(every))]

    def improved(self, sides: np.ndarray) -> np.ndarray:
        """`sides` after moves of one patient, and of two of the rarest classes, for as long as they lower the score."""
        best, score = sides.copy(), self.score(sides)
        for _ in range(_MOST_STEPS):
            if score[:2] == (0, 0):
                break
            for moves in (self._single_moves, self._double_moves):
                scores = self._scores_of(self._have_after(best, moves))
                place = _lowest(scores)
                if tuple(scores[place]) < score:
                    best[moves[place, :, 0]] = moves[place, :, 1]
                    score = self.score(best)
                    break
            else:
                break
        return best

    def _have_after(self, sides: np.ndarray, moves: np.ndarray) -> np.ndarray:
        """(move, side, class twice): what each side has after each of `moves`, (move, patient moved, 2)."""
        have = np.stack([self._parts[sides == side].sum(axis=0) for side in range(self.sides)])
        after = np.repeat(have[None], len(moves), axis=0)
        number = np.arange(len(moves))
        for place in range(moves.shape[1]):
            patients, to = moves[:, place, 0], moves[:, place, 1]
            after[number, sides[patients]] -= self._parts[patients]
            after[number, to] += self._parts[patients]
        return after

    @cached_property
    def _critical(self) -> list[int]:
        """Patients of the rarest classes, the rarest first."""
        patients = (self.counts > 0).sum(axis=0)
        rarest = np.where(self.counts > 0, patients, len(self.counts) + 1).min(axis=1)
        return np.argsort(rarest, kind="stable")[:_CRITICAL].tolist()

    @cached_property
    def _single_moves(self) -> np.ndarray:
        return np.array([[move] for move in product(self._critical, range(self.sides))])

    @cached_property
    def _double_moves(self) -> np.ndarray:
        singles = list(product(self._critical, range(self.sides)))
        return np.array([[one, other] for one, other in combinations(singles, 2) if one[0] != other[0]])


def _lowest(scores: np.ndarray) -> int:
    return int(np.lexsort(scores.T[::-1])[0])
