"""Sentences that captions share: which attack, which reading, how many images, which intervals, which amplitudes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import polars as pl

from advassay.analysis.conclusions.conclusion_text import readings, what_counts
from advassay.analysis.conclusions.question import question_of
from advassay.records.run_header import RunHeader
from advassay.report.text.number_format import amplitude, count, listed, percent
from advassay.success import Reading

if TYPE_CHECKING:
    from advassay.analysis import Conclusion
    from advassay.report.data.findings import Findings

WHEN: dict[Reading, str] = {"last": "after the last iteration", "any": "at any iteration up to the last"}
"""Reading → when an image counts as misclassified."""
JUDGED: dict[Reading, str] = {
    "last": "Success is judged at the last iterate (reading: last)",
    "any": "An image counts from the first iterate that misclassifies it (reading: any)",
}
OVER_ITERATIONS: dict[Reading, str] = {
    "last": "each iterate judged by itself (reading: last)",
    "any": "an image counting from the first iterate that misclassifies it (reading: any)",
}


def reading(success: Reading) -> str:
    """How success is read, and which images count."""
    return f"{JUDGED[success]}. Images that are misclassified without an attack are not counted."


def when(findings: Findings) -> str:
    """When an image counts as misclassified, by the reading of the plan."""
    return WHEN[findings.plan.success]


def attack(headers: Iterable[RunHeader], step_size: str | None = None) -> str:
    """The arm in words, e.g. "Arm A: projected-sign, cross-entropy loss, L∞, step 0.01, 20 iterations".

    `step_size`: the one that is shown, where it is one of several; None = all are.
    """
    runs = list(headers)
    sizes = step_sizes(runs[:1])
    shown = None if step_size is None else step_size.replace("epsilon", "ε")
    step = listed(sizes) if shown is None or sizes == [shown] else f"{shown} (of {listed(sizes)})"
    rules = runs[0].attack
    norm = {"linf": "L∞", "l2": "L2"}.get(str(rules.get("norm")), str(rules.get("norm")))
    start = ", random start" if rules.get("random_start") else ""
    aim = ", targeted" if rules.get("targeted") else ""
    steps = sorted({run.steps for run in runs})
    return (
        f"Arm {runs[0].arm}: {rules.get('update')}, {rules.get('loss')} loss, {norm}, "
        f"step {step}, {listed([str(k) for k in steps])} iterations{start}{aim}"
    )


def step_sizes(headers: Iterable[RunHeader]) -> list[str]:
    """Step-size rules of the recorded points, in order, e.g. "0.01", "ε/4"."""
    rules = (point.step_size.replace("epsilon", "ε") for header in headers for point in header.points)
    return list(dict.fromkeys(rules))


def main_attack(findings: Findings) -> str:
    """The attack of the main curves in words."""
    return attack(findings.headers(), findings.step_size(findings.main_arm))


def every_attack(findings: Findings, *, every_step_size: bool = False) -> str:
    """Every arm's attack in words, at the step size that is shown or with all of them."""
    return ". ".join(
        attack(findings.headers(arm), None if every_step_size else findings.step_size(arm))
        for arm in findings.records.arms
        if findings.headers(arm)
    )


def sample(frame: pl.DataFrame) -> str:
    """How many images a point rests on, e.g. "n = 70–87 images of 25–40 patients at each point".

    Patients are not spoken of where each image counts as its own: none may be known.
    """
    known = frame.filter(pl.col("patients").is_not_null())
    patients = "" if (known["n"] == known["patients"]).all() else f" of {span(known['patients'])} patients"
    where = " where patients are known" if patients and len(known) < len(frame) else ""
    return f"n = {span(frame['n'])} images{patients}{where} at each point"


def intervals(frame: pl.DataFrame, level: float) -> str:
    """How the intervals were made, with the number of points for each method."""
    used = frame.filter(pl.col("n") > 0).group_by("method", maintain_order=True).len().sort("len", descending=True)
    methods = [f"{method} ({n})" if len(used) > 1 else method for method, n in used.iter_rows()]
    return f"{100 * level:g} % intervals: {listed(methods)}"


def statistics(frame: pl.DataFrame, findings: Findings, *, points: bool = True) -> str:
    """How many images a point rests on and how its interval was made; `points`: whether points are drawn."""
    few = "; open points rest on fewer than 5 images" if points and (frame["n"] < 5).any() else ""
    return f"{sample(frame)}{few}; {intervals(frame, findings.level)}"


def span(values: pl.Series) -> str:
    """Smallest and largest of some counts, e.g. "7–15"; one number where they agree."""
    numbers = values.to_list()
    low, high = min(numbers), max(numbers)
    return count(low) if low == high else f"{count(low)}–{count(high)}"


def margin(findings: Findings, number: int) -> str:
    """The margin of the conclusion that a figure is about, in words."""
    of = next((c for c in findings.conclusions if c.number == number), None)
    if of is None or of.margin is None:
        return ""
    return f" In conclusion {number} {what_counts(number, of.margin)}{_judged_at(of)}."


def _judged_at(conclusion: Conclusion) -> str:
    """At which amplitude a conclusion is judged besides, where it is."""
    also = question_of(conclusion.number).also_at_epsilon
    epsilons = sorted({row["epsilon"] for row in conclusion.details}) if also else []
    if not epsilons:
        return ""
    return f": on average over all ε, with the estimate at {listed([amplitude(e) for e in epsilons])} within it too"


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


def followed_plan(findings: Findings) -> str:
    """What holds for every figure and table whose caption does not say otherwise."""
    return (
        "Unless a caption says otherwise, figures and tables follow the analysis plan, as the verdicts do: attack arm "
        f"{findings.main_arm} (the main arm), {_step(findings)}; {readings(findings.plan)}; {_level(findings)}. Other "
        "arms are shown at their first declared step size. Accuracy, AUROC, calibration, class transitions and slides "
        "are always of the last iterate, because they need the network's probabilities."
    )


def in_main_arm(findings: Findings) -> str:
    """ "main arm C, step size ε/4, 90% intervals", for a table's caption."""
    return f"main arm {findings.main_arm}, {_step(findings)}, {_level(findings)}"


def in_every_arm(findings: Findings) -> str:
    """The readings and the level of a table over all arms."""
    return f"{readings(findings.plan)}; main arm {findings.main_arm} at {_step(findings)}; {_level(findings)}"


def _step(findings: Findings) -> str:
    return f"step size {findings.step_size(findings.main_arm).replace('epsilon', 'ε')}"


def _level(findings: Findings) -> str:
    return f"{100 * findings.level:g}% intervals"


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
        f"amplitudes that all share: ε = {at}. ε50 rests on each cohort's own amplitudes."
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
