"""Sentences and choices that captions and alt texts of several figures share."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from advassay.layout import Store
from advassay.records.gallery import Example
from advassay.report import captions
from advassay.report.figures.plates import Row
from advassay.report.findings import Findings
from advassay.report.theme import styles
from advassay.report.wording import listed, percent


def step_sizes(findings: Findings) -> dict[str, str]:
    """Cohort → the step size of the main curves (the first recorded one, as analysis takes it)."""
    return {row["cohort"]: row["step_size"] for row in findings.tables["success_by_epsilon"].iter_rows(named=True)}


def examples(findings: Findings) -> list[Example]:
    """Kept images of the runs that the image figures are about: the main arm of every main network."""
    runs = {header.run_id for header in findings.headers()}
    return [example for example in findings.examples if example.run_id in runs]


def image_rows(findings: Findings, make: Callable[..., list[Row]]) -> list[Row]:
    """Rows of an image figure, made by `make` from the kept images of the main arm."""
    gallery, drawn = Store(findings.records.root).gallery, styles(findings.cohorts)
    return make(gallery, examples(findings), step_sizes(findings), drawn, findings.epsilon)


def main_arm(findings: Findings) -> str:
    """The attack of the main curves in words."""
    return captions.attack(findings.headers())


def every_arm(findings: Findings) -> str:
    """Every arm's attack in words."""
    return ". ".join(captions.attack(findings.headers(arm)) for arm in findings.records.arms if findings.headers(arm))


def statistics(frame: pl.DataFrame, findings: Findings) -> str:
    """How many images a point rests on and how its interval was made."""
    return f"{captions.sample(frame)}; {captions.intervals(frame, findings.level)}"


def scaling(findings: Findings) -> str:
    """How pixel values became [0, 1], by cohort: the window of what the image figures show."""
    known = [p for name, p in findings.records.preparations.items() if name in findings.cohorts]
    ways: dict[str, list[str]] = {}
    for p in known:
        ways.setdefault(f"{p.scaling}, {p.bits} bit", []).append(p.cohort)
    told = [f"{way} ({', '.join(names)})" for way, names in ways.items()]
    return f" Grey scale as prepared for the network: {listed(told)}." if told else ""


def depth(findings: Findings) -> str:
    """Over which values pictures are shown, where some are deeper than 8 bits."""
    bits = {p.bits for name, p in findings.records.preparations.items() if name in findings.cohorts}
    deep = "" if 16 not in bits else " from 0 to 65\u202f535" if bits == {16} else ", 16-bit ones from 0 to 65\u202f535"
    return f"shown over their full range of values{deep}"


MARGINS = {
    1: "Conclusion 1 calls success flat where its change per doubling of ε is shown to be below {points} points.",
    3: "Conclusion 3 calls success level where its rise over the second half of the iterations is shown to be below "
    "{points} points.",
    4: "Conclusion 4 counts a ratio of ε50 between 1/{margin:g} and {margin:g} as none.",
    5: "Conclusion 5 counts a ratio of ε50 between 1/{margin:g} and {margin:g} over all sizes as none.",
}


def margin(findings: Findings, number: int) -> str:
    """The margin of the conclusion that a figure is about, in words."""
    of = next((c.margin for c in findings.conclusions if c.number == number), None)
    return "" if of is None else " " + MARGINS[number].format(margin=of, points=f"{100 * of:g}")


def hues(findings: Findings) -> dict[str, str]:
    """Cohort → hue of its image type."""
    return {cohort: style.colour for cohort, style in styles(findings.cohorts).items()}


def ends(frame: pl.DataFrame, x: str, unit: str, what: str = "Attack success rate", rate: str = "rate") -> str:
    """Where each cohort's curve begins and ends, for readers who do not see it."""
    told = []
    for (cohort,), part in frame.filter(pl.col("n") > 0).sort(x).group_by("cohort", maintain_order=True):
        first, last = part.row(0, named=True), part.row(-1, named=True)
        told.append(
            f"{cohort} from {percent(first[rate], 0)} at {unit} {first[x]:g} to {percent(last[rate], 0)} at {last[x]:g}"
        )
    return f"{what}: " + "; ".join(told) + "."
