"""Labels at the ends of curves, moved apart just enough to be read."""

from __future__ import annotations

from collections.abc import Sequence


def spread(heights: Sequence[float], gap: float, low: float = 0.0, high: float = 1.0) -> list[float]:
    """New heights at least `gap` apart, in the same order, near the old ones and inside [low, high] where they fit.

    Neighbours that are too close form a block, centred on the mean of its wishes (pool adjacent violators).

    >>> spread([0.5, 0.52, 0.9], 0.1)
    [0.46, 0.56, 0.9]
    """
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    blocks: list[list[int]] = []
    for index in order:
        blocks.append([index])
        while len(blocks) > 1 and _start(blocks[-1], heights, gap, low, high) < _end(
            blocks[-2], heights, gap, low, high
        ):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    placed = list(heights)
    for block in blocks:
        start = _start(block, heights, gap, low, high)
        for place, index in enumerate(block):
            placed[index] = round(start + place * gap, 9)
    return placed


def _start(block: list[int], heights: Sequence[float], gap: float, low: float, high: float) -> float:
    length = gap * (len(block) - 1)
    centre = sum(heights[i] for i in block) / len(block)
    return max(low, min(centre - length / 2, high - length))


def _end(block: list[int], heights: Sequence[float], gap: float, low: float, high: float) -> float:
    return _start(block, heights, gap, low, high) + gap * len(block) - 1e-9
