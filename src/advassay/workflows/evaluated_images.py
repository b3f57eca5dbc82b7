"""IMAGES of `evaluate`: a folder, a table, a file of arrays, a prepared cohort or arrays, as the source of one cohort.

Files stay where they are; what becomes of arrays is in array_images.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from advassay.errors import SourceError, SpecError
from advassay.workflows.array_images import arrays_in, images_from_arrays, images_from_cohort
from advassay.workflows.image_source import (
    EvaluatedImages,
    ImageOptions,
    class_order,
    named_classes,
    plain_name,
    unlabelled_source,
)

if TYPE_CHECKING:
    from advassay.sources.base import OpenSource

TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
LOOKED_AT = 32
"""Images whose size is looked at where neither the model nor the caller says what size to prepare."""


@contextmanager
def opened_images(
    given: Any, labels: Any, options: ImageOptions, *, patients: Any = None, store: Path
) -> Iterator[EvaluatedImages]:
    """The images that were handed over, ready to be prepared while inside.

    `given`: a folder with a subfolder per class, or without subfolders (no labels); a table (.csv, .tsv, .parquet) with
    columns image, label and patient_id; an .npz with arrays images, labels, patients; the folder of a prepared cohort;
    arrays or tensors float (image, channel, height, width) in [0, 1], or 8- or 16-bit. `labels`, `patients`: one an
    image, for arrays alone; labels are class indices, or names. `store`: arrays are written beside it.

    Raises SourceError, CohortError or InputError for what cannot be read as one of these.
    """
    if isinstance(given, str | os.PathLike):
        if labels is not None or patients is not None:
            raise SpecError(
                "labels, patients: for arrays alone; files have theirs in folders or columns, got both.",
                "Leave them out, or give the images as an array.",
            )
        path = Path(given).resolve()
        if path.suffix.lower() == ".npz" and path.is_file() and (arrays := arrays_in(path)) is not None:
            with images_from_arrays(*arrays, options, name=plain_name(path.stem), store=store) as found:
                yield found
        elif (path / "preparation.json").is_file():
            with images_from_cohort(path, options, store) as found:
                yield found
        else:
            yield _from_files(path, options)
    else:
        with images_from_arrays(given, labels, patients, options, name="images", store=store) as found:
            yield found


def _from_files(path: Path, options: ImageOptions) -> EvaluatedImages:
    if path.is_dir():
        return _folder(path, options)
    if path.is_file() and path.name.lower().endswith(TABLES):
        return _table(path, options)
    if path.is_file() and path.suffix.lower() == ".npz":
        return _medmnist(path, options)
    kinds = "a folder, a table (.csv, .tsv, .parquet), an .npz or a prepared cohort"
    raise SourceError(
        f"images: expected {kinds}, got {path}{'' if path.exists() else ', which does not exist'}.", "Check the path."
    )


def _folder(path: Path, options: ImageOptions) -> EvaluatedImages:
    """A folder per class; without subfolders its images have no labels."""
    from advassay.sources.kinds.image_files import SUFFIXES

    inside = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not inside:
        names = sorted(e.name for e in path.iterdir() if e.name.lower().endswith(SUFFIXES) and e.name[0] != ".")
        if not names:
            raise SourceError(
                f"images: expected a subfolder per class, or images, in {path}, found neither.",
                "Put the images of each class into a folder of its own (PNG, JPEG, TIFF).",
            )
        return _unlabelled_folder(path, names, options)
    classes = named_classes(inside, options, f"the subfolders of {path.name}")
    source: dict[str, Any] = {"kind": "folder", "path": path.name}
    if options.patient_pattern is not None:
        source["patient_pattern"] = options.patient_pattern
    rules = {name: {"label": [name]} for name in classes}
    patients = options.patient_pattern is not None
    return _with_side(EvaluatedImages(plain_name(path.name), source, path.parent, rules, None, names_patients=patients))


def _unlabelled_folder(path: Path, names: Sequence[str], options: ImageOptions) -> EvaluatedImages:
    """Images that lie side by side: a table of them is written once the model has decided."""
    table = pl.DataFrame({"image": names, "patient_id": _patients(names, options.patient_pattern)})
    return _with_side(
        unlabelled_source(table, path, plain_name(path.name), names_patients=options.patient_pattern is not None)
    )


def _patients(names: Sequence[str], pattern: str | None) -> pl.Series:
    from advassay.sources.kinds.image_files import patients_in_paths

    if pattern is None:
        return pl.Series([None] * len(names), dtype=pl.String)
    return patients_in_paths(pl.Series(names, dtype=pl.String), pattern)


def _table(path: Path, options: ImageOptions) -> EvaluatedImages:
    """A table with an image column; without a label column its images have no labels."""
    from advassay.sources.table_files import did_you_mean, read_table

    table = read_table(path, text=frozenset({options.image_column, options.patient_column or "patient_id"}))
    if options.image_column not in table.columns:
        hint = did_you_mean(options.image_column, table.columns)
        raise SourceError(
            f"images: expected a column {options.image_column!r} with the images' paths, {path.name} has "
            f"{', '.join(table.columns)}.",
            f"{hint}Rename it, or say --image-column NAME.",
        )
    patient = options.patient_column or ("patient_id" if "patient_id" in table.columns else "patient")
    known = patient in table.columns
    if options.patient_column is not None and not known:
        raise SourceError(
            f"patient column: expected one of {', '.join(table.columns)}, got {patient!r}.", "Check --patient-column."
        )
    if options.label_column not in table.columns:
        if options.label_column != "label":
            raise SourceError(
                f"label column: expected one of {', '.join(table.columns)}, got {options.label_column!r}.",
                "Check --label-column.",
            )
        plain = table.select(
            image=pl.col(options.image_column),
            patient_id=pl.col(patient) if known else pl.lit(None, pl.String),
        )
        return _with_side(unlabelled_source(plain, path.parent, plain_name(path.stem), names_patients=known))
    source: dict[str, Any] = {"kind": "table", "path": path.name, "image": options.image_column}
    if known:
        source["patient_id"] = patient
    if options.patient_pattern is not None:
        source["patient_pattern"] = options.patient_pattern
    values = table[options.label_column].drop_nulls().unique().sort().to_list()
    rules = _rules(options.label_column, values, options, f"column {options.label_column!r} of {path.name}")
    patients = known or options.patient_pattern is not None
    return _with_side(EvaluatedImages(plain_name(path.stem), source, path.parent, rules, None, names_patients=patients))


def _medmnist(path: Path, options: ImageOptions) -> EvaluatedImages:
    """A MedMNIST file: its test part is what is evaluated."""
    from advassay.sources.kinds.npz import open_npz
    from advassay.spec.source_spec import NpzSource

    source = {"kind": "npz", "path": path.name}
    opened = open_npz("images", NpzSource(kind="npz", path=path.name), path)
    rows = opened.rows.filter(pl.col("split") == "validation")
    values = sorted(rows["label"].unique().to_list(), key=lambda label: (len(label), label))
    rules = _rules("label", values, options, path.name)
    note = "Of the MedMNIST file its test part is evaluated."
    tested = {"where": {"split": ["validation"]}}
    return _with_side(
        EvaluatedImages(plain_name(path.stem), source, path.parent, rules, None, notes=(note,), columns=tested)
    )


def _rules(column: str, values: Sequence[Any], options: ImageOptions, where: str) -> dict[str, dict[str, list[Any]]]:
    """Class → rule over a column that holds `values`."""
    order = class_order([str(value) for value in values], options, where)
    held = {str(value): value for value in values}
    empty = type(values[0]) if values else str  # a class without images is asked for in the column's own type
    return {name: {column: [held[written] if written in held else empty(written)]} for name, written in order.items()}


def _with_side(images: EvaluatedImages) -> EvaluatedImages:
    """The same, with the side of the images where the first ones are squares of one size."""
    sizes = {
        pixels.shape[:2] for _, pixels in islice(_first_images(images), LOOKED_AT) if isinstance(pixels, np.ndarray)
    }
    side = next(iter(sizes))[0] if len(sizes) == 1 and len(set(next(iter(sizes)))) == 1 else None
    return replace(images, side_px=side)


def _first_images(images: EvaluatedImages) -> Iterator[tuple[int, Any]]:
    from advassay.sources.image_decoder import read_image

    if (table := images.columns.get("table")) is not None:
        folder = images.data / images.source["images"]
        for number, name in enumerate(table["image"].head(LOOKED_AT)):
            yield number, read_image(folder / name, folder)
        return
    opened = _open(images)
    yield from opened.read(opened.rows["row"].head(LOOKED_AT).to_list())


def _open(images: EvaluatedImages) -> OpenSource:
    from pydantic import TypeAdapter

    from advassay.sources import open_source
    from advassay.spec.source_spec import Source

    source = TypeAdapter(Source).validate_python(images.source)
    return open_source(images.name, source, images.data)
