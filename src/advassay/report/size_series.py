"""Which arm attacked networks of several training sizes: the one that figure 3d is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from advassay.records.run_header import RunHeader


def has_size_series(runs: Iterable[RunHeader], arm: str) -> bool:
    """Whether networks of one cohort that differ in training size were attacked by the arm."""
    sizes: dict[str, set[int | None]] = {}
    for header in runs:
        if header.arm == arm:
            sizes.setdefault(header.cohort, set()).add(header.train_size)
    return any(len(found) > 1 for found in sizes.values())


def series_arm(runs: Sequence[RunHeader], main: str) -> str:
    """The arm of figure 3d: the main one if it attacked a size series, else the first that did, else the main one."""
    arms = [main, *(h.arm for h in sorted(runs, key=lambda header: header.arm_position))]
    return next((arm for arm in arms if has_size_series(runs, arm)), main)
