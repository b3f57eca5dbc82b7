"""A comparison as a page: what was compared, what differs, curves side by side, paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from advassay.layout import writing
from advassay.progress import Progress, Silent
from advassay.report import captions, export
from advassay.report.columns import columns
from advassay.report.comparing import COMPARED, Comparison, compare
from advassay.report.figures.comparison import paired_differences, stores_over_epsilon, stores_over_iterations
from advassay.report.figures.figure import Figure
from advassay.report.grids import Grid, anything, grid
from advassay.report.shell import downloads, rendered
from advassay.report.theme import hues
from advassay.report.wording import amplitude, listed
from advassay.report.write import as_csv, check_output, draw_all, write_tables

PAGE = Path("compare.html")
SHOWN = {
    "stores": "store attack cohorts images versions",
    "curves": "cohort* store epsilon rate low high events n patients method",
    "differences": "cohort* store epsilon n patients rate_first rate_second only_first only_second difference low "
    "high p p_adjusted test",
}


def write_comparison(stores: Sequence[Path], output: Path | None = None, *, progress: Progress | None = None) -> Path:
    """Write the comparison of two or more stores as one page that opens offline; its path.

    Without `output`: compare.html in the current folder; figures/ and tables/ go into compare_files/ beside it. The
    first store is what the others are held against.
    Raises what `compare` raises.
    """
    told = progress or Silent()
    page = output or PAGE
    check_output(page)
    found = compare(stores)
    beside = page.with_name(f"{page.stem}_files")
    drawn = [one for one, _ in draw_all(figures(found), beside, told)]
    write_tables(found.tables, beside / "tables")
    text = rendered(
        "compare.html.j2",
        {
            "comparison": found, "drawn": drawn, "tables": tables(found), "javascript": export.javascript(),
            "downloads": downloads(as_csv(found.tables)),
            "title": f"Comparison of {listed(list(found.names))}",
        },
    )  # fmt: skip
    with writing(page) as beside:
        beside.write_text(text, encoding="utf-8")
    return page


def tables(found: Comparison) -> dict[str, Grid]:
    """Every table of the comparison as printed."""
    made = {
        name: grid(name, COMPARED[name], found.tables[name], columns(keys), "cohort" if "cohort*" in keys else None)
        for name, keys in SHOWN.items()
        if name in found.tables
    }
    if "settings" in found.tables:
        made["settings"] = anything("settings", COMPARED["settings"], found.tables["settings"])
    return made


def figures(found: Comparison) -> list[Figure]:
    """Success over ε, over iterations, and paired differences."""
    of_type = hues(list(found.cohorts.values()))
    hue = {cohort: of_type[kind] for cohort, kind in found.cohorts.items()}
    curves, steps, paired = (found.tables.get(name) for name in ("curves", "iterations", "differences"))
    assert curves is not None
    assert steps is not None
    arms = " ".join(f"{name}: {text}." for name, text in found.tables["stores"].select("store", "attack").iter_rows())
    made = [
        Figure(
            "fig-curves", "1", "Success against amplitude", "Attack success rate against ε after the last iteration, "
            f"one curve a store. {arms} {captions.sample(curves)}; {captions.intervals(curves, found.level)}.",
            f"Success over ε of {listed(list(found.names))}, one panel per cohort.",
            lambda width: stores_over_epsilon(curves, hue, width=width), "curves", curves,
        ),
        Figure(
            "fig-iterations", "2", f"Success against iterations at {amplitude(found.epsilon)}",
            f"Attack success rate at each iterate, one curve a store. {arms} {captions.sample(steps)}; "
            f"{captions.intervals(steps, found.level)}.",
            f"Success over iterations of {listed(list(found.names))}, one panel per cohort.",
            lambda width: stores_over_iterations(steps, hue, width=width), "iterations", steps,
        ),
    ]  # fmt: skip
    if paired is not None:
        made.append(Figure(
            "fig-differences", "3", f"Paired differences from {found.names[0]}",
            f"Success of {listed(list(found.names[1:]))} minus success of {found.names[0]} on the same images, last "
            "iteration, at every ε that both recorded; above zero the named store fells more. n = "
            f"{captions.span(paired['n'])} images attackable in both; {100 * found.level:g} % intervals by "
            "square-and-add of Wilson bounds with the patients' effective n; p adjusted over the cohorts (Holm) in "
            "the table.",
            f"Differences in success from {found.names[0]}, by cohort and ε.",
            lambda width: paired_differences(paired, hue, width=width), "differences", paired,
        ))  # fmt: skip
    return made
