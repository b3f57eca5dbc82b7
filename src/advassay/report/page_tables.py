"""The tables of the page: which columns are printed, under which words."""

from __future__ import annotations

import polars as pl

from advassay.analysis import Conclusion
from advassay.report.evidence import KINDS
from advassay.report.figures.figure import Figure
from advassay.report.findings import TABLES, Findings
from advassay.report.grids import Column, Grid, anything, grid, share, shown, whole
from advassay.report.wording import number

MOST_ROWS = 120
"""A longer table is left to its CSV."""


def text(value: str | None) -> str:
    return value or "–"


def amplitude(value: float) -> str:
    return f"{value:g}"


TABLE1 = [
    Column("cohort", "cohort", text, shared=True),
    Column("image_type", "image type", text, shared=True),
    Column("class", "class", text),
    Column("training", "training", whole),
    Column("tuning", "tuning", whole),
    Column("validation", "validation", whole),
    Column("total", "in all", whole, shared=True),
    Column("patients", "patients", whole, shared=True),
    Column("attacked", "attacked", whole, shared=True),
    Column("accuracy", "accuracy", share, shared=True),
    Column("auroc", "AUROC", number, shared=True),
    Column("sensitivity", "sensitivity", share, shared=True),
    Column("specificity", "specificity", share, shared=True),
    Column("published_images", "published: images", whole, shared=True),
    Column("published_score", "score", number, shared=True),
]

PERFORMANCE = [
    Column("cohort", "cohort", text, shared=True),
    Column("epsilon", "ε", amplitude),
    Column("n", "n", whole),
    Column("accuracy", "robust accuracy", share),
    Column("low", "95 % from", share),
    Column("high", "to", share),
    Column("auroc", "AUROC", number),
    Column("sensitivity", "sensitivity", share),
    Column("specificity", "specificity", share),
    Column("balanced_accuracy", "balanced accuracy", share),
]

EPSILON50 = [
    Column("cohort", "cohort", text),
    Column("arm", "arm", text),
    Column("text", "ε₅₀ with 95 % interval", text),
    Column("fit", "logistic fit", number),
    Column("fit_low", "from", number),
    Column("fit_high", "to", number),
    Column("n", "n", whole),
    Column("patients", "patients", whole),
]

CONTROLS = [
    Column("arm", "arm", text, shared=True),
    Column("control", "control", text),
    Column("epsilon", "ε", amplitude),
    Column("events", "counted", whole),
    Column("n", "of", whole),
    Column("where", "where", text),
    Column("meaning", "what is counted", text),
]

FLAGS = [
    Column("flag", "flag", text, shared=True),
    Column("meaning", "meaning", text, shared=True),
    Column("arm", "arm", text),
    Column("events", "rows", whole),
    Column("n", "of", whole),
    Column("share", "share", share),
    Column("where", "where", text),
]

RERUNS = [
    Column("cohort", "cohort", text, shared=True),
    Column("arm", "arm", text),
    Column("train_size", "training images", whole),
    Column("epsilon", "ε", amplitude),
    Column("n", "attackable images", whole),
    Column("declared", "fallen as declared", whole),
    Column("again", "fallen again", whole),
    Column("only_again", "only again", whole),
]

COST = [
    Column("cohort", "cohort", text, shared=True),
    Column("arm", "arm", text),
    Column("train_size", "training images", whole),
    Column("seed", "seed", whole),
    Column("images", "images", whole),
    Column("rows", "rows", whole),
    Column("gradient_evaluations", "gradients", whole),
    Column("forward_passes", "forward passes", whole),
    Column("rescored", "judged again in float32", whole),
    Column("changed", "verdicts changed by it", whole),
    Column("seconds", "seconds", lambda value: f"{value:,.0f}".replace(",", "\u202f")),
    Column("precision", "precision", text),
    Column("device", "device", text),
]

SELECTION = [
    Column("cohort", "cohort", text),
    Column("division", "split", text),
    Column("cluster", "patient column", text),
    Column("without_patient", "rows without a patient", whole),
    Column("candidates", "candidate rows", whole),
    Column("kept", "kept", whole),
    Column("left_out", "left out", whole),
    Column("image_size_px", "side, px", whole),
    Column("channels", "channels", whole),
    Column("bits", "bits", whole),
    Column("scaling", "scaling", text),
    Column("resize", "to a square by", text),
]

IDENTITIES = [
    Column("cohort", "cohort", text, shared=True),
    Column("arm", "arm", text),
    Column("train_size", "training images", whole),
    Column("seed", "seed", whole),
    Column("run_id", "run", text),
    Column("classifier", "classifier", text),
    Column("cohort_identity", "cohort identity", text),
    Column("weights_sha256", "weights SHA-256", lambda value: value[:16] + "…" if value else "–"),
]

CURVE = [
    Column("cohort", "cohort", text, shared=True),
    Column("arm", "arm", text),
    Column("success", "reading", text),
    Column("train_size", "training images", whole),
    Column("seed", "seed", whole),
    Column("epsilon", "ε", amplitude),
    Column("step", "iteration", whole),
    Column("bin", "clean confidence", text),
    Column("rate", "success", share),
    Column("low", "95 % from", share),
    Column("high", "to", share),
    Column("events", "fallen", whole),
    Column("n", "n", whole),
    Column("patients", "patients", whole),
    Column("method", "interval", text),
]


def tables(findings: Findings) -> dict[str, Grid]:
    """The page's own tables (those of figures are `of_figure`), by name; only those with rows."""
    wanted: dict[str, tuple[str, list[Column], str | None]] = {
        "cohorts": ("cohorts", TABLE1, "cohort"),
        "performance": ("performance", PERFORMANCE, "cohort"),
        "epsilon50": ("epsilon50", EPSILON50, None),
        "controls": ("controls_by_arm", CONTROLS, "arm"),
        "flags": ("flags_by_arm", FLAGS, "flag"),
        "reruns": ("reruns", RERUNS, "cohort"),
        "cost": ("runs", COST, "cohort"),
        "selection": ("selection", SELECTION, None),
        "identities": ("runs", IDENTITIES, "cohort"),
    }
    found = findings.tables
    made = {
        key: grid(name, TABLES[name], _part(key, found[name]), columns, group)
        for key, (name, columns, group) in wanted.items()
        if name in found
    }
    if "left_out" in found:
        made["left_out"] = anything("left_out", TABLES["left_out"], found["left_out"])
    return {key: table for key, table in made.items() if table.rows}


def _part(key: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Of random noise only the largest ε of each arm, where it is most likely to fell an image; the rest is in CSV."""
    if key != "controls":
        return frame
    noise = pl.col("control") == KINDS[1]
    return frame.filter(~noise | (pl.col("epsilon") == pl.col("epsilon").max().over("arm", "control")))


def of_figure(figure: Figure) -> Grid | None:
    """The numbers a figure is drawn from; None for pictures and for long tables."""
    if figure.numbers is None or len(figure.numbers) > MOST_ROWS or figure.table in ("performance", "training"):
        return None
    return grid(figure.table, f"Numbers of figure {figure.number}", figure.numbers, CURVE, "cohort")


def of_conclusion(conclusion: Conclusion) -> Grid | None:
    """The numbers a verdict rests on."""
    if not conclusion.details:
        return None
    frame = pl.DataFrame(list(conclusion.details), infer_schema_length=None)
    columns = [Column(key, key.replace("_", " "), shown) for key in frame.columns]
    return grid("conclusion_details", f"Numbers behind conclusion {conclusion.number}", frame, columns)
