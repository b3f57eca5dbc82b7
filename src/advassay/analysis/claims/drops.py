"""One cohort under one arm: success above the clean confidence of 0.95 against at or below it, suspects apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from advassay.analysis.breakpoint import breakpoint
from advassay.analysis.claims.statement import finite
from advassay.analysis.claims.visible import Bound, bound
from advassay.analysis.differences import Difference, group_difference
from advassay.analysis.intervals import counts
from advassay.analysis.packed import Packed

THRESHOLD = 0.95
FEWEST = 5
"""Images on each side below which a cohort says nothing."""
SUSPECT = ("saturated", "zero_gradient", "nan_gradient")


@dataclass(frozen=True)
class Drop:
    """One cohort under one arm at one ε: success above the threshold against at or below it."""

    pack: Packed
    epsilon: float
    above: tuple[np.ndarray, np.ndarray]
    """(fallen, inside), both (image,) bool."""
    below: tuple[np.ndarray, np.ndarray]

    @property
    def enough(self) -> bool:
        """At least 5 images on each side."""
        return min(int(self.above[1].sum()), int(self.below[1].sum())) >= FEWEST

    @property
    def at(self) -> Bound | None:
        """The end of the scale at which both sides stand: nothing could be seen there."""
        rates = [_rate(*side) for side in (self.above, self.below)]
        return bound([rate for rate in rates if rate is not None])

    @property
    def votes(self) -> bool:
        return self.enough and self.at is None

    @property
    def suspect(self) -> np.ndarray:
        """(image,) bool: flagged as saturated or without a gradient, so that standing may be the attack's failure."""
        at, flags = self.pack.at(self.epsilon), self.pack.flags
        found = [flags[name][at] for name in SUSPECT if name in flags]
        return np.logical_or.reduce(found) if found else np.zeros(len(self.pack.labels), bool)

    def difference(self, level: float) -> Difference | None:
        """Above minus below; None with too few images on a side."""
        return _difference(self.pack, self.above, self.below, level) if self.enough else None

    def unsuspected(self, level: float) -> tuple[Difference | None, int]:
        """(the difference without suspect images, how many of them there are); None with too few left on a side."""
        kept = ~self.suspect
        above, below = ((fallen, inside & kept) for fallen, inside in (self.above, self.below))
        left = int(((self.above[1] | self.below[1]) & ~kept).sum())
        enough = min(int(above[1].sum()), int(below[1].sum())) >= FEWEST
        return (_difference(self.pack, above, below, level) if enough else None), left


Side = tuple[np.ndarray, np.ndarray]


def _difference(pack: Packed, above: Side, below: Side, level: float) -> Difference:
    first, second = (counts(fallen[None], inside[None], pack.patients) for fallen, inside in (above, below))
    return group_difference(first, second, level)


def drop_of(pack: Packed, epsilon: float) -> Drop:
    """Success at the last iterate on either side of the threshold."""
    at, high = pack.at(epsilon), pack.clean_confidence > THRESHOLD
    above, below = ((pack.last[at, -1], pack.attackable[at] & side) for side in (high, ~high))
    return Drop(pack, epsilon, above, below)


def row_of(drop: Drop, level: float) -> dict[str, Any]:
    """The drop as a row of the conclusion's details."""
    header, found, at = drop.pack.header, drop.difference(level), drop.pack.at(drop.epsilon)
    row = {
        "cohort": header.cohort, "arm": header.arm, "loss": header.attack.get("loss"),
        "update": header.attack.get("update"), "epsilon": drop.epsilon,
        "rate_above": _rate(*drop.above), "n_above": int(drop.above[1].sum()),
        "rate_below": _rate(*drop.below), "n_below": int(drop.below[1].sum()),
        "difference": finite(found.estimate) if found else None, "low": finite(found.low) if found else None,
        "high": finite(found.high) if found else None, "bound": drop.at, "votes": drop.votes,
    }  # fmt: skip
    flags = drop.pack.flags
    row |= _without_suspects(drop, level) | _break(drop, level)
    return row | {f"{name}_above": _rate(flags[name][at], drop.above[1]) for name in SUSPECT if name in flags}


def _without_suspects(drop: Drop, level: float) -> dict[str, Any]:
    """The difference that saturated images cannot have made."""
    found, suspects = drop.unsuspected(level)
    return {
        "suspect_images": suspects, "difference_without_suspects": finite(found.estimate) if found else None,
        "low_without_suspects": finite(found.low) if found else None,
        "high_without_suspects": finite(found.high) if found else None,
    }  # fmt: skip


def _break(drop: Drop, level: float) -> dict[str, Any]:
    """Where success breaks over the clean confidence."""
    pack, kept = drop.pack, drop.above[1] | drop.below[1]
    fallen, classes = drop.above[0][kept], len(pack.header.class_names)
    found = breakpoint(pack.clean_confidence[kept], fallen, pack.patients[kept], classes, level)
    names = ("at", "low", "high", "below", "above")
    keys = ("breakpoint", "breakpoint_low", "breakpoint_high", "rate_below_breakpoint", "rate_above_breakpoint")
    return {k: finite(getattr(found, name)) if found else None for k, name in zip(keys, names, strict=True)}


def _rate(values: np.ndarray, inside: np.ndarray) -> float | None:
    return float(values[inside].mean()) if inside.any() else None
