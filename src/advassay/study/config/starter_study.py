"""A commented study file to start from, written for a folder, table or .npz of images."""

from __future__ import annotations

import json
import re
import shlex
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from advassay.errors import AdvassayWarning, SourceError, SpecError
from advassay.sources.folder_conventions import SPLITS, is_negative
from advassay.spec.rule_spec import Scalar
from advassay.study.config.study_templates import positive_class, suggested_rules

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
{size}

sources:
  images:
{source}
cohorts:
  {cohort}:
    source: images
    image_type: {image_type}
    classes:                 # class name -> rules over columns; the order gives the label index
{classes}
    {positive}
    equal_classes: false     # true: cut every class to the size of the smallest
    split: {split}
    validation_fraction: 0.2
{where}
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


FEW_IMAGES = 50
"""A class with fewer leaves 10 images or fewer for validation."""
_MOST_WHERE = 8
_SIZE = 128
_MOST_COUNTED = 12


def starter_study(path: Path, *, name: str | None = None, file: str = "study.yaml") -> str:
    """The YAML of `starter`, which says more."""
    return starter(path, name=name, file=file)[0]


def starter(path: Path, *, name: str | None = None, file: str = "study.yaml") -> tuple[str, Path]:
    """The YAML of a study over `path`, and the folder to give with --data.

    `path`: a folder per class, a folder with a table of its images, a CSV or Parquet table, or a MedMNIST .npz. Only
    what is there is written. What could not be recognised is marked with `<-`; a warning says where classes are missing
    or look like a split (such a study is not complete), where files are missing, and whether patients are known. Raises
    SourceError where `path` is none of these, SpecError for a name that a study cannot have.
    """
    from advassay.sources import describe

    if not path.exists():
        raise SourceError(f"IMAGES: no such folder or file: {path}.", "Check the path.")
    path = path.resolve()
    found = describe(path)
    name = name if name is not None else _slug(path.stem)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise SpecError(f"--name: letters, digits, '.', '_', '-', got {name!r}.", "For example --name chest-study.")
    for doubt in _doubts(found):
        warnings.warn(doubt, AdvassayWarning, stacklevel=2)
    text = _TEMPLATE.format(
        name=name,
        file=shlex.quote(file),
        data=shlex.quote(str(found.path.parent)),
        title=json.dumps(f"Attacks on {path.stem}"),
        size=_size(found),
        source=_source(found),
        cohort=_slug(path.stem),
        image_type=_image_type(found),
        classes=_classes(found),
        positive=_positive(found),
        split=_split(found),
        where=_where(found),
    )
    return text, found.path.parent


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._") or "images"


def _size(found: SourceDescription) -> str:
    line = f"image_size_px: {_SIZE}           # side of every prepared image; InceptionV3 takes 75 px or more"
    if found.look is not None and (short := min(found.look.width, found.look.height)) < _SIZE:
        line += f"; <- images are about {short} px: enlarged"
    return line


def _source(found: SourceDescription) -> str:
    lines = [f"kind: {found.kind}", f"path: {json.dumps(found.path.name)}   # below the folder given with --data"]
    if found.kind == "folder" and found.folders != ("label",):
        lines.append(f"folders: {json.dumps(list(found.folders))}   # <- what the folders of each level are")
    if found.kind == "table":
        lines += _table_lines(found)
    if found.name_pattern is not None:
        of = found.name_pattern
        lines.append(
            f"patient_pattern: {_single_quoted(of.pattern)}   # <- in file names: {of.patients:,} patients of "
            f"{of.matched:,} images; {of.images - of.matched:,} images name none"
        )
    elif found.kind != "table" and found.patient_column is None:
        lines.append("# no patients are named here: each image counts as its own patient (a table can name them)")
    lines.append(f"# {found.images} images")
    return "".join(f"    {line}\n" for line in lines)


def _table_lines(found: SourceDescription) -> list[str]:
    lines = [f"image: {json.dumps(found.image_column)}   # column with the image path"]
    if found.images_folder is not None:
        lines.append(f"images: {json.dumps(found.images_folder)}   # folder of the images, below the folder of --data")
    if found.ending is not None:
        lines.append(f"ending: {json.dumps(found.ending)}   # of the files; the column leaves it out")
    patient = found.patient_column or "patient_id"
    note = ""
    if found.patient_column is None and found.name_pattern is None:
        note = "   # <- no such column was found: each image counts as its own patient"
    lines.append(f"patient_id: {json.dumps(patient)}{note}")
    if found.missing is not None:
        lines.append(f"# <- {found.missing.count:,} of {found.missing.files:,} files are not there")
    lines.append(f"# columns: {', '.join(_written(column) for column in found.columns)}")
    return lines


def _single_quoted(text: str) -> str:
    """YAML that reads back as `text`, backslashes as they are."""
    return "'" + text.replace("'", "''") + "'"


def _image_type(found: SourceDescription) -> str:
    if found.look is None:
        return "X-ray        # <- the factor of the study: X-ray, histology, ..."
    return f"{found.look.image_type}        # <- the factor of the study: {found.look.why}"


def _classes(found: SourceDescription) -> str:
    """The classes that were found, and where there are fewer than two what to add."""
    column = _written(found.label_column or "COLUMN")
    lines = [
        f"{_written(str(value))}: {{{column}: [{_written(value)}]}}   # {images} images"
        + (f"  <- few{_for_validation(found, images)}" if images < FEW_IMAGES else "")
        for value, images in found.classes.items()
    ]
    if doubt := _doubt_of_classes(found):
        lines.append(f"# <- {doubt}")
    if len(found.classes) < 2:
        lines.append(
            f'# "name of a class": {{{column}: [value, another value]}}   # or {{{column}: {{range: [20, 35]}}}}'
        )
    return "\n".join(f"      {line}" for line in lines)


def _for_validation(found: SourceDescription, images: int) -> str:
    return "" if found.split_column else f": about {round(0.2 * images)} for validation"


def _positive(found: SourceDescription) -> str:
    chosen = positive_class(found.classes)
    if chosen is not None:
        return f"positive: {_written(str(chosen))}   # <- the class whose detection is sensitivity"
    first = next((_written(str(value)) for value in found.classes if not is_negative(value)), "name of a class")
    return f"# positive: {first}   # <- the class whose detection is sensitivity (else the first)"


def _where(found: SourceDescription) -> str:
    """Rules that keep other views, modalities and masks out, and the values of further columns to choose from."""
    rules = suggested_rules(found.values, found.look.image_type if found.look else None)
    shown = [name for name in found.values if name not in rules and name != "split"][:_MOST_WHERE]
    lines = ["where:                   # rules every image satisfies"] if rules else []
    lines += [f"  {_written(name)}: {_listed(kept)}   # <- {_counted(found, name)}" for name, kept in rules.items()]
    if not rules:
        lines.append("# where:                 # rules every image satisfies, for example one of these")
    lines += [f"#   {_written(name)}: {_listed(found.values[name])}   # {_counted(found, name)}" for name in shown]
    if not rules and not shown:
        lines = ["# where: {view: [PA]}   # rules every image satisfies"]
    return "\n".join(f"    {line}" for line in lines)


def _listed(values: Iterable[Scalar]) -> str:
    return f"[{', '.join(_written(value) for value in values)}]"


def _counted(found: SourceDescription, name: str) -> str:
    counts = list(found.values[name].items())
    more = f", and {len(counts) - _MOST_COUNTED} more" if len(counts) > _MOST_COUNTED else ""
    shown = [(" ".join(str(value).split()), rows) for value, rows in counts[:_MOST_COUNTED]]  # a comment is one line
    return ", ".join(f"{value} {rows:,}" for value, rows in shown) + more


def _doubts(found: SourceDescription) -> Iterator[str]:
    """What a reader should know before anything else, in sentences."""
    if doubt := _doubt_of_classes(found):
        yield doubt
    if found.missing is not None:
        lost = found.missing
        told = "none" if lost.all else f"only {lost.files - lost.count:,}"
        yield f"{told} of the {lost.files:,} image files exist; the first missing one is {lost.first}."
    if found.unnameable:
        yield f"{found.unnameable:,} files are left out: their names, or their folders', are not UTF-8. Rename them."
    folded: dict[str, list[str]] = {}
    for value in found.classes:
        folded.setdefault(str(value).casefold(), []).append(str(value))
    if alike := [" and ".join(names) for names in folded.values() if len(names) > 1]:
        yield f"classes whose names differ in case alone: {', '.join(alike)}; list them in one class if they are one."
    few = [f"{value} {images}" for value, images in found.classes.items() if images < FEW_IMAGES]
    if few and len(found.classes) > 1:
        yield f"few images of {', '.join(few)}{'' if found.split_column else ': about one in five is for validation'}."
    if found.name_pattern is not None:
        of = found.name_pattern
        yield (
            f"patients are taken from the files' names: {of.patients:,} patients of {of.matched:,} of {of.images:,} "
            "images; check patient_pattern."
        )
    elif found.patient_column is None and not found.split_column:
        yield "no patients are known: the split is by image, and a patient may be on both sides."
    elif found.patient_column is None:
        yield "no patients are known: whether one is on both sides of the stated split cannot be checked."
    if found.shared_patients:
        yield (
            f"the column split has images of {found.shared_patients} patients in more than one part: the study draws "
            "its own, patients whole."
        )
    look = found.look
    if look is not None and 0 < look.coloured < look.seen:
        yield f"{look.coloured} of {look.seen} images looked at are in colour, the others grey."


def _doubt_of_classes(found: SourceDescription) -> str | None:
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
    parts = {str(value).casefold() for value in found.values.get("split", {})}
    if "validation" in parts and parts & {"test", "testing"}:
        return "patient           # <- validation and test are stated, and which one scores is not clear: drawn anew"
    if found.shared_patients:
        return f"patient           # <- split: declared would leave {found.shared_patients} patients on several sides"
    if found.split_column:
        return "declared          # the split that is stated; patient: drawn anew, patients whole"
    if found.patient_column is None and found.name_pattern is None:
        return (
            "patient           # <- no patients known: in effect a split by image, and a patient may be on both sides"
        )
    return "patient           # all images of a patient on one side; image: as the reference study did"
