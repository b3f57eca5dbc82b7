"""Tables of what happened before any attack: cohorts, their selection, what was left out, training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.analysis import table1
from advassay.analysis.classifier_performance import auroc_interval
from advassay.flow_chart import flow_of, tidy
from advassay.records.store_reader import Records
from advassay.report.tables.column_labels import LEVEL, columns
from advassay.report.tables.table import TABLES, Printed, Table
from advassay.store_documents import Preparation

if TYPE_CHECKING:
    from advassay.report.data.findings import Findings


def preparations(records: Records) -> list[Preparation]:
    """Prepared cohorts in the study's order; those without records after the others."""
    place = {name: i for i, name in enumerate(records.cohorts)}
    return sorted(records.preparations.values(), key=lambda p: (place.get(p.cohort, len(place)), p.cohort))


SCORES = ("accuracy", "auroc", "sensitivity", "specificity")


def cohorts(findings: Findings) -> pl.DataFrame:
    """Table 1 with the interval of the AUROC (auroc_low, auroc_high) and the images that were scored (scored).

    A network that was trained here is scored on the whole validation split; another one on the images that were
    attacked, which are all that it saw.
    """
    frame = table1(findings.records)
    rows = [row | _scored(findings, row, frame) for row in frame.iter_rows(named=True)]
    added = {"scored": pl.Int64, "auroc_low": pl.Float64, "auroc_high": pl.Float64}
    schema: dict[str, Any] = {**frame.schema, **added}
    return pl.DataFrame(rows, schema=schema)


def _scored(findings: Findings, row: dict[str, Any], frame: pl.DataFrame) -> dict[str, Any]:
    """The scores of a cohort's network, on how many images, and the interval of the AUROC."""
    cohort = row["cohort"]
    preparation = findings.records.preparations.get(cohort)
    if row["accuracy"] is not None and preparation is not None:
        split = preparation.counts.get("validation", {})
        images = sum(split.values())
        patients = preparation.patients.get("validation") if preparation.patients_known else None
        return {"scored": images} | _area_ends(findings, row["auroc"], list(split.values()), images, patients)
    clean = findings.of_main_arm("performance").filter(pl.col("cohort") == cohort, pl.col("epsilon") == 0)
    if clean.is_empty():
        return {}
    found = clean.row(0, named=True)
    moved = findings.of_main_arm("transitions").filter(pl.col("cohort") == cohort, pl.col("epsilon") == 0)
    sizes = moved.group_by("label", maintain_order=True).agg(pl.col("n").sum())["n"].to_list()
    ends = _area_ends(findings, found["auroc"], sizes, found["n"], found["patients"])
    return {name: found[name] for name in SCORES} | {"scored": found["n"]} | ends


def _area_ends(
    findings: Findings, area: float | None, sizes: list[int], images: int, patients: int | None
) -> dict[str, Any]:
    """Classes count in patients where they are known: a patient's images are no independent ones."""
    if area is None or not images:
        return {}
    share = 1.0 if patients is None else patients / images
    low, high = auroc_interval(area, [size * share for size in sizes], findings.level)
    return {"auroc_low": low, "auroc_high": high}


SPLITS = {
    "patient": "split by patient",
    "image": "split by image",
    "declared": "split as the source declares",
    "none": "not split",
}


def division(preparation: Preparation) -> str:
    """How training and validation images were kept apart, in words.

    Without patients a split by patient keeps images apart, nothing more.
    """
    if preparation.split == "patient" and not preparation.patients_known:
        return "split by image (patients not known)"
    return SPLITS.get(preparation.split, preparation.split)


SELECTION = {
    "cohort": pl.String, "split": pl.String, "division": pl.String, "cluster": pl.String, "patients_known": pl.Boolean,
    "without_patient": pl.Int64, "candidates": pl.Int64, "kept": pl.Int64, "left_out": pl.Int64,
    "image_size_px": pl.Int64, "channels": pl.Int64, "bits": pl.Int64, "scaling": pl.String, "resize": pl.String,
}  # fmt: skip


def selection(records: Records) -> pl.DataFrame:
    """One row per prepared cohort: how patients were told, how many rows had none, how many images are in and out."""
    rows = []
    for preparation in preparations(records):
        kept = sum(sum(of_role.values()) for of_role in preparation.counts.values())
        out = sum(reason.count for reason in preparation.left_out)
        rows.append({n: getattr(preparation, n) for n in SELECTION if n not in ("division", "kept", "left_out")})
        rows[-1] |= {"division": division(preparation), "kept": kept, "left_out": out}
    return pl.DataFrame(rows, schema=SELECTION)


DEIDENTIFICATION = {
    "cohort": pl.String, "files": pl.Int64, "met": pl.String, "carried": pl.String, "columns_checked": pl.String,
}  # fmt: skip


def deidentification(records: Records) -> pl.DataFrame:
    """One row per cohort of DICOM files: identifying tags that they hold (files), and which of them went along."""
    checked = [(p.cohort, p.deidentification) for p in preparations(records) if p.deidentification is not None]
    rows = [
        {
            "cohort": cohort, "files": found.files,
            "met": ", ".join(f"{tag} ({files})" for tag, files in sorted(found.met.items())) or "none",
            "carried": ", ".join(found.carried) or "none", "columns_checked": ", ".join(found.columns_checked),
        }
        for cohort, found in checked
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=DEIDENTIFICATION)


LEFT_OUT = {"cohort": pl.String, "reason": pl.String, "count": pl.Int64}


def left_out(records: Records) -> pl.DataFrame:
    """One row per cohort and reason for which rows were left out."""
    rows = [
        {"cohort": preparation.cohort, "reason": reason.reason, "count": reason.count}
        for preparation in preparations(records)
        for reason in preparation.left_out
    ]
    return pl.DataFrame(rows, schema=LEFT_OUT)


TRAINING = {
    "cohort": pl.String, "classifier": pl.String, "train_size": pl.Int64, "seed": pl.Int64, "full": pl.Boolean,
    "update": pl.Float64, "training_loss": pl.Float64, "tuning_loss": pl.Float64, "tuning_accuracy": pl.Float64,
}  # fmt: skip


def training(records: Records) -> pl.DataFrame:
    """One row per network and evaluation during its training."""
    rows: list[dict[str, Any]] = []
    for document in records.trainings:
        network = {name: getattr(document, name) for name in ("cohort", "classifier", "train_size", "seed", "full")}
        rows += [
            network | {key: entry.get(key) for key in TRAINING if key not in network} for entry in document.history
        ]
    return pl.DataFrame(rows, schema=TRAINING)


FLOW = {
    "cohort": pl.String, "place": pl.Int64, "stage": pl.String, "part": pl.String, "what": pl.String,
    "images": pl.Int64,
}  # fmt: skip


def flow(records: Records) -> pl.DataFrame:
    """One number a row: part says which (entering | left out | kept | reason | class | role), what names it."""
    rows = [row for preparation in preparations(records) for row in tidy(flow_of(preparation))]
    return pl.DataFrame(rows, schema=FLOW)


def _cohorts_caption(findings: Findings) -> str:
    counted = ", its classes counted in patients where they are known" if findings.patients_known else ""
    return (
        "Images of each class by role, and the scores of the cohort’s network without an attack on all images scored: "
        "the whole validation split of a network trained here, else the attacked images. The interval of the AUROC is "
        f"that of Newcombe (2006, method 5){counted}. Beside them: what the reference study published. With more than "
        "two classes AUROC, sensitivity and specificity are means over the classes, each against the rest."
    )


def _selection_caption(findings: Findings) -> str:
    if not findings.patients_known:
        return "How each cohort was formed. No patient is known: every image counts as independent."
    return (
        "How each cohort was formed. Intervals are clustered by the patient column; rows without a patient count as "
        "separate patients."
    )


TABLES.register(
    Table(
        "cohorts",
        about="Table 1: images of each class and role, the network's scores on the validation split",
        build=cohorts,
        needs=("performance", "transitions"),
        says=("level",),
        printed=(
            Printed(
                columns(
                    "cohort* image_type* class training tuning validation total* patients* attacked* scored* accuracy* "
                    "auroc* auroc_low* auroc_high* sensitivity* specificity* published_images* published_score*",
                    auroc_low=f"{LEVEL} from", auroc_high="to", scored="images scored",
                ),
                _cohorts_caption,
                "cohorts", 10, group="cohort",
            ),
        ),
    )
)  # fmt: skip
TABLES.register(
    Table(
        "selection",
        about="how each cohort was formed and, where known, which column says who is a patient",
        build=lambda findings: selection(findings.records),
        printed=(
            Printed(
                columns(
                    "cohort division cluster without_patient candidates kept left_out image_size_px channels bits "
                    "scaling resize"
                ),
                _selection_caption, "cohorts", 20,
            ),
        ),
    )
)  # fmt: skip
TABLES.register(
    Table(
        "deidentification",
        about="DICOM tags that name a person: found in the source's files, and copied (none may be)",
        build=lambda findings: deidentification(findings.records),
        printed=(
            Printed(
                columns("cohort files met carried columns_checked", columns_checked="manifest columns compared"),
                "Tags of the source’s DICOM files that can name a person (PS3.15 Table E.1-1), with the number of "
                "files that hold a value. None was copied: only pixels and a manifest with new ids were kept, and "
                "every "
                "text column of it was compared with the original ids.",
                "cohorts", 30, companion=True,
            ),
        ),
    )
)  # fmt: skip
TABLES.register(
    Table(
        "flow",
        about="flow charts: images entering, left out (why) and kept at every stage of the selection",
        build=lambda findings: flow(findings.records),
        of_figure=columns("cohort* stage part what images"),
    )
)
TABLES.register(
    Table(
        "left_out",
        about="rows left out, by reason",
        build=lambda findings: left_out(findings.records),
        printed=(
            Printed(
                None, "Rows that are in no cohort, by reason.", "cohorts", 50, numbered=False,
                fold="Rows left out, by reason",
            ),
        ),
    )
)  # fmt: skip
TABLES.register(
    Table("training", about="training curves", build=lambda findings: training(findings.records), of_figure=())
)
