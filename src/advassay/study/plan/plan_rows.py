"""What a study would do: what is there, what is missing, and roughly how long and how large."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

STAGES = (
    "prepare",
    "train",
    "range-finding",
    "attack",
    "controls",
    "doubling",
    "re-run",
    "transfer",
    "features",
    "scoring",
)
"""What a row can be of, in the order of the work."""


@dataclass(frozen=True)
class PlanRow:
    """One piece of work. `--json` prints these fields."""

    stage: str
    """One of STAGES. range-finding finds the amplitudes of an arm with `epsilons: auto`, on tuning images. Beside an
    attack arm stand its controls; doubling, the control that attacks a sample for twice the iterations; and the re-run
    with the margin loss of images whose gradient vanished or whose probability rounded to 1. transfer attacks a network
    for the others of its cohort (features: for its own features), scoring is what these, and itself, score of it.
    """
    cohort: str
    what: str
    """Which network, attacked by which arm."""
    unit: str
    """What is counted: images (prepare), training passes = images × updates (train), gradient steps (attack), images
    scored (scoring)."""
    total: int
    """Units in all."""
    have: int
    """Units the store already holds."""
    basis: str = ""
    """Where the number of images comes from: prepared, table (the rules applied to the source's table) or stated
    (the source is not here).
    """
    arm: str = ""
    """Name of the attack arm; empty for prepare and train."""
    architecture: str = ""
    """Of the network that does it, where that is not the study's main one."""
    at_most: bool = False
    """`total` is an upper bound: of a re-run until the arm has run, of controls always (`have` is all of it once they
    are done).
    """
    seconds: float | None = None
    """Estimated time of what is missing, of all of it where `at_most`; null where the machine was not measured."""
    bytes: int | None = None
    """Estimated disk that what is missing will take."""

    @property
    def missing(self) -> int:
        return self.total - self.have


@dataclass(frozen=True)
class Cost:
    """Of one stage, and in it of one arm. `--json` prints these fields, in `costs`."""

    stage: str
    arm: str
    """Empty for prepare and train."""
    unit: str
    total: int
    have: int
    at_most: bool
    """The total holds an upper bound."""
    seconds: float | None
    """Of what is missing; null where the machine was not measured."""
    bytes: int
    """Of what is missing."""


@dataclass(frozen=True)
class Plan:
    """Everything a study consists of."""

    study: str
    rows: tuple[PlanRow, ...]
    notes: tuple[str, ...] = ()
    """What the study should know before it runs, in plain sentences."""
    warnings: tuple[tuple[str, str], ...] = ()
    """(cohort, sentence): what a reader should know before anything runs."""

    def __repr__(self) -> str:
        """A summary."""
        todo = ", ".join(f"{total - have:,} of {total:,} {unit}" for unit, (total, have) in self.totals().items())
        return f"Plan({self.study}: {len(self.rows)} rows; to do: {todo or 'nothing'})"

    def to_polars(self) -> pl.DataFrame:
        """`rows` as a frame: one row a piece of work, with the fields of `PlanRow` as columns."""
        import polars as pl

        return pl.DataFrame([asdict(row) for row in self.rows], infer_schema_length=None)

    @property
    def seconds(self) -> float | None:
        """Estimated time of what is missing for certain: rows with `at_most` are not in it."""
        return _sum(row.seconds for row in self.rows if not row.at_most)

    @property
    def seconds_at_most(self) -> float | None:
        """Estimated time of everything missing, should all that is bounded be needed in full."""
        return _sum(row.seconds for row in self.rows)

    @property
    def bytes(self) -> int:
        """Estimated disk that everything missing will take."""
        return sum(row.bytes or 0 for row in self.rows)

    def totals(self) -> dict[str, tuple[int, int]]:
        """Unit → (total, have), without rows of which only a bound is known."""
        found: dict[str, tuple[int, int]] = {}
        for row in self.rows:
            total, have = found.get(row.unit, (0, 0))
            found[row.unit] = (total, have) if row.at_most else (total + row.total, have + row.have)
        return found

    def costs(self) -> tuple[Cost, ...]:
        """What each stage costs, arms apart, in the order of the work."""
        kinds = dict.fromkeys((row.stage, row.arm, row.unit) for row in self.rows)
        return tuple(self._cost(*kind) for kind in sorted(kinds, key=lambda kind: STAGES.index(kind[0])))

    def _cost(self, stage: str, arm: str, unit: str) -> Cost:
        rows = [row for row in self.rows if (row.stage, row.arm, row.unit) == (stage, arm, unit)]
        return Cost(
            stage,
            arm,
            unit,
            total=sum(row.total for row in rows),
            have=sum(row.have for row in rows),
            at_most=any(row.at_most for row in rows),
            seconds=_sum(row.seconds for row in rows),
            bytes=sum(row.bytes or 0 for row in rows),
        )

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "study": self.study,
            "seconds": self.seconds,
            "seconds_at_most": self.seconds_at_most,
            "bytes": self.bytes,
            "notes": list(self.notes),
            "costs": [asdict(cost) for cost in self.costs()],
            "rows": [asdict(r) for r in self.rows],
            "warnings": [{"cohort": cohort, "text": text} for cohort, text in self.warnings],
        }


def _sum(seconds: Iterable[float | None]) -> float | None:
    """Of those that are known; None where none is."""
    known = [one for one in seconds if one is not None]
    return sum(known) if known else None
