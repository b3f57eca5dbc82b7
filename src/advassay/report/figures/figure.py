"""What a figure is, the registry of all figures, and their numbers.

Each file of this folder registers its figures:

    @FIGURES.register
    @figure("fig-3a", section="results", order=30, number="3a")
    def fig3a(findings): …

The page, Markdown, the exported files and the numbering follow. Another package adds a figure
through the entry point group `advassay.figures`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Literal

import polars as pl

from advassay.registry import Registry
from advassay.report.figures.image_panels import Row
from advassay.report.page_sections import Section, in_page_order

if TYPE_CHECKING:
    import altair as alt

    from advassay.report.data.findings import Findings

WIDE, NARROW = 960, 332
"""CSS pixels of the two drawings a page holds: for screens and paper, and for telephones."""
AFTER_REFERENCE = 4
"""The figures of the reference study keep its numbers, 1 to 3d; the others are counted from here."""


@dataclass(frozen=True)
class Figure:
    """One figure of the report: words, and a way to draw it at a width."""

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
    rows: tuple[Row, ...] = ()
    """Pictures of an image figure, laid out anew on the page."""
    layout: Literal["stacked", "beside"] = "stacked"
    """How the pictures of a cell stand on the page: under each other, or side by side."""
    key: str = ""
    """File name without suffix, and anchor on the page."""
    number: str = ""
    section: Section = "results"
    order: float = 0
    level: float = 0.95
    """Confidence level of its intervals."""
    supplement: bool = False
    """Folded on the page, and named without its drawing on paper."""


@dataclass(frozen=True)
class FigureEntry:
    """A registered figure; called with the findings it gives the figure.

    name        file name without suffix, and anchor on the page
    order       place in its section, rising
    make        findings → the figure; None where the records cannot fill it
    number      a number that it keeps, as those of the reference study; empty: counted in the order of the page
    supplement  counted apart, as S1, S2, …; folded on the page
    """

    name: str
    section: Section
    order: float
    make: Callable[[Findings], Figure | None]
    number: str = ""
    supplement: bool = False

    def __call__(self, findings: Findings) -> Figure | None:
        return self.make(findings)


FIGURES = Registry("figure", FigureEntry, package="advassay.report.figures", group="advassay.figures")
"""All figures."""


def figure(
    name: str, *, section: Section, order: float, number: str = "", supplement: bool = False
) -> Callable[[Callable[[Findings], Figure | None]], FigureEntry]:
    """Make the function below an entry for the registry; see `FigureEntry`."""
    return lambda make: FigureEntry(name, section, order, make, number, supplement)


def figures(findings: Findings) -> Iterator[Figure]:
    """Every figure that the records can fill, numbered, in the order of the page."""
    main, supplement = count(AFTER_REFERENCE), count(1)
    for entry in in_page_order(FIGURES.parts()):
        made = entry(findings)
        if made is None:
            continue
        number = entry.number or (f"S{next(supplement)}" if entry.supplement else str(next(main)))
        yield replace(
            made, key=entry.name, number=number, section=entry.section, order=entry.order, level=findings.level,
            supplement=entry.supplement,
        )  # fmt: skip
