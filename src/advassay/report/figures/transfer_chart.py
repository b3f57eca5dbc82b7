"""Transfer matrices: how often images attacked on one network mislead another, with noise of their size beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.report.data.findings import Findings
from advassay.report.figures.curve_panels import names_of
from advassay.report.figures.figure import FIGURES, Figure, figure
from advassay.report.figures.theme import INK, Style, styles
from advassay.report.tables.transfer_tables import nearest
from advassay.report.text import captions
from advassay.report.text.number_format import amplitude, percent

if TYPE_CHECKING:
    import altair as alt

LABEL_LIMIT = 190
TALLEST, SMALLEST = 34, 20
"""Sides of a cell in pixels."""
ATTACKED, NOISE = "attacked", "random noise of the same size"


def transfer_matrices(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.VConcatChart:
    """`frame`: cohort, source, target, rate, noise_rate, low, high, n at one ε a cohort; two matrices a cohort."""
    import altair as alt

    charts = [
        _cohort(part, styles[str(name)].colour, str(name), width)
        for (name,), part in frame.group_by("cohort", maintain_order=True)
    ]
    return alt.vconcat(*charts, spacing=30).resolve_scale(color="independent")


def _cohort(frame: pl.DataFrame, hue: str, cohort: str, width: int) -> Any:
    import altair as alt

    networks = names_of(frame, "source")
    beside = width > 500
    room = (width - LABEL_LIMIT - 40) // (2 if beside else 1)
    side = max(SMALLEST, min(TALLEST * 2, room // len(networks)))
    panels = [
        _matrix(frame, hue, networks, side, column, title, labelled=i == 0 or not beside)
        for i, (column, title) in enumerate({"rate": ATTACKED, "noise_rate": NOISE}.items())
    ]
    joined = alt.hconcat(*panels, spacing=18) if beside else alt.vconcat(*panels, spacing=14)
    epsilon = frame["epsilon"][0]
    return joined.properties(title=alt.TitleParams(f"{cohort}, ε = {epsilon:g}", color=hue, anchor="start"))


def _matrix(
    frame: pl.DataFrame, hue: str, networks: list[str], side: int, column: str, title: str, *, labelled: bool
) -> Any:
    import altair as alt

    share = pl.col(column)
    told = frame.select(
        "source", "target", "kind", "n", rate=share.round(4), low=(pl.col("low") if column == "rate" else "noise_low"),
        high=(pl.col("high") if column == "rate" else "noise_high"),
        text=(100 * share).round(0).cast(pl.Int64).cast(pl.String).fill_null("–"),
    )  # fmt: skip
    axis: dict[str, Any] = {
        "grid": False,
        "ticks": False,
        "domain": False,
        "labelLimit": LABEL_LIMIT,
        "labelFontSize": 11,
    }
    x = alt.X("target:N", sort=networks, title="scored by", axis=alt.Axis(labelAngle=-40, **axis))
    y = alt.Y("source:N", sort=networks, title="attacked on" if labelled else None,
              axis=alt.Axis(**axis) if labelled else None)  # fmt: skip
    tips: list[Any] = [
        "source:N", "target:N", "kind:N", alt.Tooltip("rate:Q", format=".1%"), alt.Tooltip("low:Q", format=".1%"),
        alt.Tooltip("high:Q", format=".1%"), "n:Q",
    ]  # fmt: skip
    base = alt.Chart(alt.Data(values=told.to_dicts())).encode(x=x, y=y, tooltip=tips)
    scale = alt.Scale(domain=[0, 1], range=["#ffffff", hue], interpolate="rgb")
    squares = base.mark_rect(stroke="#e4e4e4").encode(color=alt.Color("rate:Q", scale=scale, legend=None))
    numbers = base.mark_text(fontSize=11).encode(
        text="text:N", color=alt.condition("datum.rate > 0.8", alt.value("#ffffff"), alt.value(INK))
    )
    return alt.layer(squares, numbers).properties(
        width=side * len(networks), height=min(side, TALLEST) * len(networks),
        title=alt.TitleParams(title, fontSize=12, fontWeight="normal", anchor="start"),
    )  # fmt: skip


@FIGURES.register
@figure("fig-transfer", section="results", order=187.5)
def fig_transfer(findings: Findings) -> Figure | None:
    """Who misleads whom, attacked and with noise."""
    frame = findings.tables.get("transfer_matrix")
    if frame is None:
        return None
    here = nearest(frame, findings.plan.epsilon)
    shown = [name for name in findings.cohorts if name in here["cohort"].to_list()]
    sizes = here["n"].to_list()
    return Figure(
        "Transfer from network to network",
        "Share in percent of images that the network below (column) misclassifies, of those that it and the network at "
        "the left (row) classify correctly when clean: left, as attacked on the network of the row; right, with random "
        f"noise of the same size in every pixel. Networks of one architecture and seed begin with the same weights. "
        f"{captions.main_attack(findings)}. n = {min(sizes)} to "
        f"{max(sizes)} images a cell; intervals are in the tooltips and in the table.",
        f"Matrices of transfer: {'; '.join(_told(here, cohort) for cohort in shown)}.",
        lambda width: transfer_matrices(here, styles(findings.cohorts), width=width), "transfer_matrix", here,
    )  # fmt: skip


def _told(frame: pl.DataFrame, cohort: str) -> str:
    """The range over pairs of two networks, in words."""
    others = frame.filter((pl.col("cohort") == cohort) & (pl.col("kind") != "itself") & (pl.col("n") > 0))
    if not len(others):
        return f"{cohort} has no pair with images that both networks classify correctly"
    ends = [percent(float(others[name].min())) for name in ("rate", "noise_rate")]  # type: ignore[arg-type]
    tops = [percent(float(others[name].max())) for name in ("rate", "noise_rate")]  # type: ignore[arg-type]
    epsilon = amplitude(float(others["epsilon"][0]))
    return f"{cohort} at {epsilon}: between networks {ends[0]} to {tops[0]} attacked, {ends[1]} to {tops[1]} with noise"
