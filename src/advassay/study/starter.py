"""A commented study file to start from, written for a folder, table or .npz of images."""

from __future__ import annotations

import json
import re
import shlex
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from advassay.errors import AdvassayWarning, SourceError, SpecError
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
    # positive: {positive}   # <- the class whose detection is sensitivity (else the first)
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
      epsilons: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02]   # auto: found on tuning images, before the attacks

analysis:                    # how the five questions are judged; frozen in the store before the first attack
  arm: C                     # the arm that decides: its amplitudes span the range where success rises
  epsilon: 0.02              # amplitude at which more iterations are compared; the attacked one nearest to it

figures:
  epsilon: 0.02              # of figures 2 and 3b-3d
  gallery: true              # false: keep no image at all in the store
"""


SPLITS = {"train", "training", "tuning", "val", "valid", "validation", "dev", "test", "testing"}
"""Names of folders that usually hold the parts of a split."""


def starter_study(path: Path, *, name: str | None = None, file: str = "study.yaml") -> str:
    """The YAML of a study over `path`: a folder per class, a CSV or Parquet table, or a MedMNIST .npz.

    Only what is there is written. What could not be recognised is marked with `<-`; a warning says where classes are
    missing or look like a split: such a study is not complete. Raises SourceError where `path` is none of these,
    SpecError for a name that a study cannot have.
    """
    from advassay.sources import describe

    if not path.exists():
        raise SourceError(f"IMAGES: a folder, table or .npz that exists is needed, got {path}.", "Check the path.")
    path = path.resolve()
    found = describe(path)
    name = name if name is not None else _slug(path.stem)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise SpecError(f"--name: letters, digits, '.', '_', '-', got {name!r}.", "For example --name chest-study.")
    if doubt := _doubt(found):
        warnings.warn(doubt, AdvassayWarning, stacklevel=2)
    return _TEMPLATE.format(
        name=name,
        file=shlex.quote(file),
        data=shlex.quote(str(path.parent)),
        title=json.dumps(f"Attacks on {path.stem}"),
        source=_source(found),
        cohort=_slug(path.stem),
        classes=_classes(found, doubt),
        positive=next((_written(str(value)) for value in found.classes), "name of a class"),
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


def _classes(found: SourceDescription, doubt: str | None) -> str:
    """The classes that were found, and where there are fewer than two what to add."""
    column = _written(found.label_column or "COLUMN")
    lines = [
        f"{_written(str(value))}: {{{column}: [{_written(value)}]}}   # {images} images"
        for value, images in found.classes.items()
    ]
    if doubt:
        lines.append(f"# <- {doubt}")
    if len(found.classes) < 2:
        lines.append(
            f'# "name of a class": {{{column}: [value, another value]}}   # or {{{column}: {{range: [20, 35]}}}}'
        )
    return "\n".join(f"      {line}" for line in lines)


def _doubt(found: SourceDescription) -> str | None:
    """What keeps the classes from being a study's, in words; None where nothing does."""
    if found.kind == "table" and not found.classes:
        return "no column called label, class, diagnosis, finding ... with 2 to 20 values was found: write two classes."
    if len(found.classes) < 2:
        return f"a second class is missing, all images are of {_written(next(iter(found.classes)))}: add one."
    if SPLITS.issuperset(str(value).casefold() for value in found.classes):
        return "these look like a split, not like classes: point init at one of them, or at a table of all images."
    return None


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
