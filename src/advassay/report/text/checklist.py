"""The evaluation checklist of Carlini et al. 2019 (arXiv 1902.06705, section 5), answered from what the store holds.

Questions are in our words. An answer is yes, partly, no or not applicable, and says what it rests on. What was not
tried in this store is a plain no.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import polars as pl

from advassay.report.tables.evidence_tables import KINDS
from advassay.report.text import captions
from advassay.report.text.not_shown import has_transfers, without_gradients
from advassay.report.text.number_format import count, interval, listed, percent
from advassay.spec.attack_components import UPDATE_RULES

if TYPE_CHECKING:
    from advassay.report.data.findings import Findings

Verdict = Literal["yes", "partly", "no", "not applicable"]
CEILING = 0.98
"""A curve that comes this high has reached the end of what ε can show."""


@dataclass(frozen=True)
class Answer:
    """One answered question."""

    verdict: Verdict
    evidence: str


def checklist(findings: Findings) -> pl.DataFrame:
    """Columns: question, answer, evidence; one row a question."""
    answers = [(question, ask(findings)) for question, ask in QUESTIONS.items()]
    rows = [{"question": question, "answer": a.verdict, "evidence": a.evidence} for question, a in answers]
    return pl.DataFrame(rows, schema={"question": pl.String, "answer": pl.String, "evidence": pl.String})


def _threat_model(findings: Findings) -> Answer:
    norms = listed(sorted({_norm(header.attack.get("norm")) for header in findings.runs}))
    aims = {bool(header.attack.get("targeted")) for header in findings.runs}
    aim = "a wrong class" if aims == {False} else "a chosen class" if aims == {True} else "a wrong or a chosen class"
    grid = [point.epsilon for header in findings.runs for point in header.points if point.epsilon > 0]
    return Answer(
        "yes",
        f"The attacker knows the network and its weights, wants {aim}, and changes the prepared image by at most ε in "
        f"{norms}, ε from {min(grid):g} to {max(grid):g} of the [0, 1] range.",
    )


def _norm(name: object) -> str:
    return {"linf": "L∞", "l2": "L2"}.get(str(name), str(name))


def _adaptive(findings: Findings) -> Answer:
    losses = listed(list(dict.fromkeys(str(header.attack.get("loss")) for header in findings.runs)))
    return Answer("not applicable", f"No defence is evaluated. Losses attacked directly: {losses}.")


def _clean_accuracy(findings: Findings) -> Answer:
    clean = findings.tables["performance"].filter(epsilon=0.0)
    said = [f"{c} {percent(a)}" for c, a in clean.select("cohort", "accuracy").iter_rows()]
    return Answer(
        "yes", f"Clean accuracy on the attacked images: {', '.join(said)} (see the figure of robust accuracy)."
    )


def _iterations_help(findings: Findings) -> Answer:
    frame = findings.of_main_arm("success_by_iteration").filter(pl.col("epsilon") == findings.epsilon, pl.col("n") > 0)
    by_cohort = frame.sort("step").group_by("cohort", maintain_order=True)
    ends = by_cohort.agg(first=pl.col("rate").first(), last=pl.col("rate").last(), k=pl.col("step").last())
    worse = ends.filter(pl.col("last") < pl.col("first"))["cohort"].to_list()
    said = [f"{r['cohort']} {percent(r['first'], 0)} → {percent(r['last'], 0)}" for r in ends.iter_rows(named=True)]
    return Answer(
        "no" if worse else "yes",
        f"Success after 1 and after the last iteration at ε = {findings.epsilon:g}, main arm: {', '.join(said)}"
        + (f"; lower at the end: {listed(worse)}." if worse else "."),
    )


def _budget_helps(findings: Findings) -> Answer:
    frame = findings.tables["success_by_arm"].filter(pl.col("success") == "last", pl.col("n") > 0)
    falling = [
        f"{cohort} (arm {arm})"
        for (cohort, arm, _), part in frame.sort("epsilon").group_by("cohort", "arm", "step_size", maintain_order=True)
        if (part["rate"].diff().drop_nulls() < 0).any()
    ]
    if not falling:
        return Answer("yes", "In no cohort and no arm does success at the last iterate fall as ε grows.")
    return Answer(
        "partly" if len(falling) < frame.select("cohort", "arm", "step_size").n_unique() else "no",
        f"Success at the last iterate falls somewhere as ε grows: {', '.join(dict.fromkeys(falling))}. The cause may "
        f"be "
        "chance, a raw-gradient step or a coarse step.",
    )


def _large_epsilon(findings: Findings) -> Answer:
    classes = {header.cohort: len(header.class_names) for header in findings.runs}
    ends = findings.tables["performance"].sort("epsilon").group_by("cohort", maintain_order=True).last()
    above = [r["cohort"] for r in ends.iter_rows(named=True) if r["high"] > 1 / classes[r["cohort"]]]
    said = [
        f"{r['cohort']} {percent(r['accuracy'], 0)} [{interval(r['low'], r['high'])}] at ε = {r['epsilon']:g}"
        for r in ends.iter_rows(named=True)
    ]
    return Answer(
        _all_or_some(above, ends["cohort"]),
        f"Accuracy at the largest ε of the main arm: {', '.join(said)}; guessing gives 1 divided by the number of "
        f"classes.",
    )


def _curve_to_the_end(findings: Findings) -> Answer:
    frame = findings.tables["success_by_arm"].filter(pl.col("n") > 0)
    best = frame.group_by("cohort", maintain_order=True).agg(pl.col("rate").max())
    short = best.filter(pl.col("rate") < CEILING)["cohort"].to_list()
    said = [f"{c} {percent(r, 0)}" for c, r in best.iter_rows()]
    return Answer(_all_or_some(short, best["cohort"]), f"Highest success over ε, arms and readings: {', '.join(said)}.")


def _stronger(findings: Findings) -> Answer:
    controls = findings.tables.get("controls_by_arm")
    rows = None if controls is None else controls.filter(control=KINDS[2])
    if rows is None or not len(rows):
        return Answer("no", "No stronger attack was run beside the declared one.")
    by_arm = rows.group_by("arm", maintain_order=True).agg(pl.col("events", "n").sum())
    said = [f"arm {arm} {events} of {n}" for arm, events, n in by_arm.iter_rows()]
    return Answer(
        "yes",
        "On a sample, image by image: images that a stronger attack misclassified and the declared one did not, over "
        "its ε: "
        f"{', '.join(said)}.",
    )


def _noise(findings: Findings) -> Answer:
    controls = findings.tables.get("controls_by_arm")
    rows = None if controls is None else controls.filter(control=KINDS[1])
    tried, lacking = [], []
    if rows is not None and len(rows):
        largest = rows.sort("epsilon").group_by("arm", maintain_order=True).last().sort("arm")
        said = [
            f"arm {r['arm']} {r['events']} of {r['n']} at ε = {r['epsilon']:g}" for r in largest.iter_rows(named=True)
        ]
        tried.append(f"Random sign noise: misclassified images, {', '.join(said)}.")
    elif not has_transfers(findings):
        lacking.append("random noise")
    if has_transfers(findings):
        tried.append(_TRANSFERRED)
    else:
        lacking.append("transfer")
    if without_gradients(findings):
        tried.append(_without_gradients(findings))
    else:
        lacking.append("black-box attacks")
    left = f" Not tried: {listed(lacking)}." if lacking else ""
    return Answer("yes" if not lacking else "partly" if tried else "no", f"{' '.join(tried)}{left}".strip())


_TRANSFERRED = (
    "Images attacked on each network of a cohort, and random noise of the same size, were scored by its other networks."
)


def _without_gradients(findings: Findings) -> str:
    arms = [arm for arm in findings.records.arms if _follows_no_gradient(findings, arm)]
    return f"Attacks without gradients: arm {listed(arms)}."


def _parameters(findings: Findings) -> Answer:
    arms = [findings.headers(arm) for arm in findings.records.arms]
    return Answer("yes", " · ".join(captions.attack(headers) for headers in arms if headers) + " (Methods).")


def _diverse(findings: Findings) -> Answer:
    pairs = {(str(h.attack.get("update")), str(h.attack.get("loss"))) for h in findings.runs}
    told = listed([f"{update} with {loss} loss" for update, loss in sorted(pairs)])
    how = "With and without gradients" if without_gradients(findings) else "All by gradients"
    return Answer("yes" if len(pairs) > 1 else "no", f"{how}: {told}.")


def _gradient_free(findings: Findings) -> Answer:
    if without_gradients(findings):
        return Answer("yes", _without_gradients(findings))
    return Answer(
        "no", "No attack without gradients was run, and none that uses decisions alone. Random noise is not a search."
    )


def _follows_no_gradient(findings: Findings, arm: str) -> bool:
    rules = (UPDATE_RULES.find(header.attack.get("update")) for header in findings.headers(arm))
    return any(rule is not None and not rule.needs_gradient for rule in rules)


def _transfer(findings: Findings) -> Answer:
    if has_transfers(findings):
        return Answer("yes", f"{_TRANSFERRED} No network was trained to stand in for another one.")
    return Answer("no", "No substitute model was attacked.")


def _randomness(findings: Findings) -> Answer:
    came = sum(header.flag_counts.get("train_mode", 0) > 0 for header in findings.runs)
    note = f" {count(came)} runs attacked a network that came in train mode." if came else ""
    return Answer(
        "not applicable", f"Networks are attacked and judged in evaluation mode, in which nothing is random.{note}"
    )


def _vanishing(findings: Findings) -> Answer:
    rows = findings.tables.get("flags_by_arm")
    found = None if rows is None else rows.filter(pl.col("flag").is_in(["zero_gradient", "saturated", "nan_gradient"]))
    if found is None or not len(found):
        return Answer("yes", "No image carries a flag of a vanished gradient or a saturated loss.")
    said = [
        f"{r['flag'].replace('_', ' ')} {percent(r['share'])} (arm {r['arm']})" for r in found.iter_rows(named=True)
    ]
    again = findings.tables.get("reruns")
    if again is None:
        return Answer("partly", f"Flagged rows: {', '.join(said)}. They were not attacked again under the margin loss.")
    missed, n = int(again["only_again"].sum()), int(again["n"].sum())
    return Answer(
        "yes",
        f"Flagged rows: {', '.join(said)}. Attacked again under the margin loss: {missed} of {n} were misclassified "
        f"only then.",
    )


def _converged(findings: Findings) -> Answer:
    rows = findings.tables.get("flags_by_arm")
    found = None if rows is None else rows.filter(flag="not_converged")
    if found is None or not len(found):
        return Answer(
            "yes", "No image that is still correct had a loss that was rising in the last quarter of the iterations."
        )
    said = [f"arm {r['arm']} {r['events']} of {r['n']} rows" for r in found.iter_rows(named=True)]
    return Answer("partly", f"Still correct, with a loss that was rising in the last quarter: {', '.join(said)}.")


def _searched(findings: Findings) -> Answer:
    steps = sorted({header.steps for header in findings.runs})
    sizes = captions.step_sizes(findings.runs)
    restarts = max(int(header.attack.get("restarts") or 1) for header in findings.runs)
    verdict: Verdict = "yes" if restarts > 1 and len(sizes) > 1 else "partly" if len(sizes) > 1 else "no"
    return Answer(
        verdict,
        f"Step sizes {listed(sizes)}; {listed([str(k) for k in steps])} iterations, each of them judged; "
        f"{restarts} start{'s' if restarts > 1 else ''} per image. The checklist advises far more iterations "
        "for claims of robustness; success is a lower bound.",
    )


def _prior_work(findings: Findings) -> Answer:
    return Answer(
        "yes", "Each conclusion is shown beside what Kovalev and Voynov 2019 published, with alternative explanations."
    )


def _released(findings: Findings) -> Answer:
    kept = {h.weights_sha256[:12] for h in findings.runs if h.weights_sha256}
    return Answer(
        "partly",
        f"Weights of {count(len(kept))} networks are named by SHA-256. The store holds those trained here, and the "
        "study file is below. The author decides whether they are public.",
    )


def _all_or_some(lacking: list[str], cohorts: Iterable[str]) -> Verdict:
    everything = list(cohorts)
    return "yes" if not lacking else "no" if len(lacking) == len(everything) else "partly"


QUESTIONS: dict[str, Callable[[Findings], Answer]] = {
    "Is it said what the attacker wants, knows and may change?": _threat_model,
    "Is the attack adapted to the defence?": _adaptive,
    "Is the accuracy without an attack reported?": _clean_accuracy,
    "Do many iterations do better than one?": _iterations_help,
    "Does more ε never lower success?": _budget_helps,
    "Does a large ε bring the network down to guessing?": _large_epsilon,
    "Is success shown over ε, up to where nearly all images are misclassified?": _curve_to_the_end,
    "Is the attack compared with a stronger one, image by image?": _stronger,
    "Were noise, transfer and black-box attacks tried as well?": _noise,
    "Are all parameters of the attacks given?": _parameters,
    "Are the attacks of different kinds?": _diverse,
    "Was an attack without gradients tried?": _gradient_free,
    "Was an attack through a substitute model tried?": _transfer,
    "Is randomness of the network averaged over?": _randomness,
    "Were vanished gradients and saturated losses searched for?": _vanishing,
    "Have the attacks converged?": _converged,
    "Were step sizes, iterations and starts explored?": _searched,
    "Is it compared with earlier work?": _prior_work,
    "Can others get the networks and the code?": _released,
}
