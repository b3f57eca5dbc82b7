"""Sentences and choices that captions and alt texts share: arms, scaling, margins, where curves end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from advassay.analysis import Conclusion
from advassay.analysis.conclusions.conclusion_text import what_counts
from advassay.records.gallery import Example
from advassay.report.data import stored_counts
from advassay.report.data.findings import Findings
from advassay.report.figures.image_panels import Row
from advassay.report.figures.theme import styles
from advassay.report.text import caption_phrases
from advassay.report.text.number_format import amplitude, listed, percent
from advassay.store_layout import Store


def main_step_sizes(findings: Findings, arm: str | None = None) -> dict[str, str]:
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
    grid = stored_counts.shared_epsilons(findings.headers(arm), findings.step_size(arm))
    return stored_counts.nearest_available(findings.epsilon, grid) or findings.epsilon


def image_rows(findings: Findings, make: Callable[..., list[Row]]) -> list[Row]:
    """Rows of an image figure, made by `make` from the kept images."""
    gallery, drawn = Store(findings.records.root).gallery, styles(findings.cohorts)
    steps = main_step_sizes(findings, pictured_arm(findings))
    return make(gallery, examples(findings), steps, drawn, picture_epsilon(findings))


def pictured(findings: Findings) -> str:
    """The attack of the image figures in words, and whether it is another one than that of the verdicts."""
    arm = pictured_arm(findings)
    if arm == findings.main_arm:
        return main_arm(findings)
    return (
        f"{caption_phrases.attack(findings.headers(arm), findings.step_size(arm))}; the verdicts rest on arm "
        f"{findings.main_arm}, of which no images were kept"
    )


def main_arm(findings: Findings) -> str:
    """The attack of the main curves in words."""
    return caption_phrases.attack(findings.headers(), findings.step_size(findings.main_arm))


def when(findings: Findings) -> str:
    """When an image counts as misclassified, by the reading of the plan."""
    return caption_phrases.WHEN[findings.plan.success]


def every_arm(findings: Findings, *, every_step_size: bool = False) -> str:
    """Every arm's attack in words, at the step size that is shown or with all of them."""
    return ". ".join(
        caption_phrases.attack(findings.headers(arm), None if every_step_size else findings.step_size(arm))
        for arm in findings.records.arms
        if findings.headers(arm)
    )


def statistics(frame: pl.DataFrame, findings: Findings) -> str:
    """How many images a point rests on and how its interval was made."""
    return f"{caption_phrases.sample(frame)}; {caption_phrases.intervals(frame, findings.level)}"


def scaling(findings: Findings) -> str:
    """How pixel values became [0, 1], by cohort: the window of what the image figures show."""
    known = [p for name, p in findings.records.preparations.items() if name in findings.cohorts]
    ways: dict[str, list[str]] = {}
    for p in known:
        ways.setdefault(f"{p.scaling}, {p.bits} bit", []).append(p.cohort)
    told = [f"{way} ({', '.join(names)})" for way, names in ways.items()]
    return f" Grey scale as prepared for the network: {listed(told)}." if told else ""


def bit_depth_note(findings: Findings) -> str:
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


def cohort_colours(findings: Findings) -> dict[str, str]:
    """Cohort → hue of its image type."""
    return {cohort: style.colour for cohort, style in styles(findings.cohorts).items()}


def describe_endpoints(
    frame: pl.DataFrame, x: str, unit: str, what: str = "Attack success rate", rate: str = "rate"
) -> str:
    """Where each cohort's curve begins and ends, for readers who do not see it."""
    told = []
    for (cohort,), part in frame.filter(pl.col("n") > 0).sort(x).group_by("cohort", maintain_order=True):
        first, last = part.row(0, named=True), part.row(-1, named=True)
        told.append(
            f"{cohort} from {percent(first[rate], 0)} at {unit} {first[x]:g} to {percent(last[rate], 0)} at {last[x]:g}"
        )
    return f"{what}: " + "; ".join(told) + "."


def _clean_and_attacked(findings: Findings, name: str) -> pl.DataFrame | None:
    """Rows of a table at ε = 0 and at the figures' amplitude."""
    table = findings.tables.get(name)
    return None if table is None else table.filter(pl.col("epsilon").is_in([0.0, findings.epsilon]))


def describe_shared_grid(findings: Findings) -> list[str]:
    """A sentence where cohorts of the main arm were attacked at different ε; none where all have the same."""
    size = findings.step_size(findings.main_arm)
    grids = {
        h.cohort: tuple(p.epsilon for p in h.points if p.epsilon > 0 and p.step_size == size)
        for h in findings.headers()
    }
    if len({frozenset(grid) for grid in grids.values()}) < 2:
        return []
    common = sorted(set.intersection(*map(set, grids.values())))
    own = [f"{cohort} {min(grid):g} to {max(grid):g}" for cohort, grid in grids.items() if grid]
    at = listed([f"{epsilon:g}" for epsilon in common]) if common else "none"
    return [
        f"The cohorts were attacked at different amplitudes ({'; '.join(own)}). Questions 1 and 3 compare them at the "
        f"amplitudes that all share: ε = {at}. ε50 rests on each cohort's own."
    ]


def describe_unreachable(findings: Findings, arms: Sequence[str] | None = None) -> list[str]:
    """One sentence per arm and step size with amplitudes that the attack could not use: they are one trajectory.

    `arms`: None = all of the store.
    """
    from advassay.analysis.dose_response.thresholds import reachable
    from advassay.analysis.outcome_arrays import load_outcomes, runs_of, step_sizes

    beyond: dict[tuple[str, str], dict[float, float]] = {}
    for arm in arms or findings.records.arms:
        for run in runs_of(findings.records, arm):
            for step_size in step_sizes(run):
                pack = load_outcomes(run, step_size)
                grid = zip(pack.epsilons.tolist(), reachable(pack).tolist(), strict=True)
                out = {epsilon: used for epsilon, used in grid if used < epsilon * (1 - 1e-9)}
                beyond.setdefault((arm, step_size), {}).update(out)
    return [_unreachable(arm, step_size, out) for (arm, step_size), out in beyond.items() if out]


def _unreachable(arm: str, step_size: str, out: dict[float, float]) -> str:
    limit = f"{max(out.values()):g}"
    return (
        f"Arm {arm}, step {step_size}: all iterations together move no pixel farther than {limit}. The larger "
        f"amplitudes (ε = {listed([f'{epsilon:g}' for epsilon in sorted(out)])}) are therefore one and the same "
        f"attack; ε50 and the verdicts count them once, at {limit}."
    )
