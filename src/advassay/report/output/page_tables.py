"""The tables of the page: which columns are printed, under which words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from advassay.analysis import Conclusion
from advassay.analysis.conclusions.conclusion import kind_of_effect
from advassay.report.data.findings import Findings
from advassay.report.data.sanity_evidence import KINDS
from advassay.report.data.stored_counts import null_non_finite
from advassay.report.data.table_builders import TABLES
from advassay.report.figures.figure import Figure
from advassay.report.output.table_format import Column, Grid, default_table, every_column, grid, shown
from advassay.report.text.column_labels import LEVEL, at_level, columns, of_effects
from advassay.report.text.number_format import number

TITLES = {
    "units": "slides or patients decided from their images, at the figures' amplitude: by majority, by mean "
    "probability, by any positive image (max)",
    "cost": "what each run spent",
    "perturbation_size": "quartiles of the realised perturbation over the attacked images, at the figures' amplitude: "
    "L∞ and L2 norm and contrast on the [0, 1] range, PSNR in dB",
    "identities": "identities of runs, networks and cohorts",
    "subgroups": "ε50 and robust accuracy by group",
    "subgroup_differences": "ratio of ε50 between groups",
}
"""Printed table → its name, where two are made from one frame or a part of it is shown."""
MOST_ROWS = 120
"""A longer table is left to its CSV."""


TABLE1 = columns(
    "cohort* image_type* class training tuning validation total* patients* attacked* accuracy* auroc* sensitivity* "
    "specificity* published_images* published_score*"
)
PERFORMANCE = columns(
    "cohort* epsilon n accuracy low high auroc sensitivity specificity balanced_accuracy", accuracy="robust accuracy"
)
EPSILON50 = columns(
    "arm* cohort text text_255 method n patients", text=f"ε₅₀ with {LEVEL} interval", text_255="in grey levels of 255"
)
CONTROLS = columns("arm* control epsilon events n where meaning", events="counted", n="of", meaning="what is counted")
FLAGS = columns("flag* meaning* arm events n share where", events="rows", n="of")
RERUNS = columns(
    "cohort* arm train_size epsilon n declared again only_again", n="attackable images", declared="fallen as declared",
    again="fallen again",
)  # fmt: skip
COST = columns(
    "cohort* arm train_size seed images rows gradient_evaluations forward_passes rescored changed seconds precision "
    "device"
)
SELECTION = columns(
    "cohort division cluster without_patient candidates kept left_out image_size_px channels bits scaling resize"
)
DEIDENTIFICATION = columns("cohort files met carried columns_checked", columns_checked="manifest columns compared")
IDENTITIES = columns("cohort* arm train_size seed run_id classifier cohort_identity weights_sha256")
CHECKLIST = columns("question answer evidence")
CURVE = columns(
    "cohort* store arm step_size success train_size seed epsilon step bin rate low high events n suspect_images "
    "patients method"
)
PLATEAU = columns(
    "cohort* arm success epsilon text remaining remaining_low remaining_high n patients", text="levels off at"
)
SIZES = columns("quantity* cohort arm n q25 median q75", median="median", q25="25 %", q75="75 %")
UNITS = columns(
    "cohort* rule units tiles rate low high tiles_to_flip share_to_flip unturnable", units="first decided right",
    tiles="images each", rate="turned", tiles_to_flip="images that must fall", share_to_flip="share of its images",
    unturnable="not turned by all",
)  # fmt: skip
SPECIFICATION = of_effects([
    replace(column, show=shown) if column.key in ("epsilon", "estimate", "low", "high", "chosen") else column
    for column in columns(
        "question* arm step_size success dose estimator epsilon estimate low high n verdict chosen", n="units",
        estimate="effect", chosen="as planned",
    )
], lambda row: kind_of_effect(row["question"]))  # fmt: skip
"""Its ε is text, and its effects are ratios or differences of rates."""
SUBGROUPS = columns(
    "subgroup* cohort group n patients text text_255 epsilon attacked robust_accuracy robust_accuracy_low "
    "robust_accuracy_high",
    n="attackable images", text="ε₅₀ with interval", text_255="in grey levels of 255",
    attacked="attacked images", robust_accuracy="robust accuracy", robust_accuracy_low="from",
    robust_accuracy_high="to",
)  # fmt: skip
SUBGROUP_DIFFERENCES = of_effects([
    replace(column, show=number) if column.key in ("estimate", "low", "high") else column
    for column in columns(
        "subgroup* group reference estimate low high cohorts n p p_holm", reference="against",
        estimate="ratio of ε₅₀", n="attackable images", p_holm="p, Holm over all groups",
    )
], lambda row: "ratio")  # fmt: skip
OF_FIGURE = {
    "epsilon50": EPSILON50,
    "reliability": columns("cohort* epsilon bin_low bin_high confidence accuracy low high n ece method"),
    "confidence_flow": columns(
        "cohort* epsilon clean_low clean_high adversarial_low adversarial_high fallen n", n="images"
    ),
    "transitions": columns("cohort* epsilon label predicted n share", n="images"),
    "iteration_survival": columns(
        "cohort* arm epsilon step surviving low high events n median", events="fallen so far"
    ),
    "flow": columns("cohort* stage part what images"),
    "success_by_visibility": columns(
        "cohort* arm visibility_low visibility_high rate low high n events patients", n="image × ε"
    ),
    "specification_curve": SPECIFICATION,
    "flags_by_epsilon": columns("arm* flag epsilon events n share", events="images", n="of"),
}
"""Table → its columns under a figure, where they are not those of a curve."""


def tables(findings: Findings) -> dict[str, Grid]:
    """The page's own tables (those of figures are `of_figure`), by name; only those with rows."""
    wanted: dict[str, tuple[str, Sequence[Column], str | None]] = {
        "cohorts": ("cohorts", TABLE1, "cohort"),
        "performance": ("performance", PERFORMANCE, "cohort"),
        "epsilon50": ("epsilon50", EPSILON50, "arm"),
        "controls": ("controls_by_arm", CONTROLS, "arm"),
        "flags": ("flags_by_arm", FLAGS, "flag"),
        "reruns": ("reruns", RERUNS, "cohort"),
        "cost": ("runs", COST, "cohort"),
        "selection": ("selection", SELECTION, None),
        "deidentification": ("deidentification", DEIDENTIFICATION, None),
        "identities": ("runs", IDENTITIES, "cohort"),
        "iteration_plateau": ("iteration_plateau", PLATEAU, "cohort"),
        "perturbation_size": ("perturbation_size", SIZES, "quantity"),
        "units": ("units", UNITS, "cohort"),
        "subgroups": ("subgroups", SUBGROUPS, "subgroup"),
        "subgroup_differences": ("subgroups", SUBGROUP_DIFFERENCES, "subgroup"),
        "checklist": ("checklist", CHECKLIST, None),
    }
    found = findings.tables
    made = {
        key: grid(
            name,
            TITLES.get(key, TABLES[name]),
            _part(key, found[name], findings.epsilon),
            at_level(shown, findings.level),
            group,
        )
        for key, (name, shown, group) in wanted.items()
        if name in found
    }
    if "left_out" in found:
        made["left_out"] = default_table("left_out", TABLES["left_out"], found["left_out"])
    return {key: table for key, table in made.items() if table.rows}


SUBGROUP_ROWS = {"subgroups": "group", "subgroup_differences": "difference"}
"""Printed table → the rows of subgroups.csv that it shows."""


def _part(key: str, frame: pl.DataFrame, epsilon: float) -> pl.DataFrame:
    """Of random noise only the largest ε of each arm, where it is most likely to fell an image; sizes and units at the
    figures' amplitude. The rest is in CSV.
    """
    if key in SUBGROUP_ROWS:
        return frame.filter(row=SUBGROUP_ROWS[key])
    if key == "units":
        return frame.filter(epsilon=epsilon)
    if key == "perturbation_size":
        return frame.filter(epsilon=epsilon).sort("quantity", maintain_order=True)
    if key != "controls":
        return frame
    noise = pl.col("control") == KINDS[1]
    return frame.filter(~noise | (pl.col("epsilon") == pl.col("epsilon").max().over("arm", "control")))


def of_figure(figure: Figure) -> Grid | None:
    """The numbers a figure is drawn from; None for pictures, long tables and those printed elsewhere."""
    if figure.numbers is None or len(figure.numbers) > MOST_ROWS or figure.table in PRINTED:
        return None
    shown = OF_FIGURE.get(figure.table, CURVE)
    group = shown[0].key if shown[0].shared else None
    return grid(
        figure.table, f"Numbers of figure {figure.number}", figure.numbers, at_level(shown, figure.level), group
    )


PRINTED = ("performance", "training", "epsilon50")


def of_conclusion(conclusion: Conclusion) -> Grid | None:
    """The numbers a verdict rests on."""
    if not conclusion.details:
        return None
    frame = pl.DataFrame(list(conclusion.details), infer_schema_length=None)
    every = every_column(null_non_finite(frame))
    if "ratio" in frame.columns:
        every = of_effects(every, lambda row: "ratio", estimate="ratio")
    return grid("conclusion_details", f"Numbers behind conclusion {conclusion.number}", null_non_finite(frame), every)
