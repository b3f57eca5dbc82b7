"""Which ε the figures are drawn at, given what was recorded."""

from __future__ import annotations

from collections.abc import Iterable

from advassay.records.header import RunHeader


def shared(headers: Iterable[RunHeader], step_size: str | None = None) -> list[float]:
    """Amplitudes above 0 that every run holds at `step_size` (None = its first), rising; empty without any."""
    grids = [_grid(header, step_size) for header in headers]
    grids = [grid for grid in grids if grid]
    return sorted(set.intersection(*grids)) if grids else []


def _grid(header: RunHeader, step_size: str | None) -> set[float]:
    points = [point for point in header.points if point.epsilon > 0]
    return {point.epsilon for point in points if point.step_size == (step_size or points[0].step_size)}


def nearest(wanted: float, available: list[float]) -> float | None:
    """The available amplitude nearest to the wanted one; the smaller of two; None where none is available.

    >>> nearest(0.02, [0.01, 0.05]), nearest(0.02, [])
    (0.01, None)
    """
    return min(available, key=lambda epsilon: (abs(epsilon - wanted), epsilon)) if available else None
