"""Figures behind the results: guards and failure indicators, training curves."""

from __future__ import annotations

import polars as pl

from advassay.report import captions
from advassay.report.figures import told
from advassay.report.figures.figure import Figure
from advassay.report.figures.flag_shares import flag_shares
from advassay.report.figures.training_curves import training_curves
from advassay.report.findings import Findings
from advassay.report.theme import styles
from advassay.report.wording import listed, percent


def fig_flags(findings: Findings) -> Figure | None:
    frame = findings.tables.get("flags_by_epsilon")
    if frame is None:
        return None
    top = frame.sort("share", descending=True).head(3)
    said = [
        f"{r['flag'].replace('_', ' ')} {percent(r['share'], 0)} (arm {r['arm']}, ε = {r['epsilon']:g})"
        for r in top.iter_rows(named=True)
    ]
    return Figure(
        "fig-flags", "", "Guards and failure indicators over ε",
        "Share of attacked images that carry each flag, pooled over cohorts, in percent; a flag that no image of any "
        "arm carries is left out (meanings: table of flags). A low success rate beside many flags is a failed attack, "
        f"not robustness. {told.every_arm(findings, every_step_size=True)}. "
        f"n = {captions.span(frame['n'])} images at each ε; "
        "counts, no intervals.",
        f"Share of flagged images by arm and ε; most often: {'; '.join(said)}.",
        lambda width: flag_shares(frame, width=width), "flags_by_epsilon", frame,
    )  # fmt: skip


def fig_training(findings: Findings) -> Figure | None:
    if "training" not in findings.tables:
        return None
    mains = {header.classifier for header in findings.headers()}
    order = pl.DataFrame({"cohort": list(findings.cohorts)})
    frame = findings.tables["training"].filter(pl.col("classifier").is_in(mains))
    frame = order.join(frame, on="cohort", maintain_order="left_right").filter(pl.col("classifier").is_not_null())
    if not len(frame):
        return None
    return Figure(
        "fig-training", "", "Training curves",
        "Training loss, tuning loss and tuning accuracy of each cohort's main network at every evaluation. "
        + _tuned_on(findings),
        "Training curves of " + listed(list(findings.cohorts)) + ".",
        lambda width: training_curves(frame, styles(findings.cohorts), width=width), "training", frame,
    )  # fmt: skip


def _tuned_on(findings: Findings) -> str:
    """On which images the tuning curves were taken, by cohort."""
    documents = [findings.records.training(header.classifier) for header in findings.headers()]
    known = [document for document in documents if document is not None]
    without = [d.cohort for d in known if not any("tuning_loss" in entry for entry in d.history)]
    validated = [d.cohort for d in known if d.cohort not in without and d.spec.get("select_on") == "validation"]
    tuned = [d.cohort for d in known if d.cohort not in without + validated]
    said = []
    if tuned:
        of = "" if len(tuned) == len(known) else f" of {listed(tuned)}"
        said.append(f"The tuning part{of} is neither trained on nor attacked.")
    if validated:
        said.append(f"Tuning curves of {listed(validated)} are on the validation images, which chose the checkpoint.")
    if without:
        said.append(f"{listed(without)} had no tuning part.")
    return " ".join(said)
