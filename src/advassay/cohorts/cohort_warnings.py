"""Warnings about a cohort: too few or too small images, and what beside the disease tells its classes apart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from advassay.sources.column_allowlist import short_values
from advassay.sources.table_files import is_id
from advassay.spec.cohort_spec import CohortSpec

FEW_IMAGES = 10
"""Of a class in training or validation: below it a rate moves in steps of more than 10 %."""
FEW_TUNING = 3
ENLARGED = 1.05
"""Enlargement of the median image beyond which it is said."""

_LEAST = {"training": FEW_IMAGES, "tuning": FEW_TUNING, "validation": FEW_IMAGES}


def few_images_warning(counts: Mapping[str, Mapping[str, int]]) -> str | None:
    """A sentence about the parts with few images of a class. `counts`: role → class → images."""
    few = [
        f"{role} {', '.join(f'{name} {number}' for name, number in of.items() if number < _LEAST[role])}"
        for role, of in counts.items()
        if any(of.values()) and min(of.values()) < _LEAST[role]
    ]
    if not few:
        return None
    return f"Few images: {'; '.join(few)}. A rate over n images moves in steps of 1/n."


def enlarged_warning(heights: Sequence[int], widths: Sequence[int], size_px: int) -> str | None:
    """A sentence where images are enlarged to `size_px`: their median side, or the share of smaller ones."""
    sides = np.sqrt(np.asarray(heights, float) * np.asarray(widths, float))
    if not len(sides):
        return None
    middle, smaller = float(np.median(sides)), float((sides * ENLARGED < size_px).mean())
    if smaller < 0.05:
        return None
    told = "All images" if smaller == 1 else f"{smaller:.0%} of the images"
    return (
        f"{told} are smaller than the {size_px} px they are prepared at (median {middle:.0f} px) and are enlarged: "
        "neighbouring pixels are interpolated, and an attack changes them apart. A smaller image_size_px avoids it."
    )


FEW_PATIENTS = 5
"""Fewer patients of a class on a side: their own traits, not the class, may decide the result."""
ONE_PATIENT_SHARE = 0.5
"""More than this share of a class's images from one patient."""
TELLING = 0.4
"""Balanced accuracy above chance, as a share of what is possible: 0.7 of two classes, 0.6 of three."""
FEWEST_IMAGES = 20
"""Of each class; with fewer, some attribute always seems to fit."""
_MOST_VALUES = 20
_SIZE_BINS = 8
_SHOWN = 4

_UNKNOWN = {
    "patient": "Patients are not known: in effect the split is by image, and a patient may be on both sides. "
    "patient_id or patient_pattern of the source names them.",
    "declared": "Patients are not known, so whether one is on both sides of the declared split cannot be checked.",
}
_ATTRIBUTES = re.compile(
    r"(^|_)(site|hospital|institution\w*|cent(er|re)|clinic|scanner|manufacturer\w*|vendor|device|equipment|model|source|"
    r"dataset|database|origin|country|location|city|lab|laborator(y|ies)|batch|stain|magnification|view\w*|projection|modality|sex|"
    r"gender|photometric|laterality)(_|$)"
)
"""Columns that say how, where or of whom an image was taken, not what it shows."""


def patient_warnings(images: pl.DataFrame, spec: CohortSpec) -> list[str]:
    """Warnings about classes that rest on few patients. `images`: class_name, role, patient_id, has_patient.

    Where no patient is known, that is the one warning there is.
    """
    known = images.filter("has_patient")
    if known.is_empty():
        return [_UNKNOWN[spec.split]] if spec.split in _UNKNOWN else []
    warnings = []
    if told := _few_patients(known, spec):
        warnings.append(told)
    if unknown := [name for name in spec.classes if name in set(images["class_name"]) - set(known["class_name"])]:
        warnings.append(
            f"Patients of class {', '.join(unknown)} are not known, those of the other classes are: whether one is on "
            "both sides cannot be checked."
        )
    for name in spec.classes:
        part = known.filter(pl.col("class_name") == name)
        if part.is_empty() or part["patient_id"].n_unique() < 2 or part.height < FEWEST_IMAGES / 2:
            continue
        most = int(part["patient_id"].value_counts()["count"].max())  # type: ignore[arg-type]
        if most > ONE_PATIENT_SHARE * part.height:
            warnings.append(
                f"Class {name}: {most:,} of its {part.height:,} images are of one patient, so that a network may learn "
                "that patient instead of the class."
            )
    return warnings


def _few_patients(known: pl.DataFrame, spec: CohortSpec) -> str | None:
    """How many patients each side has, where one of them has few of a class whose patients are known."""
    counts = patients_per_class(known, tuple(name for name in spec.classes if name in set(known["class_name"])))
    if not any(
        sum(of.values()) > 0 and min(of.values()) < FEW_PATIENTS for of in (counts["training"], counts["validation"])
    ):
        return None
    parts = "; ".join(
        f"{role} {known.filter(pl.col('role') == role)['patient_id'].n_unique()} "
        f"({', '.join(f'{name} {number}' for name, number in of.items())})"
        for role, of in counts.items()
        if any(of.values())
    )
    return (
        f"Few patients: {parts}. With fewer than {FEW_PATIENTS} patients of a class on a side, a result says as much "
        "about these patients as about the class."
    )


def patients_per_class(images: pl.DataFrame, classes: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """role (training | tuning | validation) → class → distinct patients. `images`: role, class_name, patient_id."""
    counted = images.group_by("role", "class_name").agg(pl.col("patient_id").n_unique())
    tally = {(role, name): number for role, name, number in counted.iter_rows()}
    return {
        role: {name: tally.get((role, name), 0) for name in classes} for role in ("training", "tuning", "validation")
    }


def attribute_warnings(images: pl.DataFrame, spec: CohortSpec) -> list[str]:
    """A warning per attribute that tells the classes apart. `images`: class_name and the source's columns; `path`,
    `height`, `width` and `bits` where they are known."""
    counts = images["class_name"].value_counts()["count"]
    if counts.len() < 2 or int(counts.min()) < FEWEST_IMAGES:  # type: ignore[arg-type]
        return []
    warnings = []
    for name in _attributes_of(images, spec):
        column = images[name].cast(pl.String).fill_null("no value")
        if (share := _named_by(column, images["class_name"])) is not None:
            warnings.append(_told(f"Column {name}", share, images["class_name"], column, f"balance: [{name}]"))
    if "path" in images.columns:
        endings = images["path"].str.extract(r"(\.[A-Za-z0-9]{1,5})$").str.to_lowercase().fill_null("none")
        if endings.n_unique() <= _MOST_VALUES and (share := _named_by(endings, images["class_name"])) is not None:
            warnings.append(_told("The files' ending", share, images["class_name"], endings, ""))
    if {"height", "width"} <= set(images.columns) and (told := _size_warning(images)) is not None:
        warnings.append(told)
    return warnings


def _attributes_of(images: pl.DataFrame, spec: CohortSpec) -> list[str]:
    ruled = {*spec.where, *spec.balance, *(name for rules in spec.classes.values() for name in rules)}
    return [
        name
        for name in images.columns
        if name not in ruled
        and _ATTRIBUTES.search(re.sub(r"\W+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)).lower())
        and not is_id(name)
        and not images[name].dtype.is_nested()
        and short_values(images[name])
        and 2 <= images[name].n_unique() <= _MOST_VALUES
    ]


def _named_by(values: pl.Series, classes: pl.Series) -> float | None:
    """Balanced accuracy of the values' most typical classes, where it is telling; None elsewhere."""
    table = pl.DataFrame({"value": values, "class": classes}).group_by("class", "value").len()
    number = table["class"].n_unique()
    share = table.with_columns(share=pl.col("len") / pl.col("len").sum().over("class"))
    accuracy = float(share.group_by("value").agg(pl.col("share").max())["share"].sum()) / number
    return accuracy if (accuracy - 1 / number) / (1 - 1 / number) >= TELLING else None


def _told(what: str, share: float, classes: pl.Series, values: pl.Series, remedy: str) -> str:
    table = pl.DataFrame({"class": classes, "value": values}).group_by("class", "value").len()
    parts = []
    for name in sorted(table["class"].unique()):
        of = table.filter(pl.col("class") == name).sort(["len", "value"], descending=[True, False])
        shown = [f"{value} {number:,}" for value, number in of.head(_SHOWN).select("value", "len").iter_rows()]
        parts.append(f"{name}: {', '.join(shown)}{', …' if of.height > _SHOWN else ''}")
    fix = f" {remedy} or a rule in where removes it." if remedy else ""
    return (
        f"{what} tells the classes apart: it alone names the class of {share:.0%} of the images "
        f"(chance {1 / len(parts):.0%}; {'; '.join(parts)}). A network may learn it instead.{fix}"
    )


def _size_warning(images: pl.DataFrame) -> str | None:
    height, width = (images[name].cast(pl.Float64).to_numpy() for name in ("height", "width"))
    bins = min(_SIZE_BINS, int(images["class_name"].value_counts()["count"].min()) // 10)  # type: ignore[arg-type]
    found = [
        share
        for measure in (np.sqrt(height * width), height / width)
        if (share := _named_by(_binned(measure, bins), images["class_name"])) is not None
    ]
    if not found:
        return None
    middle = images.group_by("class_name").agg(pl.col("width", "height").median()).sort("class_name")
    sizes = "; ".join(f"{name} {wide:,.0f} × {high:,.0f}" for name, wide, high in middle.iter_rows())
    return (
        f"The files' size tells the classes apart: it alone names the class of {max(found):.0%} of the images (chance "
        f"{1 / middle.height:.0%}; median width × height: {sizes} pixels). Sharpness and aspect of the prepared images "
        "still show it, and a network may learn it instead."
    )


def _binned(values: np.ndarray, bins: int) -> pl.Series:
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    return pl.Series("bin", np.searchsorted(edges, values, side="left").astype(str))
