"""What a study would do: what is there, what is missing, and roughly how long and how large."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

_ORDER = ("prepare", "train", "attack")


@dataclass(frozen=True)
class PlanRow:
    """One piece of work. `--json` prints these fields."""

    stage: str
    """prepare, train or attack."""
    cohort: str
    what: str
    """Which network, attacked by which arm."""
    unit: str
    """What is counted: images (prepare), training passes = images × updates (train), gradient steps (attack)."""
    total: int
    """Units in all."""
    have: int
    """Units the store already holds."""
    basis: str = ""
    """Where the number of images comes from: prepared, table (the rules applied to the source's table) or stated
    (the source is not here).
    """
    arm: str = ""
    """Name of the attack arm; empty for other stages."""
    seconds: float | None = None
    """Estimated time of what is missing; null where the machine was not measured."""
    bytes: int | None = None
    """Estimated disk that what is missing will take."""

    @property
    def missing(self) -> int:
        return self.total - self.have


@dataclass(frozen=True)
class Cost:
    """Of one stage, and of attacks of one arm. `--json` prints these fields, in `costs`."""

    stage: str
    arm: str
    """Empty for prepare and train."""
    unit: str
    total: int
    have: int
    seconds: float | None
    """Of what is missing; null where the machine was not measured."""
    bytes: int
    """Of what is missing."""


@dataclass(frozen=True)
class Plan:
    """Everything a study consists of."""

    study: str
    rows: tuple[PlanRow, ...]

    @property
    def seconds(self) -> float | None:
        """Estimated time of everything missing."""
        known = [row.seconds for row in self.rows if row.seconds is not None]
        return sum(known) if known else None

    @property
    def bytes(self) -> int:
        """Estimated disk that everything missing will take."""
        return sum(row.bytes or 0 for row in self.rows)

    def totals(self) -> dict[str, tuple[int, int]]:
        """Unit → (total, have)."""
        units = dict.fromkeys(row.unit for row in self.rows)
        return {
            unit: (sum(r.total for r in self.rows if r.unit == unit), sum(r.have for r in self.rows if r.unit == unit))
            for unit in units
        }

    def costs(self) -> tuple[Cost, ...]:
        """What each stage costs, attacks by arm, in the order of the study."""
        kinds = dict.fromkeys((row.stage, row.arm, row.unit) for row in self.rows)
        return tuple(self._cost(*kind) for kind in sorted(kinds, key=lambda kind: _ORDER.index(kind[0])))

    def _cost(self, stage: str, arm: str, unit: str) -> Cost:
        rows = [row for row in self.rows if (row.stage, row.arm, row.unit) == (stage, arm, unit)]
        known = [row.seconds for row in rows if row.seconds is not None]
        total, have = sum(row.total for row in rows), sum(row.have for row in rows)
        return Cost(stage, arm, unit, total, have, sum(known) if known else None, sum(row.bytes or 0 for row in rows))

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "study": self.study,
            "seconds": self.seconds,
            "bytes": self.bytes,
            "costs": [asdict(cost) for cost in self.costs()],
            "rows": [asdict(r) for r in self.rows],
        }
