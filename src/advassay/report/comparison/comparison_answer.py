"""The first screen of a comparison, in the form of a report's: the answer, a line each, one curve, one image pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from advassay.records.store_reader import Records
from advassay.report.comparison.store_comparison import Comparison
from advassay.report.data.findings import Findings, gather
from advassay.report.data.first_screen import FirstScreen
from advassay.report.figures.answer_figures import CURVE, image_pair, several_curves
from advassay.report.figures.figure import Figure
from advassay.report.figures.theme import DASHES, MARKS, SERIES_HUES, Style
from advassay.report.output.headline_table import HeadlineTable, headline_table
from advassay.spec.study_spec import FigureSpec

TABLES = ("cohorts", "epsilon50", "performance", "success_by_epsilon", "transitions")
"""What a first screen is made of."""


@dataclass(frozen=True)
class ComparedScreen:
    """What the first screen of a comparison shows besides its sentences."""

    table: HeadlineTable | None
    """A line for each cohort and store; null where a store has no single answer about its cohorts."""
    figures: tuple[Figure, ...]
    not_shown: tuple[str, ...]


def compared_screen(found: Comparison, stores: Sequence[Records]) -> ComparedScreen:
    """The lines, the curve of the cohort in which the stores differ most, and an image of the first that kept one."""
    asked = FigureSpec(epsilon=found.epsilon)
    sides = dict(zip(found.names, (gather(store, asked, only=TABLES) for store in stores), strict=True))
    screens = {name: side.first_screen for name, side in sides.items()}
    known = {name: screen for name, screen in screens.items() if screen is not None}
    return ComparedScreen(
        table=_table(found, sides, known) if len(known) == len(sides) else None,
        figures=tuple(_figures(found, sides)),
        not_shown=tuple(dict.fromkeys(text for screen in known.values() for text in screen.not_shown)),
    )


def _table(found: Comparison, sides: dict[str, Findings], screens: dict[str, FirstScreen]) -> HeadlineTable | None:
    if len({side.epsilon for side in sides.values()}) > 1 or len({_norm(side) for side in sides.values()}) > 1:
        return None  # not at one amplitude: their scores do not belong side by side
    rows = [
        (cohort, f"{name}, arm {sides[name].main_arm}", sides[name], line)
        for cohort in found.cohorts
        for name, screen in screens.items()
        for line in screen.headlines
        if line.cohort == cohort
    ]
    return headline_table(rows) if rows else None


def _norm(side: Findings) -> object:
    return side.headers()[0].attack.get("norm")


def _figures(found: Comparison, sides: dict[str, Findings]) -> Iterator[Figure]:
    cohort = most_different(found)
    curves = found.tables["curves"].filter(pl.col("cohort") == cohort, pl.col("epsilon") > 0, pl.col("n") > 0)
    looks = {
        name: Style(SERIES_HUES[i % len(SERIES_HUES)], MARKS[i % len(MARKS)], tuple(DASHES[i % len(DASHES)]), i)
        for i, name in enumerate(found.names)
    }
    first = next(iter(sides.values()))
    if (curve := several_curves(curves.with_columns(cohort=pl.col("store")), first, looks)) is not None:
        yield replace(
            curve, title=f"{cohort}: misclassified images against the size of the change",
            caption=f"One curve for each store, in {cohort}"
            f"{', the cohort in which they differ most' if len(found.cohorts) > 1 else ''}: share of the images "
            f"classified correctly at first that are misclassified, with {100 * found.level:g} % intervals; log scale, "
            "the part where it moves. Dashed line: half of the images.",
            table="curves", key=CURVE,
        )  # fmt: skip
    for name, side in sides.items():
        if (pair := image_pair(side, labelled=True)) is not None:
            yield replace(pair, caption=f"{name}, {pair.caption.replace(' Further images: figure 2.', '')}")
            return


def most_different(found: Comparison) -> str:
    """The cohort with the largest paired difference; the first where nothing is paired."""
    frame = found.tables.get("differences")
    if frame is None or frame.is_empty():
        return next(iter(found.cohorts))
    return str(frame.sort(pl.col("difference").abs(), descending=True, nulls_last=True)["cohort"][0])
