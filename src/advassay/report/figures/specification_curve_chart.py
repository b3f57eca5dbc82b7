"""The specification curve: every conclusion under every defensible choice; effects above, choices below."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.analysis.conclusions.question import question_of
from advassay.analysis.interval_text import interval_text
from advassay.report.data.findings import Findings
from advassay.report.figures.figure import FIGURES, Figure, figure
from advassay.report.figures.theme import INK, MUTED
from advassay.report.text import captions
from advassay.report.text.number_format import listed

if TYPE_CHECKING:
    import altair as alt


VERDICTS = ("supported", "undecided", "contradicted")
HUES = ("#007a59", "#5f6368", "#b3261e")
SHAPES = ("circle", "square", "diamond")
"""The page's colours of verdicts; shapes tell them apart without colour."""
CHOICES = {
    "arm": "arm ", "step_size": "step ", "success": "success: ", "dose": "dose: ", "estimator": "ε50: ", "epsilon": "ε "
}  # fmt: skip
"""Column → what stands before its value."""
LABELS, HEIGHT, ROW = 118, 120, 13
"""CSS pixels: room for the names of choices, height of the effects, of a row of choices."""


def specification_panels(frame: pl.DataFrame, titles: dict[int, str], *, width: int) -> alt.VConcatChart:
    """`frame`: as `specification_curve` gives it, rows with an estimate; `titles`: question → its title."""
    import altair as alt

    parts = [
        _question(part, titles[int(str(number))], width - LABELS - 24)
        for (number,), part in frame.sort("question", "estimate").group_by("question", maintain_order=True)
    ]
    return alt.vconcat(*parts, spacing=30).resolve_scale(x="independent", y="independent")


def _question(frame: pl.DataFrame, title: str, room: int) -> alt.VConcatChart:
    import altair as alt

    number = int(frame["question"][0])
    placed = _placed(frame, number)
    across = alt.X("rank:Q", axis=None, scale=alt.Scale(domain=[-0.5, len(placed) - 0.5], nice=False))
    size = 46 if room / len(placed) > 9 else 16
    effects = _effects(placed, number, across, size, room).properties(
        width=room, height=HEIGHT, title=alt.TitleParams(title, anchor="start", color=INK, fontSize=13)
    )
    rows = _choices(placed)
    order = list(dict.fromkeys(rows["choice"].to_list()))
    dots = alt.Chart(alt.Data(values=rows.to_dicts())).mark_point(filled=True, size=min(size, 26)).encode(
        x=across,
        y=alt.Y("choice:N", sort=order, title=None,
                axis=alt.Axis(grid=True, domain=False, ticks=False, labelLimit=LABELS, minExtent=LABELS)),
        color=_colour(room), shape=_shape(room),
    ).properties(width=room, height=ROW * len(order))  # fmt: skip
    return alt.vconcat(effects, dots, spacing=6)


def _effects(placed: pl.DataFrame, number: int, across: alt.X, size: int, room: int) -> alt.LayerChart | alt.FacetChart:
    import altair as alt

    low, high, question = *_domain(placed), question_of(number)
    scale = alt.Scale(type="log" if question.kind == "ratio" else "linear", domain=[low, high], nice=False, clamp=True)
    axis = alt.Axis(title=_lines(question.effect_axis), tickCount=4, minExtent=LABELS, format="~r", titleX=-LABELS + 12)
    base = alt.Chart(alt.Data(values=placed.to_dicts()))
    neutral = question.no_effect
    told = [
        alt.Tooltip("choices:N", title="choice"), alt.Tooltip("effect:N", title="effect with interval"), "verdict:N",
    ]  # fmt: skip
    at = alt.Y("at:Q", scale=scale, axis=axis)
    none = alt.Chart(alt.Data(values=[{"none": neutral}])).mark_rule(color=MUTED, strokeDash=[4, 3])
    layers = [
        none.encode(y=alt.Y("none:Q", scale=scale, axis=axis)),
        base.mark_rule(strokeWidth=1.3, opacity=0.6).encode(
            x=across, y=alt.Y("from:Q", scale=scale, axis=axis), y2="to:Q", color=_colour(room)
        ),
        base.mark_point(filled=True, size=size).encode(
            x=across, y=at, color=_colour(room), shape=_shape(room), tooltip=told
        ),
    ]
    if placed["chosen"].any():
        ring = base.transform_filter("datum.chosen").mark_point(filled=False, size=190, stroke=INK, strokeWidth=2)
        layers.append(ring.encode(x=across, y=at))
    return alt.layer(*layers)


def _colour(room: int) -> alt.Color:
    import altair as alt

    legend = alt.Legend(title="Verdict", orient="top", symbolSize=60, symbolOpacity=1, columns=_columns(room))
    return alt.Color("verdict:N", scale=alt.Scale(domain=list(VERDICTS), range=list(HUES)), legend=legend)


def _shape(room: int) -> alt.Shape:
    import altair as alt

    legend = alt.Legend(title="Verdict", orient="top", symbolSize=60, symbolOpacity=1, columns=_columns(room))
    return alt.Shape("verdict:N", scale=alt.Scale(domain=list(VERDICTS), range=list(SHAPES)), legend=legend)


def _columns(room: int) -> int:
    """Entries of the legend side by side in `room` CSS pixels."""
    return len(VERDICTS) if room > 300 else 1


def _placed(frame: pl.DataFrame, number: int) -> pl.DataFrame:
    """Rows in order of their effect, each with its ends on the axis; an open end reaches to the panel's edge."""
    unit = 1.0 if question_of(number).kind == "ratio" else 100.0
    scaled = frame.sort("estimate").with_columns(pl.col("estimate", "low", "high") * unit).with_row_index("rank")
    low, high = _domain(scaled)
    written = [_effect(number, row) for row in frame.sort("estimate").iter_rows(named=True)]
    return scaled.with_columns(
        pl.Series("effect", written, dtype=pl.String),
        pl.col("estimate").clip(low, high).alias("at"),
        pl.col("low").fill_null(low).clip(low, high).alias("from"),
        pl.col("high").fill_null(high).clip(low, high).alias("to"),
        pl.struct("arm", "step_size", "success", "dose", "estimator", "epsilon")
        .map_elements(lambda row: ", ".join(_named(row)), return_dtype=pl.String)
        .alias("choices"),
    )


def _effect(number: int, row: dict[str, Any]) -> str:
    kind = question_of(number).kind
    ends = ("low", 0.0 if kind == "ratio" else -math.inf), ("high", math.inf)
    low, high = (open_end if row[key] is None else row[key] for key, open_end in ends)
    return interval_text(kind, row["estimate"], low, high)


def _domain(placed: pl.DataFrame) -> tuple[float, float]:
    """Ends of the axis: all estimates, and intervals as far as they are not much wider than the estimates' range."""
    question = question_of(int(placed["question"][0]))
    neutral = question.no_effect
    lows, highs = placed["low"].drop_nulls(), placed["high"].drop_nulls()
    ends = [*placed["estimate"].to_list(), neutral]
    if question.kind == "ratio":
        # Nine tenths of the ends: a single interval over many powers of ten would flatten all others.
        low = min([*ends, lows.quantile(0.1) or min(ends)])
        high = max([*ends, highs.quantile(0.9) or max(ends)])
        return low / 1.15, high * 1.15
    low, high = min([*ends, *lows.to_list()]), max([*ends, *highs.to_list()])
    spare = 0.05 * (high - low) or 1.0
    return low - spare, high + spare


def _choices(placed: pl.DataFrame) -> pl.DataFrame:
    """One row per specification and choice, of the choices that vary (or, where none does, of all)."""
    given = [name for name in CHOICES if (placed[name] != "").any()]
    if placed.select("arm", "step_size").n_unique() == placed["arm"].n_unique():
        given.remove("step_size")  # the arm says it
    varied = [name for name in given if placed[name].n_unique() > 1] or given
    parts = [
        placed.sort(name, maintain_order=True).select(
            "rank", "verdict", choice=pl.lit(CHOICES[name]) + pl.col(name).str.replace("epsilon", "ε")
        )
        for name in varied
    ]
    return pl.concat(parts)


def _named(row: dict[str, Any]) -> list[str]:
    return [CHOICES[name] + row[name].replace("epsilon", "ε") for name in CHOICES if row[name]]


def _lines(title: str) -> list[str]:
    """An axis title over several lines, of which each fits the height of the panel."""
    lines = [""]
    for word in title.split():
        lines = [*lines[:-1], f"{lines[-1]} {word}".strip()] if len(lines[-1]) + len(word) < 22 else [*lines, word]
    return lines


@FIGURES.register
@figure("fig-specification", section="verdicts", order=10, supplement=True)
def fig_specification(findings: Findings) -> Figure | None:
    """Every verdict under every other choice."""
    every = findings.tables.get("specification_curve")
    if every is None:
        return None
    frame = every.filter(pl.col("estimate").is_not_null())
    if not len(frame):
        return None
    titles = {c.number: f"{c.number}. {c.title}" for c in findings.conclusions}
    without = len(every) - len(frame)
    aside = f" {without} combinations of choices give no estimate and are left out." if without else ""
    return Figure(
        "The verdicts under every other choice",
        "Each question is answered anew for every attack arm, step size and reading, and for both estimators of ε50 "
        "(specification curve, Simonsohn et al. 2020). Above: the effects in order of size, with "
        f"{100 * findings.level:g} % intervals; the dashed line marks no effect. Below: the choices behind each "
        f"effect. "
        "Colour and shape show the verdict; a ring marks the choice of the analysis plan. An open or very wide "
        "interval "
        "ends at the edge of the panel. A verdict that changes from left to right depends on the choices: "
        f"{_counts(frame)}.{aside} n = {captions.span(frame['n'])} cohorts or networks behind an effect. "
        f"{captions.every_attack(findings, every_step_size=True)}.",
        f"Specification curve of the five questions: {_counts(frame)}.",
        lambda width: specification_panels(frame, titles, width=width), "specification_curve", frame,
    )  # fmt: skip


def _counts(frame: pl.DataFrame) -> str:
    """ "question 1: 12 supported, 4 undecided"."""
    counts = []
    for (number,), part in frame.group_by("question", maintain_order=True):
        tally = part["verdict"].value_counts(sort=True, name="ways").iter_rows()
        counts.append(f"question {number}: {listed([f'{ways} {verdict}' for verdict, ways in tally])}")
    return "; ".join(counts)
