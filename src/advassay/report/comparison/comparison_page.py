"""A comparison as a page: what was compared, what differs, curves side by side, differences in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import polars as pl

from advassay.analysis.conclusions.conclusion_text import readings
from advassay.progress import Progress, Silent
from advassay.records.store_reader import open_records
from advassay.report.comparison.comparison_answer import compared_screen
from advassay.report.comparison.comparison_charts import paired_differences, stores_over_epsilon, stores_over_iterations
from advassay.report.comparison.store_comparison import COMPARED, Comparison, check_several, compare
from advassay.report.figures.answer_figures import CURVE, PAIR
from advassay.report.figures.figure import Figure
from advassay.report.figures.theme import hues
from advassay.report.output import figure_files
from advassay.report.output.html_page import downloads, rendered
from advassay.report.output.render_figures import draw_all
from advassay.report.output.write_report import as_csv, check_output, write_tables
from advassay.report.tables.column_labels import LEVEL, Column, Grid, at_level, columns, default_table, grid
from advassay.report.text import captions
from advassay.report.text.number_format import amplitude, listed, number, points
from advassay.store_layout import writing


def statements(found: Comparison) -> list[str]:
    """One paragraph for each store but the first."""
    return [_of_store(found, name) for name in found.names[1:]]


def _of_store(found: Comparison, store: str) -> str:
    frame = found.tables.get("differences")
    rows = pl.DataFrame() if frame is None else frame.filter(store=store)
    against = f"{store} against {found.names[0]}"
    if rows.is_empty():
        return f"{against}: no image was attackable in both, so nothing is paired; curves are of different images."
    shown = pl.col("p_adjusted") <= 1 - found.level
    higher, lower = (rows.filter(shown & (sign * pl.col("difference") > 0)) for sign in (1, -1))
    differ = {*higher["cohort"], *lower["cohort"]}
    told = [
        f"success is {word} in {_largest(part)}" for word, part in (("higher", higher), ("lower", lower)) if len(part)
    ]
    alike = rows.filter(~pl.col("cohort").is_in(differ))
    if len(alike):
        told.append(f"no difference is shown in {listed(_cohorts(alike))}, where intervals reach from {_reach(alike)}")
    lacking = [name for name in found.cohorts if name not in set(rows["cohort"])]
    if lacking:
        told.append(f"nothing is paired in {listed(lacking)}, without an image attackable in both")
    return f"{against}: {'; '.join(told)}."


def _largest(rows: pl.DataFrame) -> str:
    """Each cohort with its largest difference, e.g. "X-TB (+12 points [+4, +20] at ε = 0.02, p = 0.01)"."""
    told = []
    for (cohort,), part in rows.group_by("cohort", maintain_order=True):
        one = part.sort(pl.col("difference").abs(), descending=True).row(0, named=True)
        told.append(
            f"{cohort} ({points(one['difference'])} points [{points(one['low'])}, {points(one['high'])}] at "
            f"ε = {one['epsilon']:g}, p {_p(one['p_adjusted'])})"
        )
    return listed(told)


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"= {number(value, 2)}"


def _reach(rows: pl.DataFrame) -> str:
    low, high = rows.select(pl.col("low").min(), pl.col("high").max()).row(0)
    return f"{points(low)} to {points(high)} points"


def _cohorts(rows: pl.DataFrame) -> list[str]:
    return rows["cohort"].unique(maintain_order=True).to_list()


PAGE = Path("compare.html")
SHOWN = {
    "stores": "store attack cohorts images versions",
    "verdicts": "question* store verdict text level cohorts arm",
    "epsilon50": "cohort* store text text_255 method n patients",
    "differences": "cohort* store epsilon n patients rate_first rate_second only_first only_second difference low "
    "high p p_adjusted test",
}
GROUP = {"differences": "cohort", "verdicts": "question", "epsilon50": "cohort"}
HEADERS = {
    "verdicts": {"text": "effect with interval", "cohorts": "over"},
    "epsilon50": {"text": f"ε₅₀ with {LEVEL} interval", "text_255": "in grey levels of 255"},
}
"""Table → words of its headers that are its alone."""


def write_comparison(stores: Sequence[Path], output: Path | None = None, *, progress: Progress | None = None) -> Path:
    """Write the comparison of two or more stores as one page that opens offline; its path.

    Without `output`: compare.html in the current folder; figures/ and tables/ go into compare_files/ beside it. The
    first store is what the others are held against.
    Raises what `compare` raises.
    """
    told = progress or Silent()
    page = output or PAGE
    check_output(page)
    check_several(stores)
    opened = [open_records(store) for store in stores]
    found = compare(opened)
    screen = compared_screen(found, opened)
    beside = page.with_name(f"{page.stem}_files")
    drawn = list(draw_all([*screen.figures, *figures(found)], beside, told))
    first = {one.figure.key: one for one in drawn if one.figure.key in (CURVE, PAIR)}
    write_tables(found.tables, beside / "tables")
    text = rendered(
        "compare.html.j2",
        {
            "comparison": found, "drawn": [one for one in drawn if one.figure.key not in first],
            "screen": screen, "answer_curve": first.get(CURVE), "answer_pair": first.get(PAIR),
            "files": f"./{quote(beside.name)}/", "statements": statements(found), "tables": tables(found),
            "javascript": figure_files.javascript(),
            "downloads": downloads(as_csv(found.tables)),
            "read": f"{readings(found.plan)}; {100 * found.level:g}% intervals",
            "when": captions.WHEN[found.plan.success],
            "title": f"Comparison of {listed(list(found.names))}",
        },
    )  # fmt: skip
    with writing(page) as beside:
        beside.write_text(text, encoding="utf-8")
    return page


def tables(found: Comparison) -> dict[str, Grid]:
    """Every table of the comparison as printed."""
    made = {
        name: grid(name, COMPARED[name], found.tables[name], _columns(found, name), GROUP.get(name))
        for name in SHOWN
        if name in found.tables
    }
    if "settings" in found.tables:
        made["settings"] = default_table("settings", COMPARED["settings"], found.tables["settings"])
    return made


def _columns(found: Comparison, table: str) -> list[Column]:
    """Two stores are named in the headers of the differences; of more, each row names its own."""
    if table != "differences":
        return at_level(columns(SHOWN[table], **HEADERS.get(table, {})), found.level)
    first, *others = found.names
    other = others[0] if len(others) == 1 else "this store"
    made = columns(
        SHOWN[table], rate_first=first, rate_second=other, only_first=f"misclassified only in {first}",
        only_second=f"only in {other}", difference="difference, points",
    )  # fmt: skip
    signed = [replace(c, show=points) if c.key in ("low", "high") else c for c in at_level(made, found.level)]
    return [c for c in signed if c.key != "store" or len(others) > 1]


def figures(found: Comparison) -> list[Figure]:
    """Success over ε, over iterations, and paired differences."""
    of_type = hues(list(found.cohorts.values()))
    hue = {cohort: of_type[kind] for cohort, kind in found.cohorts.items()}
    curves, steps, paired = (found.tables.get(name) for name in ("curves", "iterations", "differences"))
    assert curves is not None
    assert steps is not None
    arms = _arms(found.tables["stores"])
    made = [
        Figure(
            "Success against amplitude", "Attack success rate against ε "
            f"{captions.WHEN[found.plan.success]}, one curve a store. {arms} "
            f"{captions.sample(curves)}; {captions.intervals(curves, found.level)}.",
            f"Success over ε of {listed(list(found.names))}, one panel per cohort.",
            lambda width: stores_over_epsilon(curves, width=width), "curves", curves,
            key="fig-curves", number="1",
        ),
        Figure(
            f"Success against iterations at {amplitude(found.epsilon)}",
            f"Attack success rate over iterations, {captions.OVER_ITERATIONS[found.plan.success]}; "
            f"one curve a store. {arms} {captions.sample(steps)}; "
            f"{captions.intervals(steps, found.level)}.",
            f"Success over iterations of {listed(list(found.names))}, one panel per cohort.",
            lambda width: stores_over_iterations(steps, width=width), "iterations", steps,
            key="fig-iterations", number="2",
        ),
    ]  # fmt: skip
    if paired is not None:
        effective = " with the patients’ effective n" if paired["patients"].count() else ""
        above = found.names[1] if len(found.names) == 2 else "the store of the mark"
        made.append(Figure(
            f"Paired differences from {found.names[0]}",
            f"Success of {listed(list(found.names[1:]))} minus success of {found.names[0]} on the same images, "
            f"{captions.WHEN[found.plan.success]}, at every ε that both recorded, "
            f"in percentage points; above zero, more images are misclassified in {above}. n = "
            f"{captions.span(paired['n'])} images attackable in both; {100 * found.level:g} % intervals by "
            f"square-and-add of Wilson bounds{effective}, not adjusted; p adjusted over cohorts and ε (Holm) in the "
            "table.",
            f"Differences in success from {found.names[0]}, by cohort and ε.",
            lambda width: paired_differences(paired, hue, width=width), "differences",  # the numbers are table 5
            key="fig-differences", number="3",
        ))  # fmt: skip
    return made


def _arms(stores: pl.DataFrame) -> str:
    """The attack of each store in words; once where it is the same."""
    attacks = stores["attack"].unique(maintain_order=True)
    if len(attacks) == 1:
        return f"{attacks[0]}, in every store."
    return " ".join(f"{name}: {text}." for name, text in stores.select("store", "attack").iter_rows())
