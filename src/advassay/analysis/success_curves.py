"""Rates with n and intervals: which images make a curve, and success over ε, iteration, confidence or training size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from advassay.analysis.intervals import Counts, counts, intervals
from advassay.analysis.outcome_arrays import (
    ONE_STEP_SIZE,
    OutcomeArrays,
    first_step_size,
    load_outcomes,
    nearest_epsilon,
    runs_of,
    step_sizes,
)
from advassay.errors import SpecError
from advassay.records.store_reader import Records
from advassay.success import Reading

if TYPE_CHECKING:
    import altair as alt

BY = ("cohort", "image_type", "class", "arm", "step_size")


@dataclass(frozen=True)
class RunSubset:
    """Images of one run that enter one curve."""

    pack: OutcomeArrays
    images: np.ndarray
    """(image,) bool."""
    key: dict[str, Any]
    """cohort, image_type, arm, step_size, train_size, seed and, with by="class", class."""


def group_columns(by: str | Sequence[str], known: Sequence[str] = BY) -> tuple[str, ...]:
    """`by` as names. Raises SpecError for an unknown or no name."""
    names = (by,) if isinstance(by, str) else tuple(by)
    if not names or not set(names) <= set(known):
        raise SpecError(f"by: one or more of {', '.join(known)}, got {by!r}.", 'For example by=("cohort", "class").')
    return names


def run_subsets(
    records: Records, by: tuple[str, ...], arm: str | None = None, step_size: str | None = None, *,
    networks: bool = False,
) -> list[list[RunSubset]]:  # fmt: skip
    """The curves to draw: each a list of parts that are pooled; `networks=True`: every network apart, else the main."""
    arms = records.arms if "arm" in by and arm is None else [arm]
    packs = [pack for name in arms for pack in _packs(records, name, step_size, "step_size" in by, networks)]
    found: dict[tuple[Any, ...], list[RunSubset]] = {}
    for part in (part for pack in packs for part in _parts(pack, "class" in by)):
        network = (part.key["train_size"], part.key["seed"]) if networks else ()
        found.setdefault((*(part.key[name] for name in by if name in part.key), *network), []).append(part)
    return list(found.values())


def _packs(
    records: Records, arm: str | None, step_size: str | None, every: bool, networks: bool
) -> list[OutcomeArrays]:
    """One pack a run, or one a run and step size."""
    runs = runs_of(records, arm, primary=not networks)
    if every and step_size is None:
        return [load_outcomes(run, name) for run in runs for name in step_sizes(run)]
    return [load_outcomes(run, step_size or first_step_size(records, run)) for run in runs]


def _parts(pack: OutcomeArrays, by_class: bool) -> Iterator[RunSubset]:
    header = pack.header
    key = {
        "cohort": header.cohort, "image_type": header.image_type, "arm": header.arm, "step_size": pack.step_size,
        "train_size": header.train_size, "seed": header.seed,
    }  # fmt: skip
    if not by_class:
        yield RunSubset(pack, np.ones(len(pack.labels), bool), key)
        return
    for label, name in enumerate(header.class_names):
        yield RunSubset(pack, pack.labels == label, key | {"class": name})


Numerator = tuple[dict[str, Any], np.ndarray, np.ndarray]
"""(coordinates of a point, events (image,), included (image,))."""

Numerators = Callable[[OutcomeArrays], list[Numerator]]


def rate_table(groups: list[list[RunSubset]], cells: Numerators, level: float, seed: int = 0) -> pl.DataFrame:
    """One row per group and coordinates: what all parts share, coordinates, rate, low, high, n, events, patients,
    method. Images of several runs are pooled where their coordinates agree.
    """
    rows = [row for group in groups for row in _rows(group, cells, level, seed)]
    return pl.DataFrame(rows, infer_schema_length=None)


def shared_key(group: list[RunSubset]) -> dict[str, Any]:
    """What all parts of a group agree on."""
    return {k: v for k, v in group[0].key.items() if all(part.key.get(k) == v for part in group)}


def _rows(group: list[RunSubset], cells: Numerators, level: float, seed: int) -> list[dict[str, Any]]:
    of_parts = [(part, cells(part.pack)) for part in group]
    places = {tuple(at.values()): at for _, found in of_parts for at, _, _ in found}
    if not places:
        return []
    points = pooled(of_parts)
    low, high, method = intervals(points, level, seed)
    shared = shared_key(group)
    numbers = {"rate": _or_none(points.rate), "low": _or_none(low), "high": _or_none(high)}
    whole = {"n": points.n, "events": points.total, "patients": points.patients}
    return [
        shared
        | at
        | {name: values[i] for name, values in numbers.items()}
        | {name: int(values[i]) for name, values in whole.items()}
        | {"method": method[i]}
        for i, at in enumerate(places.values())
    ]


def pooled(of_parts: list[tuple[RunSubset, list[Numerator]]]) -> Counts:
    """Counts (point, patient) over all parts, points as they appear; a patient of two cohorts is one patient."""
    places = list(dict.fromkeys(tuple(at.values()) for _, found in of_parts for at, _, _ in found))
    names = np.concatenate([part.pack.patient_ids for part, _ in of_parts])
    codes = np.unique(names, return_inverse=True)[1]
    number = int(codes.max(initial=-1)) + 1
    events, images = np.zeros((len(places), number)), np.zeros((len(places), number))
    row = {place: i for i, place in enumerate(places)}
    start = 0
    for part, found in of_parts:
        columns = codes[start : start + len(part.pack.patient_ids)]
        start += len(columns)
        included = np.stack([inside & part.images for _, _, inside in found])
        counted = counts(np.stack([fell for _, fell, _ in found]), included, part.pack.patients, len(columns))
        at = np.ix_(np.array([row[tuple(coordinates.values())] for coordinates, _, _ in found]), columns)
        events[at] += counted.events
        images[at] += counted.images
    return Counts(events, images)


def _or_none(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


Over = Literal["epsilon", "step", "clean_confidence", "train_size"]
OVER = ("epsilon", "step", "clean_confidence", "train_size")
DIRECTION = "direction"


@dataclass(frozen=True)
class Curve:
    """Points with intervals.

    frame columns: the names in `by` (and cohort, image_type, arm, step_size, train_size, seed where one value
    holds), the coordinates (epsilon, step, and for confidence bin, bin_low, bin_high), rate, low, high in [0, 1],
    n (images), events, patients, method (how the interval was made). rate is null where n is 0.
    """

    frame: pl.DataFrame
    quantity: str
    """attack_success_rate | robust_accuracy."""
    over: str
    by: tuple[str, ...]
    success: str
    level: float

    def __repr__(self) -> str:
        """A summary."""
        points = f"{len(self.frame)} points by {', '.join(self.by)}"
        return f"Curve({self.quantity} over {self.over}, {points}, success {self.success!r}, level {self.level:g})"

    def to_polars(self) -> pl.DataFrame:
        """`frame`: one row a point."""
        return self.frame

    def plot(self, width: int = 640) -> alt.TopLevelMixin:
        """The points with their intervals as an Altair chart, a colour for each value of `by`; `width` in CSS pixels.

        Bins of confidence stand at their lower end.
        """
        import altair as alt

        x = "bin_low" if self.over == "clean_confidence" else self.over
        named = pl.concat_str([pl.col(name) for name in self.by if name in self.frame.columns], separator=", ")
        rows = self.frame.filter(pl.col("n") > 0).with_columns(curve=named)
        base = alt.Chart(rows).encode(
            x=alt.X(x, type="quantitative", title=self.over.replace("_", " ")),
            color=alt.Color("curve", type="nominal", title=", ".join(self.by)),
            tooltip=[alt.Tooltip(name) for name in ("curve", x, "rate", "low", "high", "n", "events")],
        )
        rate = alt.Y("rate", type="quantitative", title=self.quantity.replace("_", " "), scale=alt.Scale(domain=[0, 1]))
        return alt.layer(
            base.mark_rule().encode(y=alt.Y("low", type="quantitative"), y2="high"),
            base.mark_line(point=True).encode(y=rate),
            width=width,
        )


def success_curve(
    records: Records, over: Over = "epsilon", by: str | Sequence[str] = "cohort", *, arm: str | None = None,
    epsilon: float | None = None, step: int | None = None, step_size: str | None = None, success: Reading = "last",
    from_chance: bool = False, level: float = 0.95, seed: int = 0,
) -> Curve:  # fmt: skip
    """Attack success rate = fallen / attackable (native misclassifications out of both; study protocol 4).

    over       "epsilon": at `step` (None = last) · "step": 1 … K at `epsilon` · "clean_confidence": ten bins over
               [0.5, 1.0] at `epsilon` and `step` · "train_size": every network of a cohort, one row each
    by         one or more of cohort, image_type, class (of the label), arm, step_size, direction (label → class that
               the image fell to, over the attackable images of that label: cancer → benign apart from benign → cancer)
    arm        None = the study's first (main) arm; with by="arm" every arm
    epsilon    None = the recorded one nearest to 0.02; the frame says which
    step_size  None = the run's first; "any" = fallen at any step size; with by="step_size" every one
    success    "last": at iterate k alone; "any": at an iterate ≤ k
    from_chance  with over="clean_confidence": ten bins over [1/classes, 1.0] instead

    Raises SpecError for an argument that the records do not have.
    """
    if over == "epsilon" and epsilon is not None:
        raise SpecError(
            f"epsilon: not with over='epsilon', which shows every one, got {epsilon}.",
            "Leave epsilon out, or let another quantity run: over='step'.",
        )
    if over not in OVER:
        raise SpecError(f"over: one of {', '.join(OVER)}, got {over!r}.", "Leave over out for epsilon.")
    names = group_columns(by, (*BY, DIRECTION))
    groups = run_subsets(records, names, arm, step_size, networks=over == "train_size")
    cells = _success_cells(over, epsilon, step, success, from_chance)
    cells = by_direction(cells, success) if DIRECTION in names else cells
    return Curve(rate_table(groups, cells, level, seed), "attack_success_rate", over, names, success, level)


def robust_accuracy_curve(
    records: Records, over: Literal["epsilon", "step"] = "epsilon", by: str | Sequence[str] = "cohort", *,
    arm: str | None = None, epsilon: float | None = None, step: int | None = None, step_size: str | None = None,
    success: Reading = "last", level: float = 0.95, seed: int = 0,
) -> Curve:  # fmt: skip
    """Share of all attacked images still classified correctly; arguments as `success_curve`.

    With over="step" it starts at step 0, the clean accuracy. `any`: correct at every iterate up to k.
    """
    if over not in ("epsilon", "step"):
        raise SpecError(
            f'over: "epsilon" or "step" for robust accuracy, got {over!r}.',
            "Take one of them, or the success rate (without --robust-accuracy).",
        )
    groups, cells = (
        run_subsets(records, group_columns(by), arm, step_size),
        _accuracy_cells(over, epsilon, step, success),
    )
    return Curve(rate_table(groups, cells, level, seed), "robust_accuracy", over, group_columns(by), success, level)


def _success_cells(
    over: str, epsilon: float | None, step: int | None, success: Reading, from_chance: bool
) -> Numerators:
    def cells(pack: OutcomeArrays) -> list[Numerator]:
        fallen, k = pack.fallen(success), pack.step(step)
        if over == "epsilon":
            return [
                ({"epsilon": float(e), "step": k}, fallen[i, k], pack.attackable[i])
                for i, e in enumerate(pack.epsilons)
            ]
        at = pack.at(nearest_epsilon(pack, epsilon))
        here = {"epsilon": float(pack.epsilons[at])}
        if over == "step":
            return [(here | {"step": j}, fallen[at, j], pack.attackable[at]) for j in range(1, k + 1)]
        if over == "train_size":
            return [(here | {"step": k}, fallen[at, k], pack.attackable[at])]
        return _confidence_cells(pack, at, k, success, from_chance=from_chance)

    return cells


def _accuracy_cells(over: str, epsilon: float | None, step: int | None, success: Reading) -> Numerators:
    def cells(pack: OutcomeArrays) -> list[Numerator]:
        k = pack.step(step)
        correct = pack.correct if success == "last" else np.logical_and.accumulate(pack.correct, axis=1)
        pack.fallen(success)  # refuses an unknown reading
        if over == "epsilon":
            return [
                ({"epsilon": float(e), "step": k}, correct[i, k], pack.decided[i]) for i, e in enumerate(pack.epsilons)
            ]
        at = pack.at(nearest_epsilon(pack, epsilon))
        return [
            ({"epsilon": float(pack.epsilons[at]), "step": j}, correct[at, j], pack.decided[at]) for j in range(k + 1)
        ]

    return cells


def success_by_confidence(
    records: Records, *, arm: str | None = None, step_size: str | None = None, epsilon: float | None = None,
    success: Reading = "last", level: float = 0.95,
) -> pl.DataFrame:  # fmt: skip
    """Success in ten bins of the clean confidence, a cohort's main network each, after the last iteration.

    Columns as `success_curve(over="clean_confidence")`, and suspect_images: of n, those flagged as saturated or without
    a gradient.
    """

    def cells(pack: OutcomeArrays) -> list[Numerator]:
        at = pack.at(nearest_epsilon(pack, epsilon))
        return [
            (place | {"suspect_images": int((inside & pack.suspect).sum())}, fallen, inside)
            for place, fallen, inside in _confidence_cells(pack, at, pack.step(None), success, from_chance=False)
        ]

    return rate_table(run_subsets(records, ("cohort",), arm, step_size), cells, level)


def _confidence_cells(
    pack: OutcomeArrays, at: int, step: int, success: Reading, *, from_chance: bool
) -> list[Numerator]:
    """One cell a bin of the clean confidence, at one ε and iterate."""
    classes, here = len(pack.header.class_names), {"epsilon": float(pack.epsilons[at]), "step": step}
    inside = bin_members(pack.clean_confidence, classes, from_chance) & pack.attackable[at]
    named = zip(bin_labels(classes, from_chance), bin_edges(classes, from_chance), inside, strict=True)
    return [
        (here | {"bin": name, "bin_low": low, "bin_high": high}, pack.fallen(success)[at, step], members)
        for name, (low, high), members in named
    ]


BELOW = "below 0.5"
"""Name of the bin of images that no class has half of, where there are more than two."""


def bin_labels(classes: int, from_chance: bool = False) -> list[str]:
    """Names of the bins of the clean confidence, rising: ten equal ones over [0.5, 1.0], or from chance, 1/classes, on.

    The last one is closed. Over [0.5, 1] with more than two classes the first one is `below 0.5`.

    >>> bin_labels(2)[-1], bin_labels(4)[0], bin_labels(4, from_chance=True)[0]
    ('[0.95, 1.00]', 'below 0.5', '[0.25, 0.33)')
    """
    edges = _bin_ends(classes, from_chance)
    names = [f"[{a:.2f}, {b:.2f})" for a, b in pairwise(edges)]
    names[-1] = names[-1][:-1] + "]"
    return names if classes == 2 or from_chance else [BELOW, *names]


def bin_edges(classes: int, from_chance: bool = False) -> list[tuple[float, float]]:
    """(low, high) of each bin of `bin_labels`."""
    pairs = [(float(round(a, 12)), float(round(b, 12))) for a, b in pairwise(_bin_ends(classes, from_chance))]
    return pairs if classes == 2 or from_chance else [(0.0, 0.5), *pairs]


def _bin_ends(classes: int, from_chance: bool) -> np.ndarray:
    return np.linspace(1 / classes if from_chance else 0.5, 1.0, 11)


def bin_members(confidence: np.ndarray, classes: int, from_chance: bool = False) -> np.ndarray:
    """(bin, image) bool; confidence float64 (softmax in float64). Rounding at 1e-12 keeps 0.65 in [0.65, 0.70).

    >>> [int(column.argmax()) for column in bin_members(np.array([0.5, 0.55, 0.949999, 0.95, 1.0]), 2).T]
    [0, 1, 8, 9, 9]
    """
    value = np.round(confidence, 12)
    pairs = bin_edges(classes, from_chance)
    return np.stack([(value >= a) & ((value < b) | (b == 1.0) & (value <= 1.0)) for a, b in pairs])


def by_direction(cells: Numerators, success: Reading) -> Numerators:
    """Cells of success split by (label → class fallen to); `any`: the class at the first fall."""

    def split(pack: OutcomeArrays) -> list[Numerator]:
        if pack.step_size == "any":
            raise SpecError('by="direction": needs one recorded step size, got step_size="any".', ONE_STEP_SIZE)
        return [part for cell in cells(pack) for part in _directions(pack, cell, success)]

    return split


def _directions(pack: OutcomeArrays, cell: Numerator, success: Reading) -> list[Numerator]:
    place, fallen, inside = cell
    at, k = pack.at(place["epsilon"]), place["step"]
    where = np.full(len(fallen), k) if success == "last" else pack.any[at].argmax(0)
    reached = np.take_along_axis(pack.decision[at], where[None], axis=0)[0]
    names = enumerate(pack.header.class_names)
    pairs = [(i, a, j, b) for i, a in names for j, b in enumerate(pack.header.class_names) if i != j]
    return [
        (place | {"class": a, "direction": f"{a} → {b}"}, fallen & (reached == j), inside & (pack.labels == i))
        for i, a, j, b in pairs
    ]
