"""The figures of the reference study: 1, 2 and 3a to 3d, with captions and alt texts."""

from __future__ import annotations

import polars as pl

from advassay.report import captions, compared_amplitudes
from advassay.report.figures import told
from advassay.report.figures.examples import example_rows
from advassay.report.figures.figure import Figure
from advassay.report.figures.pairs import pair_rows
from advassay.report.figures.plates import plate
from advassay.report.figures.success_by_confidence import success_by_confidence
from advassay.report.figures.success_by_epsilon import success_by_epsilon
from advassay.report.figures.success_by_iteration import success_by_iteration, success_by_iteration_at_every_epsilon
from advassay.report.figures.success_by_training_size import success_by_training_size
from advassay.report.findings import Findings
from advassay.report.theme import styles
from advassay.report.wording import amplitude, listed, percent


def fig1(findings: Findings) -> Figure | None:
    rows = told.image_rows(findings, example_rows)
    if not rows:
        return None
    return Figure(
        "fig-1", "1", "Example images and their adversarial versions over ε",
        f"One image per cohort, original and after the last iteration, with what was added below it. "
        f"{told.pictured(findings)}. Under each image: the predicted class with its probability, bold where "
        "it is no longer the true one. Differences are magnified by the stated factor around mid-grey. Images are "
        f"enlarged by whole factors (nearest neighbour) and {told.depth(findings)}."
        f"{told.scaling(findings)} Of the kept images that were classified correctly, the one that fell at the "
        "smallest ε is shown, the first by id of several.",
        f"Images of {listed([row.title for row in rows])}: original, adversarial at rising ε, magnified differences.",
        lambda width: plate(rows, stacked=True, columns=5 if width > 500 else 2), rows=tuple(rows),
    )  # fmt: skip


def fig2(findings: Findings) -> Figure | None:
    rows = told.image_rows(findings, pair_rows)
    if not rows:
        return None
    return Figure(
        "fig-2", "2", f"Successful attacks at {amplitude(told.picture_epsilon(findings))}",
        f"Original, adversarial and what was added, of images misclassified after the last iteration at "
        f"{amplitude(told.picture_epsilon(findings))}. {told.pictured(findings)}. "
        f"Under each image: class and the network's confidence in it; under the "
        f"difference: its magnification around mid-grey.{told.scaling(findings)} Kept images only (a few per class, "
        "drawn before any result was known); each class transition is shown once before one is repeated.",
        "Original, adversarial image and magnified difference, by cohort: "
        + listed([f"{row.title} ({len(row.cells)})" for row in rows]) + ".",
        lambda width: plate(rows, stacked=False, columns=2 if width > 500 else 1), rows=tuple(rows),
    )  # fmt: skip


def fig3a(findings: Findings) -> Figure:
    frame = findings.tables["success_by_epsilon"]
    return Figure(
        "fig-3a", "3a", "Success against amplitude",
        f"Attack success rate against ε {told.when(findings)}. {told.main_arm(findings)}. "
        f"{captions.reading(findings.plan.success)} {told.statistics(frame, findings)}."
        f"{told.margin(findings, 1)}{_coinciding(frame)}"
        + "".join(f" {text}" for text in compared_amplitudes.unreachable(findings, [findings.main_arm])),
        told.ends(frame, "epsilon", "ε"),
        lambda width: success_by_epsilon(frame, styles(findings.cohorts), width=width), "success_by_epsilon", frame,
    )  # fmt: skip


def fig3b(findings: Findings) -> Figure:
    frame = findings.of_main_arm("success_by_iteration").filter(epsilon=findings.epsilon)
    return Figure(
        "fig-3b", "3b", f"Success against iterations at {amplitude(findings.epsilon)}",
        f"Attack success rate after 1 to {max(frame['step'].to_list())} iterations at {amplitude(findings.epsilon)}, "
        f"{captions.OVER_ITERATIONS[findings.plan.success]}. {told.main_arm(findings)}. "
        f"{told.statistics(frame, findings)}.{told.margin(findings, 3)}",
        told.ends(frame, "step", "iteration"),
        lambda width: success_by_iteration(frame, styles(findings.cohorts), width=width), "success_by_iteration", frame,
    )  # fmt: skip


def fig3b_rest(findings: Findings) -> Figure | None:
    frame = findings.of_main_arm("success_by_iteration").filter(pl.col("epsilon") != findings.epsilon)
    if not len(frame):
        return None
    grid = sorted(set(frame["epsilon"].to_list()))
    return Figure(
        "fig-3b-all", "3b, other ε", "Success against iterations at the other amplitudes",
        f"As figure 3b, one panel for each ε: {listed([f'{e:g}' for e in grid])}. "
        f"{told.main_arm(findings)}. {told.statistics(frame, findings)}.",
        f"Small multiples of figure 3b at ε from {grid[0]:g} to {grid[-1]:g}.",
        lambda width: success_by_iteration_at_every_epsilon(frame, styles(findings.cohorts), width=width),
        "success_by_iteration", frame,
    )  # fmt: skip


def fig3c(findings: Findings) -> Figure:
    frame = findings.of_main_arm("success_by_confidence").filter(epsilon=findings.epsilon)
    used = [
        cohort for cohort, below in frame.filter(pl.col("bin_low") < 0.5).select("cohort", "n").iter_rows() if below
    ]
    apart = f" Images of {listed(used)} below 0.5 are a bin of their own." if used else ""
    return Figure(
        "fig-3c", "3c", f"Success against clean confidence at {amplitude(findings.epsilon)}",
        "Attack success rate by the largest probability of the clean image (softmax in float64), in ten bins "
        f"[low, high) over [0.5, 1], the last one closed, at {amplitude(findings.epsilon)}, "
        f"{told.when(findings)}.{apart} "
        f"{told.main_arm(findings)}. Numbers above the axis: attackable images n in each bin.{_suspects(frame)} "
        f"{captions.intervals(frame, findings.level)}.{told.margin(findings, 4)} The other arms "
        "are in tables/success_by_confidence.csv.",
        "Success rate with interval in ten bins of clean confidence for "
        + listed([f"{c} ({_high_confidence(frame, c)})" for c in findings.cohorts]) + ".",
        lambda width: success_by_confidence(frame, styles(findings.cohorts), width=width),
        "success_by_confidence", frame,
    )  # fmt: skip


def _suspects(frame: pl.DataFrame) -> str:
    if not (frame["suspect_images"] > 0).any():
        return ""
    return (
        " †: those of them flagged as saturated or without a gradient, which may stand because the attack failed, not "
        "because the network is robust."
    )


def fig3d(findings: Findings) -> Figure | None:
    frame = findings.tables.get("success_by_training_size")
    if frame is None or findings.series_epsilon is None:
        return None
    seeds = frame["seed"].n_unique()
    return Figure(
        "fig-3d", "3d", f"Success against training-set size at {amplitude(findings.series_epsilon)}",
        "Attack success rate of networks trained on nested subsets, the same validation images and number of "
        f"updates for every size, at {amplitude(findings.series_epsilon)}, {told.when(findings)}. "
        f"One point is one network "
        f"({len(frame)} networks, {seeds} seed{'s' if seeds > 1 else ''}); the dashed line joins the means over seeds. "
        f"{_series_arm(findings)}. {told.statistics(frame, findings)}; they hold the images' spread, not that "
        f"between networks.{told.margin(findings, 5)}",
        told.ends(frame, "train_size", "training images"),
        lambda width: success_by_training_size(frame, styles(findings.cohorts), width=width),
        "success_by_training_size", frame,
    )  # fmt: skip


def _series_arm(findings: Findings) -> str:
    """The attack of figure 3d in words, and whether conclusion 5 rests on another one."""
    arm = findings.series_arm
    said = captions.attack([h for h in findings.runs if h.arm == arm], findings.step_size(arm))
    if arm == findings.main_arm:
        return said
    return f"{said}; conclusion 5 is judged in arm {findings.main_arm}, which attacked no networks of other sizes"


def _coinciding(frame: pl.DataFrame) -> str:
    """A warning where curves of one panel lie on one another, as at 100 %."""
    points = frame.filter(pl.col("n") > 0).group_by("image_type", "epsilon", "rate").len()
    shared = points.filter(pl.col("len") > 1)["rate"].unique().sort().to_list()
    return f" Curves lie on one another at {listed([percent(r, 0) for r in shared])}." if shared else ""


def _high_confidence(frame: pl.DataFrame, cohort: str) -> str:
    top = frame.filter(cohort=cohort).sort("bin_low").row(-1, named=True)
    return f"{percent(top['rate'], 0)} of {top['n']} in the highest bin {top['bin']}"
