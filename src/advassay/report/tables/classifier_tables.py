"""Tables of the classifier: clinical scores, calibration, transitions, confidence, perturbation sizes, subgroups."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.analysis import (
    confidence_flow,
    performance,
    perturbation_size,
    reliability,
    subgroup_effects,
    transitions,
)
from advassay.report.tables.column_labels import columns, of_effects
from advassay.report.tables.success_tables import at_figures_epsilon
from advassay.report.tables.table import TABLES, Printed, Table
from advassay.report.text import captions
from advassay.report.text.number_format import number

if TYPE_CHECKING:
    from advassay.report.data.findings import Findings


def _in_main_arm(findings: Findings) -> dict[str, Any]:
    return {"arm": findings.main_arm, "step_size": findings.in_force.step_size()}


def sizes(findings: Findings) -> pl.DataFrame:
    """Realised size of the perturbation, every arm."""
    frames = [
        perturbation_size(findings.records, arm=arm, step_size=findings.in_force.step_size(arm))
        for arm in findings.records.arms
    ]
    return pl.concat(frames, how="diagonal_relaxed")


TABLES.register(
    Table(
        "performance",
        about="accuracy under attack (robust accuracy), AUROC, sensitivity and specificity, clean and at every ε",
        build=lambda findings: performance(findings.records, **_in_main_arm(findings), level=findings.level),
        says=("level",),
        printed=(
            Printed(
                columns(
                    "cohort* epsilon n accuracy low high auroc sensitivity specificity balanced_accuracy",
                    accuracy="robust accuracy",
                ),
                lambda findings: "Scores on all attacked images at the last iteration, "
                f"{captions.in_main_arm(findings)}. "
                "Scores without an attack, of all scored images, are in Table 1. Sensitivity and specificity are those "
                "of the positive class. With more than two classes they are empty, and balanced accuracy stands for "
                "them: the mean over classes of the share that is found.",
                "results", 210, group="cohort", rows=lambda frame, findings: frame.filter(pl.col("epsilon") > 0),
                fold="Accuracy, AUROC, sensitivity and specificity under attack",
            ),
        ),
        of_figure=(),
    )
)  # fmt: skip
TABLES.register(
    Table(
        "reliability",
        about="accuracy by bins of confidence, with the expected calibration error, clean and attacked",
        build=lambda findings: reliability(
            findings.records, **_in_main_arm(findings), epsilon=findings.epsilon, level=findings.level
        ),
        says=("level",),
        of_figure=columns("cohort* epsilon bin_low bin_high confidence accuracy low high n ece method"),
    )
)
TABLES.register(
    Table(
        "confidence_flow",
        about="images by confidence before and after the attack",
        build=lambda findings: confidence_flow(
            findings.records, **_in_main_arm(findings), epsilon=findings.epsilon
        ),
        of_figure=columns(
            "cohort* epsilon clean_low clean_high adversarial_low adversarial_high fallen n",
            fallen="misclassified", n="images",
        ),
    )
)  # fmt: skip
TABLES.register(
    Table(
        "transitions",
        about="images by class and predicted class, clean and attacked",
        build=lambda findings: transitions(findings.records, **_in_main_arm(findings)),
        of_figure=columns("cohort* epsilon label predicted n share", n="images"),
    )
)
TABLES.register(
    Table(
        "perturbation_size",
        about="realised size of the perturbation, similarity and contrast, every arm",
        build=sizes,
        printed=(
            Printed(
                columns("quantity* cohort arm n q25 median q75", median="median", q25="25 %", q75="75 %"),
                "Quartiles over the attacked images at the last iterate, every arm, at the amplitude of the figures "
                "(other ε: CSV). L∞ and L2 norm and contrast are on the [0, 1] range, PSNR is in dB.",
                "results", 160, group="quantity", companion=True,
                rows=lambda frame, findings: at_figures_epsilon(frame, findings).sort("quantity", maintain_order=True),
                fold="Realised size of the perturbation",
                title="quartiles of the realised perturbation over the attacked images, at the figures' amplitude: L∞ "
                "and L2 norm and contrast on the [0, 1] range, PSNR in dB",
            ),
        ),
    )
)  # fmt: skip


SUBGROUP_DIFFERENCES = of_effects([
    replace(column, show=number) if column.key in ("estimate", "low", "high") else column
    for column in columns(
        "subgroup* group reference estimate low high cohorts n p p_holm", reference="against",
        estimate="ratio of ε₅₀", n="attackable images", p_holm="p, Holm over all groups",
    )
], lambda row: "ratio")  # fmt: skip
SUBGROUPS = columns(
    "subgroup* cohort group n patients text text_255 epsilon attacked robust_accuracy robust_accuracy_low "
    "robust_accuracy_high",
    n="attackable images", text="ε₅₀ with interval", text_255="in grey levels of 255",
    attacked="attacked images", robust_accuracy="robust accuracy", robust_accuracy_low="from",
    robust_accuracy_high="to",
)  # fmt: skip


def _subgroups_caption(findings: Findings) -> str:
    clustered = "clustered by patient" if findings.patients_known else "over images taken as independent"
    return (
        f"ε₅₀ and robust accuracy by group, {captions.in_main_arm(findings)} {clustered}. Robust accuracy is the share "
        "of all attacked images of the group that are still classified correctly at the last iterate at this ε."
    )


TABLES.register(
    Table(
        "subgroups",
        about="ε50 (by success and dose) and robust accuracy (at the last iterate) by group (sex, age band, site, …), "
        "and ratios of ε50 between groups",
        build=lambda findings: subgroup_effects(findings.records) if findings.decided else pl.DataFrame(),
        says=("success", "dose", "level"),
        printed=(
            Printed(
                SUBGROUP_DIFFERENCES,
                lambda findings: "Ratio of ε₅₀ between groups of images within cohorts, pooled over cohorts. Below 1 "
                "the group is easier to fool than the one it is compared with. Judged as the verdicts are: "
                f"{captions.in_main_arm(findings)}.",
                "results", 172, name="subgroup_differences", group="subgroup", companion=True,
                rows=lambda frame, findings: frame.filter(row="difference"), title="ratio of ε50 between groups",
            ),
            Printed(
                SUBGROUPS, _subgroups_caption, "results", 174, group="subgroup", companion=True,
                rows=lambda frame, findings: frame.filter(row="group"), fold="Every group of every cohort",
                title="ε50 and robust accuracy by group",
            ),
        ),
    )
)  # fmt: skip
