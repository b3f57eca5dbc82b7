"""The table of the first screen: a line for each cohort, or for each cohort and store of a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from advassay.report.data.findings import Findings
from advassay.report.data.headlines import Headline, Score
from advassay.report.data.several_cohorts import half_text
from advassay.report.data.units import in_grey_levels, level_text, unit_text
from advassay.report.text.number_format import percent


@dataclass(frozen=True)
class Line:
    """A row as it is printed."""

    name: str
    below: str
    """In small letters below the name."""
    half: tuple[str, str, str]
    """(ε50, its interval, the images that it rests on)."""
    scores: tuple[Score | None, ...]
    """In the order of the table's columns."""
    success: str
    success_interval: str
    noise: str


@dataclass(frozen=True)
class HeadlineTable:
    """Rows, and what stands over them."""

    lines: tuple[Line, ...]
    unit: str
    level: str
    """The shown amplitude."""
    scores: tuple[str, ...]
    """Scores that any row has."""
    grey: bool
    """Whether the amplitude bounds each pixel."""
    percent_level: str
    """Level of the intervals."""


def headline_table(rows: Sequence[tuple[str, str, Findings, Headline]]) -> HeadlineTable:
    """`rows`: (name, what stands below it, whose numbers these are, the numbers); all at one amplitude."""
    first = rows[0][2]
    names = tuple(dict.fromkeys(score.name for *_, line in rows for score in line.scores))
    return HeadlineTable(
        lines=tuple(_line(*row, names) for row in rows), unit=unit_text(first),
        level=level_text(first, first.epsilon), scores=names, grey=in_grey_levels(first),
        percent_level=f"{100 * first.level:g} %",
    )  # fmt: skip


def cohort_lines(findings: Findings, lines: Iterable[Headline]) -> HeadlineTable:
    """The table of one store."""
    return headline_table([(line.cohort, line.title, findings, line) for line in lines])


def _line(name: str, below: str, findings: Findings, line: Headline, names: Sequence[str]) -> Line:
    value, _, interval = half_text(findings, line).partition(" [")
    low, high = line.success.low, line.success.high
    return Line(
        name=name, below=below,
        half=(value, f"[{interval}" if interval else "", f"{line.epsilon50['n']} images"),
        scores=tuple(line.score(score) for score in names), success=percent(line.success.value, 0),
        success_interval="" if low is None or high is None else f"[{percent(low, 0)}, {percent(high, 0)}]",
        noise=f"{line.noise[0]} of {line.noise[1]} by noise" if line.noise else "",
    )  # fmt: skip
