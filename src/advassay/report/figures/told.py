"""Sentences and choices that captions and alt texts of several figures share."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from advassay.analysis import Conclusion
from advassay.analysis.questions.conclusion_text import what_counts
from advassay.layout import Store
from advassay.records.gallery import Example
from advassay.report import amplitudes, captions
from advassay.report.figures.plates import Row
from advassay.report.findings import Findings
from advassay.report.theme import styles
from advassay.report.wording import amplitude, listed, percent


def step_sizes(findings: Findings, arm: str | None = None) -> dict[str, str]:
    """Cohort → the step size at which an arm (None = the main one) is shown."""
    frame = findings.tables["epsilon50"].filter(arm=arm or findings.main_arm)
    return {row["cohort"]: row["step_size"] for row in frame.iter_rows(named=True)}


def pictured_arm(findings: Findings) -> str:
    """The arm of the image figures: the main one, or the first of which images were kept where it has none."""
    kept = {example.arm for example in findings.examples}
    arms = [findings.main_arm, *findings.records.arms]
    return next((arm for arm in arms if arm in kept), findings.main_arm)


def examples(findings: Findings) -> list[Example]:
    """Kept images of the runs that the image figures are about: the main networks under `pictured_arm`."""
    runs = {header.run_id for header in findings.headers(pictured_arm(findings))}
    return [example for example in findings.examples if example.run_id in runs]


def picture_epsilon(findings: Findings) -> float:
    """Amplitude of figure 2: the figures' own, or the one nearest to it in the grid of another arm."""
    arm = pictured_arm(findings)
    grid = amplitudes.shared(findings.headers(arm), findings.step_size(arm))
    return amplitudes.nearest(findings.epsilon, grid) or findings.epsilon


def image_rows(findings: Findings, make: Callable[..., list[Row]]) -> list[Row]:
    """Rows of an image figure, made by `make` from the kept images."""
    gallery, drawn = Store(findings.records.root).gallery, styles(findings.cohorts)
    steps = step_sizes(findings, pictured_arm(findings))
    return make(gallery, examples(findings), steps, drawn, picture_epsilon(findings))


def pictured(findings: Findings) -> str:
    """The attack of the image figures in words, and whether it is another one than that of the verdicts."""
    arm = pictured_arm(findings)
    if arm == findings.main_arm:
        return main_arm(findings)
    return (
        f"{captions.attack(findings.headers(arm), findings.step_size(arm))}; the verdicts rest on arm "
        f"{findings.main_arm}, of which no images were kept"
    )


def main_arm(findings: Findings) -> str:
    """The attack of the main curves in words."""
    return captions.attack(findings.headers(), findings.step_size(findings.main_arm))


def when(findings: Findings) -> str:
    """When an image counts as misclassified, by the reading of the plan."""
    return captions.WHEN[findings.plan.success]


def every_arm(findings: Findings, *, every_step_size: bool = False) -> str:
    """Every arm's attack in words, at the step size that is shown or with all of them."""
    return ". ".join(
        captions.attack(findings.headers(arm), None if every_step_size else findings.step_size(arm))
        for arm in findings.records.arms
        if findings.headers(arm)
    )


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


def margin(findings: Findings, number: int) -> str:
    """The margin of the conclusion that a figure is about, in words."""
    of = next((c for c in findings.conclusions if c.number == number), None)
    if of is None or of.margin is None:
        return ""
    return f" In conclusion {number} {what_counts(number, of.margin)}{_judged_at(of)}."


def _judged_at(conclusion: Conclusion) -> str:
    """At which amplitude question 3 is judged."""
    epsilons = sorted({row["epsilon"] for row in conclusion.details if conclusion.number == 3})
    if not epsilons:
        return ""
    return f": on average over all ε, with the estimate at {listed([amplitude(e) for e in epsilons])} within it too"


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
