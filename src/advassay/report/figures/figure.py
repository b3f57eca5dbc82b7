"""What a figure is: a number, words, and a way to draw it at a width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from advassay.report.figures.image_panels import Row

if TYPE_CHECKING:
    import altair as alt

WIDE, NARROW = 960, 332
"""CSS pixels of the two drawings a page holds: for screens and paper, and for telephones."""


@dataclass(frozen=True)
class Figure:
    """One figure of the report."""

    key: str
    """File name without suffix, and anchor on the page."""
    number: str
    title: str
    caption: str
    description: str
    """What a reader who cannot see it should know."""
    draw: Callable[[int], alt.TopLevelMixin]
    """Width in CSS pixels → chart."""
    table: str = ""
    """Name of the table (CSV) it is drawn from; empty for images."""
    numbers: pl.DataFrame | None = None
    """The rows that are drawn."""
    level: float = 0.95
    """Confidence level of its intervals."""
    rows: tuple[Row, ...] = ()
    """Pictures of an image figure, laid out anew on the page."""
