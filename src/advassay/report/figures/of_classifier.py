"""Figures about the classifier under attack: accuracy, reliability, confidence and classes."""

from __future__ import annotations

import polars as pl

from advassay.report import captions
from advassay.report.figures import told
from advassay.report.figures.accuracy_by_epsilon import accuracy_by_epsilon
from advassay.report.figures.confidence_flow import confidence_flow_plot
from advassay.report.figures.figure import Figure
from advassay.report.figures.reliability_diagram import reliability_diagram
from advassay.report.figures.transition_matrix import transition_matrices
from advassay.report.findings import Findings
from advassay.report.theme import styles
from advassay.report.wording import amplitude, listed, percent


def fig_accuracy(findings: Findings) -> Figure:
    frame = findings.tables["performance"]
    at = [f"{c} from {_share_at(frame, c, 0)} clean to {_share_at(frame, c, -1)}" for c in findings.cohorts]
    return Figure(
        "fig-accuracy", "", "Robust accuracy",
        "Share of all attacked images, natively misclassified ones included, that are classified correctly at the last "
        f"iterate; ε = 0 is the clean accuracy on the attacked images. {told.main_arm(findings)}. "
        f"{told.statistics(frame, findings)}.",
        f"Robust accuracy against ε: {listed(at)}.",
        lambda width: accuracy_by_epsilon(frame, styles(findings.cohorts), width=width), "performance", frame,
    )  # fmt: skip


def fig_reliability(findings: Findings) -> Figure | None:
    frame = _clean_and_attacked(findings, "reliability")
    if frame is None:
        return None
    images = frame.group_by("cohort", "epsilon", maintain_order=True).agg(pl.col("n").sum())["n"]
    errors = frame.unique(["cohort", "epsilon"], maintain_order=True)
    said = [f"{row['cohort']} at ε = {row['epsilon']:g}: {row['ece']:.2f}" for row in errors.iter_rows(named=True)]
    return Figure(
        "fig-reliability", "", f"Reliability, clean and at {amplitude(findings.epsilon)}",
        "Share of images classified correctly against the mean confidence (largest probability) of their bin, clean "
        f"and at {amplitude(findings.epsilon)}, last iteration; on the dashed diagonal confidence is earned. "
        f"{frame['bins'][0]} equal bins over [0, 1], empty ones left out. Above each panel: expected calibration error "
        f"(Guo et al. 2017), clean → attacked. {told.main_arm(findings)}. n = {captions.span(images)} images of a "
        f"cohort, natively misclassified ones included; {captions.intervals(frame, findings.level)}.",
        f"Reliability diagrams; expected calibration error of {'; '.join(said)}.",
        lambda width: reliability_diagram(frame, styles(findings.cohorts), width=width), "reliability", frame,
    )  # fmt: skip


def fig_confidence_flow(findings: Findings) -> Figure | None:
    table = findings.tables.get("confidence_flow")
    frame = None if table is None else table.filter(epsilon=findings.epsilon)
    if frame is None or not len(frame):
        return None
    totals = frame.group_by("cohort", maintain_order=True).agg(
        n=pl.col("n").sum(), high=pl.col("n").filter(pl.col("fallen") & (pl.col("adversarial_low") >= 0.9 - 1e-9)).sum()
    )
    said = [f"{r['cohort']} {r['high']} of {r['n']}" for r in totals.iter_rows(named=True)]
    return Figure(
        "fig-confidence-flow", "", f"Confidence before and after the attack at {amplitude(findings.epsilon)}",
        "Attackable images by confidence (largest probability) before and after the attack, in tenths; the area of a "
        "mark is the number of images, circles have fallen, crosses still stand. Fallen with a confidence of at "
        f"least 90 % in the wrong class: {'; '.join(said)}. {told.main_arm(findings)}. "
        f"n = {captions.span(totals['n'])} images of a cohort; counts, no intervals.",
        f"Clean against adversarial confidence. Fallen with at least 90 % confidence: {'; '.join(said)}.",
        lambda width: confidence_flow_plot(frame, styles(findings.cohorts), width=width), "confidence_flow", frame,
    )  # fmt: skip


def fig_transitions(findings: Findings) -> Figure | None:
    frame = _clean_and_attacked(findings, "transitions")
    if frame is None:
        return None
    of_class = frame.group_by("cohort", "epsilon", "label", maintain_order=True).agg(pl.col("n").sum())["n"]
    return Figure(
        "fig-transitions", "", f"Class transitions, clean and at {amplitude(findings.epsilon)}",
        "What images of each class (rows) are taken for (columns), clean and at "
        f"{amplitude(findings.epsilon)}, last iteration: numbers are images, or percent of the class where "
        "those are too many, colour is the share of the class. "
        f"{told.main_arm(findings)}. n = {captions.span(of_class)} images of a class, natively misclassified ones "
        "included; counts, no intervals.",
        f"Confusion matrices, clean and attacked: {'; '.join(_commonest(frame, c) for c in findings.cohorts)}.",
        lambda width: transition_matrices(frame, styles(findings.cohorts), width=width), "transitions", frame,
    )  # fmt: skip


def _clean_and_attacked(findings: Findings, name: str) -> pl.DataFrame | None:
    """Rows of a table at ε = 0 and at the figures' amplitude."""
    table = findings.tables.get(name)
    return None if table is None else table.filter(pl.col("epsilon").is_in([0.0, findings.epsilon]))


def _commonest(frame: pl.DataFrame, cohort: str) -> str:
    """The largest cell off the diagonal under attack, in words."""
    moved = frame.filter(
        (pl.col("cohort") == cohort) & (pl.col("epsilon") > 0) & (pl.col("label") != pl.col("predicted"))
    )
    row = moved.sort("n", descending=True).row(0, named=True)
    return f"{cohort} most often {row['label']} → {row['predicted']} ({row['n']})"


def _share_at(frame: pl.DataFrame, cohort: str, place: int) -> str:
    return percent(frame.filter(cohort=cohort).sort("epsilon")["accuracy"][place], 0)
