"""Flow charts of the cohorts: what entered each stage, what left it and why, in boxes as STARD draws them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from advassay.report.data.findings import Findings
from advassay.report.figures.figure import FIGURES, Figure, figure
from advassay.report.figures.theme import INK, MUTED
from advassay.report.text.number_format import count, listed

if TYPE_CHECKING:
    import altair as alt


LINE, PAD, GAP = 14, 6, 22
"""Height of a line of text, room above and below it, and between boxes; CSS pixels."""
CHARACTER = 6.2
"""Mean width of a character at 11 px."""
MOST_REASONS = 6
FEW = 4
"""Cohorts up to which two stand side by side on a wide screen; of more, three do, so that all fit a printed page."""


class Box(NamedTuple):
    """A box in CSS pixels, y downwards."""

    x: float
    y: float
    width: float
    lines: tuple[str, ...]

    @property
    def height(self) -> float:
        return LINE * len(self.lines) + 2 * PAD


def flow_charts(frame: pl.DataFrame, *, width: int) -> alt.ConcatChart:
    """`frame`: cohort, place, stage, part, what, images (as `flow_chart.tidy` gives them); one chart a cohort."""
    import altair as alt

    parts = frame.partition_by("cohort", maintain_order=True)
    columns = 1 if width <= 500 else 2 if len(parts) <= FEW else 3
    room = width // columns - 24
    charts = [_chart(part, str(part["cohort"][0]), room) for part in parts]
    return alt.concat(*charts, columns=columns, spacing={"row": 28, "column": 24})


def _chart(frame: pl.DataFrame, cohort: str, width: int) -> alt.LayerChart | alt.FacetChart:
    import altair as alt

    main, side = layout(frame, width)
    boxes, lines = [*main, *side], [*_down(main), *_across(main, side)]
    height = max(box.y + box.height for box in boxes)
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, width], nice=False))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[height, 0], nice=False))
    drawn = [
        {"x": box.x, "y": box.y, "x2": box.x + box.width, "y2": box.y + box.height, "kept": box in main}
        for box in boxes
    ]
    words = [
        {"x": box.x + PAD, "y": box.y + PAD + LINE * (place + 0.5), "text": text, "first": place == 0}
        for box in boxes
        for place, text in enumerate(box.lines)
    ]
    frames = alt.Chart(alt.Data(values=drawn)).mark_rect(fill="#ffffff", strokeWidth=1)
    edges = alt.condition("datum.kept", alt.value(INK), alt.value(MUTED))
    weight = alt.ExprRef("datum.first ? 'bold' : 'normal'")
    texts = alt.Chart(alt.Data(values=words)).mark_text(
        align="left", baseline="middle", fontSize=11, color=INK, fontWeight=weight
    )
    rules = alt.Chart(alt.Data(values=lines)).mark_rule(color=MUTED)
    return alt.layer(
        rules.encode(x=x, y=y, x2="x2:Q", y2="y2:Q"),
        frames.encode(x=x, y=y, x2="x2:Q", y2="y2:Q", stroke=edges),
        texts.encode(x=x, y=y, text="text:N"),
    ).properties(width=width, height=height, title=alt.TitleParams(cohort, anchor="start", color=INK))


def layout(frame: pl.DataFrame, width: int) -> tuple[list[Box], list[Box]]:
    """Boxes of one cohort: the stages one below the other, and what left between them to the right."""
    main: list[Box] = []
    side: list[Box] = []
    left, right = 0.42 * width, 0.5 * width
    y = 0.0
    for (_,), stage in frame.group_by("place", maintain_order=True):
        out = _side_lines(stage, int((width - right - 2 * PAD) / CHARACTER))
        if out and main:
            side.append(Box(right, y - GAP / 2, width - right, out))
            y = max(y + GAP, side[-1].y + side[-1].height + GAP / 2)
        main.append(Box(0, y, left, _main_lines(stage, int((left - 2 * PAD) / CHARACTER))))
        y += main[-1].height + GAP
    return main, side


def _main_lines(stage: pl.DataFrame, most: int) -> tuple[str, ...]:
    name, kept = stage["stage"][0], _numbers(stage, "kept")[0][1]
    parts = [*_numbers(stage, "class"), *_numbers(stage, "role")]
    return _wrapped([f"{name}: {count(kept)}", *(f"{what}: {count(images)}" for what, images in parts)], most)


def _side_lines(stage: pl.DataFrame, most: int) -> tuple[str, ...]:
    [(_, out)] = _numbers(stage, "left out")
    if not out:
        return ()
    reasons = _numbers(stage, "reason")
    shown, rest = reasons[:MOST_REASONS], sum(images for _, images in reasons[MOST_REASONS:])
    told = [f"{what}: {count(images)}" for what, images in [*shown, *([("other reasons", rest)] if rest else [])]]
    return _wrapped([f"left out: {count(out)}", *told], most)


def _numbers(stage: pl.DataFrame, part: str) -> list[tuple[str, int]]:
    return stage.filter(part=part).select("what", "images").rows()


def _wrapped(lines: Sequence[str], most: int) -> tuple[str, ...]:
    return tuple(piece for line in lines for piece in textwrap.wrap(line, most, subsequent_indent="  "))


def _down(main: Sequence[Box]) -> Iterator[dict[str, float]]:
    for upper, lower in pairwise(main):
        middle = upper.width / 2
        yield {"x": middle, "x2": middle, "y": upper.y + upper.height, "y2": lower.y}


def _across(main: Sequence[Box], side: Sequence[Box]) -> Iterator[dict[str, float]]:
    for box in side:
        level = box.y + PAD + LINE / 2
        yield {"x": main[0].width / 2, "x2": box.x, "y": level, "y2": level}


@FIGURES.register
@figure("fig-flow", section="cohorts", order=40, supplement=True)
def fig_flow(findings: Findings) -> Figure | None:
    """How images were selected into each cohort."""
    frame = findings.tables.get("flow")
    if frame is None:
        return None
    ends = [
        f"{cohort}: {count(part.filter(part='entering')['images'][0])} candidates, "
        f"{count(part.filter(part='kept')['images'][-1])} in"
        for (cohort,), part in frame.group_by("cohort", maintain_order=True)
    ]
    reasons = "and why (the six most frequent reasons; all are in tables/flow.csv)"
    if not len(frame.filter(part="reason")):  # a store of an older version
        reasons = "(for which reasons: the table below)"
    return Figure(
        "Flow of images into each cohort",
        "From the candidates of the source to the split, as STARD 2015 draws it. Left: the images that stay, by class "
        f"where they have one. Right: the images that were left out {reasons}. Numbers are images.",
        "Selection of each cohort. " + listed(ends) + ".",
        lambda width: flow_charts(frame, width=width), "flow", frame,
    )  # fmt: skip
