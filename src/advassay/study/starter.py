"""A commented study file to start from, written for a folder, table or .npz of images."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from advassay.errors import SpecError
from advassay.specs import Scalar

if TYPE_CHECKING:
    from advassay.sources import SourceDescription

_TEMPLATE = """\
# A study of how adversarial attacks succeed on your images. Written by `advassay init`; change what you like.
# What would run, how long, how large:
#   advassay plan {file} --data {data}
# Everything; stopped, it continues with the same command:
#   advassay run {file} --data {data} --store runs/{name}
# Every field with its meaning:
#   advassay schema
name: {name}
title: {title}
seed: 0                      # of selections and splits
image_size_px: 128           # side of every prepared image; InceptionV3 takes 75 px or more

sources:
  images:
{source}
cohorts:
  {cohort}:
    source: images
    image_type: X-ray        # <- the factor of the study: X-ray, histology, ...
    classes:                 # class name -> rules over columns; the order gives the label index
{classes}
    # positive: {positive}
    equal_classes: false     # true: cut every class to the size of the smallest
    split: {split}
    validation_fraction: 0.2
    # where: {{view: [PA]}}   # rules every image satisfies
    # carry: [scanner]       # further columns that travel with the prepared images (no patient's name or number)
    # balance: [sex]         # equal numbers of each value within each class
    # train_sizes: [0.25, 0.5, 1.0]   # retrain on nested subsets, same number of updates

training:
  architecture: inception_v3 # any timm name
  # weights: weights/inception_v3.safetensors   # start weights, below the data folder; then learning_rate: 3.0e-4
  epochs: 6
  batch_size: 32
  learning_rate: 1.0e-3      # from random weights; 3.0e-4 from ImageNet weights

attack:
  steps: 20
  images: 100                # validation images attacked per cohort; leave out for all
  arms:
    A:                       # the main curves: Madry's PGD
      update: projected-sign
      loss: cross-entropy
      step_sizes: [0.01]
      epsilons: [0.02, 0.04, 0.06, 0.08, 0.10, 0.12, 0.14, 0.16, 0.18, 0.20]
    B:                       # the reference study's formula
      update: projected-gradient
      loss: probability
      step_sizes: [100]      # a gain on the raw gradient
      epsilons: [0.02, 0.10, 0.20]
    C:                       # where undefended networks really fall: small amplitudes, fine steps
      update: projected-sign
      loss: margin
      step_sizes: [epsilon/4]
      epsilons: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02]

figures:
  epsilon: 0.02              # of figures 2 and 3b-3d
  gallery: true              # false: keep no image at all in the store
"""


def starter_study(path: Path, *, name: str | None = None, file: str = "study.yaml") -> str:
    """The YAML of a study over `path`: a folder per class, a CSV or Parquet table, or a MedMNIST .npz.

    What could not be recognised is marked with `<-`. Raises SourceError where `path` is none of these, SpecError for a
    name that a study cannot have.
    """
    from advassay.sources import describe

    path = path.resolve()
    found = describe(path)
    name = name if name is not None else _slug(path.stem)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise SpecError(f"--name: letters, digits, '.', '_', '-', got {name!r}.", "For example --name chest-study.")
    classes: list[Scalar] = list(found.classes) if len(found.classes) > 1 else ["first", "second"]
    return _TEMPLATE.format(
        name=name,
        file=shlex.quote(file),
        data=shlex.quote(str(path.parent)),
        title=json.dumps(f"Attacks on {path.stem}"),
        source=_source(found),
        cohort=_slug(path.stem),
        classes=_classes(found, classes),
        positive=f"{_written(str(classes[0]))}   # <- the class whose detection is sensitivity (else the first)",
        split=_split(found),
    )


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._") or "images"


def _source(found: SourceDescription) -> str:
    lines = [f"kind: {found.kind}", f"path: {json.dumps(found.path.name)}   # below the folder given with --data"]
    if found.kind == "table":
        lines.append(f"image: {json.dumps(found.image_column)}   # column with the image path")
        patient = found.patient_column or "patient_id"
        note = "" if found.patient_column else "   # <- no such column was found: each image counts as its own patient"
        lines.append(f"patient_id: {json.dumps(patient)}{note}")
        lines.append(f"# columns: {', '.join(_written(column) for column in found.columns)}")
    if found.kind != "table":
        lines.append("# no patients are named here: each image counts as its own patient (a table can name them)")
    lines.append(f"# {found.images} images")
    return "".join(f"    {line}\n" for line in lines)


def _classes(found: SourceDescription, classes: list[Scalar]) -> str:
    column = found.label_column or "label"
    note = "" if found.label_column and len(found.classes) > 1 else "   # <- name your classes and their column"
    entries = [
        f"      {_written(str(value))}: {{{_written(column)}: [{_written(value)}]}}"
        + (f"   # {found.classes[value]} images" if value in found.classes else note)
        for value in classes
    ]
    return "\n".join(entries)


def _written(value: Scalar) -> str:
    """A value as YAML that reads back as the same type: texts quoted, numbers and truth values bare."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub(r"^(-?\d+)e", r"\1.0e", text) if isinstance(value, float) else text  # YAML: 1e+16 is a text


def _split(found: SourceDescription) -> str:
    if found.kind == "npz":
        return "declared          # the split the file states"
    if found.patient_column is None:
        return (
            "patient           # <- no patients known: in effect a split by image, and a patient may be on both sides"
        )
    return "patient           # all images of a patient on one side; image: as the reference study did"
