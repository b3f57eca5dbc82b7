"""The source of one cohort that images become, and which class of it is which logit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from advassay.errors import CohortError

MOST_CLASSES = 10_000
"""Classes up to which labels that are numbers count as indices of logits."""


@dataclass(frozen=True)
class EvaluatedImages:
    """One source and what its classes are, as a study file would say it."""

    name: str
    """Of the cohort and its source."""
    source: dict[str, Any]
    data: Path
    """Folder that the source's path starts from."""
    classes: dict[str, dict[str, list[Any]]]
    """Class → rule over the source's columns, in the order of the logits; empty where images have no labels."""
    side_px: int | None
    """Side of the images, where all that were looked at are squares of one size."""
    labelled: bool = True
    names_patients: bool = False
    """Whether patients may be known, so that the key of their pseudonyms matters."""
    notes: tuple[str, ...] = ()
    columns: dict[str, Any] = field(default_factory=dict)
    """Further fields of the cohort."""


@dataclass(frozen=True)
class ImageOptions:
    """What the caller says of the images."""

    class_names: tuple[str, ...] | None = None
    """Of the model, in the order of its logits."""
    patient_pattern: str | None = None
    label_column: str = "label"
    image_column: str = "image"
    patient_column: str | None = None


def class_order(found: Sequence[str], options: ImageOptions, where: str) -> dict[str, str]:
    """Class name, in the order of the logits → how the images' labels write it, which may be of no image.

    Labels name classes; or they are indices of the logits, where the model's names are not among them or it has none.
    Indices are in the order of the numbers, not of their texts (0, 1, 10, 2). `found`: the labels that occur; `where`:
    where they stand, for errors. Raises CohortError for a class that the model does not have, and for fewer than two.

    >>> class_order(["10", "2", "0"], ImageOptions(), "labels")["10"], len(class_order(["10", "0"], ImageOptions(), ""))
    ('10', 11)
    >>> class_order(["1", "0"], ImageOptions(class_names=("norm", "tumour")), "labels")
    {'norm': '0', 'tumour': '1'}
    """
    named, indices = options.class_names, class_indices(found)
    if indices is not None and not (named is not None and set(found) <= set(named)):
        names = named or tuple(map(str, range(min(max(*indices, 1) + 1, MOST_CLASSES))))
        if max(indices) < len(names):
            written = dict(zip(indices, found, strict=True))
            return {name: written.get(index, str(index)) for index, name in enumerate(names)}
    return {name: name for name in named_classes(found, options, where)}


def named_classes(found: Sequence[str], options: ImageOptions, where: str) -> tuple[str, ...]:
    """Class names in the order of the logits, where labels are names: the model's, or those that occur, sorted.

    Raises CohortError for a class that the model does not have, and for fewer than two.

    >>> named_classes(["10", "9"], ImageOptions(), "the subfolders")
    ('9', '10')
    """
    if options.class_names is None:
        if len(found) < 2:
            raise CohortError(
                f"images: expected two or more classes, {where} name {', '.join(found) or 'none'}.",
                "Say what the model's classes are, in the order of its logits: --classes a,b.",
            )
        indices = class_indices(found)
        return tuple(sorted(found) if indices is None else sorted(found, key=int))
    if odd := sorted(set(found) - set(options.class_names)):
        raise CohortError(
            f"images: expected classes of the model ({', '.join(options.class_names)}), {where} also name "
            f"{', '.join(odd)}.",
            "Rename them, or say what the model's classes are called here, in the order of its logits: --classes a,b.",
        )
    return options.class_names


def class_indices(found: Sequence[str]) -> list[int] | None:
    """Labels as whole numbers from 0; None where one is none, or two are the same number (1 and 01)."""
    try:
        numbers = [int(text) for text in found]
    except ValueError:
        return None
    return numbers if numbers and min(numbers) >= 0 and len(set(numbers)) == len(numbers) else None


def plain_name(name: str) -> str:
    """`name` as a cohort may be called.

    >>> plain_name("my images (2)")
    'my-images-2'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "images"


def made_folder(folder: Path) -> Path:
    """`folder`, which is there afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def unlabelled_source(table: pl.DataFrame, folder: Path, name: str, *, names_patients: bool) -> EvaluatedImages:
    """Images of `folder` that a table with columns image and patient_id lists: it is written once the model decided."""
    return EvaluatedImages(
        name, {"kind": "table", "path": "", "images": folder.name}, folder.parent, {}, None, labelled=False,
        names_patients=names_patients,
        notes=(
            "The images have no labels: the model's own decisions on them stand for labels. Success is a change of "
            "that decision; nothing is said of how often the model is right.",
        ),
        columns={"table": table},
    )  # fmt: skip
