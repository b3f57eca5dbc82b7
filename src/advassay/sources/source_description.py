"""What a path seems to be, so that a starter study can be written for it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import polars as pl

from advassay.errors import SourceError
from advassay.sources.base import OpenSource
from advassay.sources.column_allowlist import short_values
from advassay.sources.file_paths import NOT_UTF8, MissingFiles, missing_files
from advassay.sources.folder_conventions import IMAGE_PARTS, NamePattern, guess_levels, propose_pattern, states_a_split
from advassay.sources.image_sample import LOOKED_AT, ImageLook, look_at
from advassay.sources.kinds.image_files import SUFFIXES, names_below, open_folder, open_table
from advassay.sources.kinds.npz import open_npz
from advassay.sources.table_files import is_id, read_table
from advassay.spec.rule_spec import Scalar
from advassay.spec.source_spec import FolderSource, NpzSource, TableSource

_IMAGE_NAMES = ("image", "path", "file", "filename", "image_path", "file_name", "image_index", "image_id", "id", "img")
_LABEL_NAMES = (
    "label",
    "class",
    "class_name",
    "diagnosis",
    "target",
    "finding",
    "findings",
    "finding_labels",
    "category",
    "dx",
    "labels",
    "pathology",
)
_PATIENT_NAMES = (
    "patient_id",
    "patient",
    "patientid",
    "subject_id",
    "subject",
    "case_id",
    "person_id",
    "lesion_id",
    "group_id",
    "slide_id",
)
_MOST_CLASSES = 20
_MOST_SHOWN_VALUES = 30
_TABLE_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
_LEAST_FOUND = 0.5
"""Share of a table's images that must lie in a folder for it to be the images' folder."""


@dataclass(frozen=True)
class SourceDescription:
    """A guess for a human to check: kind of source, the columns that seem to matter, classes with counts."""

    kind: Literal["table", "folder", "npz"]
    path: Path
    images: int
    columns: tuple[str, ...] = ()
    image_column: str | None = None
    label_column: str | None = None
    patient_column: str | None = None
    classes: dict[Scalar, int] = field(default_factory=dict)
    """Label, of the column's own type → images, most frequent first; empty where no column looks like a label."""
    folders: tuple[str, ...] = ("label",)
    """A folder: what each level is."""
    images_folder: str | None = None
    """A table: folder of the images beside it, where they do not lie where the column says."""
    ending: str | None = None
    """A table: ending of the files, where the column leaves it out."""
    values: dict[str, dict[Scalar, int]] = field(default_factory=dict)
    """Column → value → rows, most frequent first, of columns that a rule may use."""
    split_column: bool = False
    """Whether a column `split` states the parts."""
    shared_patients: int = 0
    """Patients with images in more than one part of it."""
    name_pattern: NamePattern | None = None
    """What file names say of patients, where no column does."""
    missing: MissingFiles | None = None
    """Files that a table names and that are not there; None where all are."""
    unnameable: int = 0
    """A folder: files below it that are left out because their names, or their folders', are not UTF-8."""
    look: ImageLook | None = None
    """What a few images look like; None where none could be read."""


def describe(path: Path) -> SourceDescription:
    """Say what `path` seems to be: a folder per class, a table with a column of images, or a MedMNIST .npz.

    A folder that holds a table of its images (metadata.csv beside images/) is that table. A few images are read. Raises
    SourceError if `path` is none of these.
    """
    if path.is_dir():
        return _describe_tables_folder(path) or _table_or_folder(path) or _described_beside(path)
    if path.suffix.lower() == ".npz":
        return _describe_npz(path)
    return _describe_table(path)


def _describe_npz(path: Path) -> SourceDescription:
    opened = open_npz("images", NpzSource(kind="npz", path=path.name), path)
    found = SourceDescription(
        "npz",
        path,
        opened.rows.height,
        ("label", "split"),
        label_column="label",
        classes=_counts(opened.rows["label"]),
        split_column=True,
    )
    return replace(found, look=_look(opened, found))


def _described_beside(path: Path) -> SourceDescription:
    """The table beside the folder `path` whose images lie there. Raises SourceError where there is none."""
    beside = _describe_tables_folder(path.resolve().parent)
    if beside is not None and beside.images_folder is not None and Path(beside.images_folder).parts[:1] == (path.name,):
        return beside
    raise SourceError(
        f"path: expected a subfolder per class with images, or a table beside them, got {path} without any.",
        "Put the images of each class into a folder of its own (PNG, JPEG, TIFF), or use a table.",
    )


def _table_or_folder(path: Path) -> SourceDescription | None:
    """A folder per class; where all images lie in one folder and a table names them, that table."""
    found = _describe_folder(path)
    if found is None or len(found.classes) > 1:
        return found
    return _describe_tables_folder(path, needs_classes=False) or found


def _describe_folder(path: Path) -> SourceDescription | None:
    """A folder per class; None where no image lies in a subfolder."""
    if not any(os.sep in place for places in names_below(path).values() for place in places):
        return None
    flat = open_folder("images", FolderSource(kind="folder", path=path.name), path).rows
    levels = guess_levels(flat["path"].to_list()) or ("label",)
    opened = open_folder("images", FolderSource(kind="folder", path=path.name, folders=levels), path)
    rows = opened.rows
    shown = {name: _counts(rows[name]) for name in levels if name in rows.columns and name != "label"}
    wanted = rows
    if "part" in shown and (images := [name for name in shown["part"] if str(name).casefold() in IMAGE_PARTS]):
        wanted = rows.filter(pl.col("part").is_in(images))
    patients = "patient_id" if "patient_id" in levels else None
    found = SourceDescription(
        "folder",
        path,
        wanted.height,
        tuple(name for name in levels if name != "-"),
        label_column="label",
        patient_column=patients,
        classes=_counts(wanted["label"]),
        folders=levels,
        values=shown,
        split_column="split" in shown and states_a_split(str(name) for name in shown["split"]),
        name_pattern=None if patients else propose_pattern(wanted["path"]),
        unnameable=opened.left_out.filter(pl.col("reason") == NOT_UTF8[0]).height,
    )
    return replace(found, look=_look(opened, found, wanted["row"]))


def _describe_tables_folder(path: Path, *, needs_classes: bool = True) -> SourceDescription | None:
    """The table in `path` that names the most images, where these lie below `path`.

    needs_classes: only tables in which a column of classes was recognised.
    """
    found = []
    for file in sorted(path.iterdir()):
        if not file.name.lower().endswith(_TABLE_ENDINGS) or not file.is_file():
            continue
        try:
            described = _describe_table(file)
        except SourceError:  # not a table of images
            continue
        lost = described.missing.count if described.missing else 0
        if (described.classes or not needs_classes) and lost <= (1 - _LEAST_FOUND) * described.images:
            found.append(described)
    return max(found, key=lambda one: one.images, default=None)


def _describe_table(path: Path) -> SourceDescription:
    table = read_table(path)
    image, folder, ending = _place_of_images(table, path.parent)
    if image is None:
        raise SourceError(
            f"path: expected a table with a column of image paths (ending in {', '.join(SUFFIXES)}), got {path}.",
            f"There are: {table.columns}.",
        )
    label = _label_column(table, image)
    patient = _named(table, _PATIENT_NAMES, besides=image)
    source = TableSource(
        kind="table", path=path.name, image=image, images=folder, ending=ending, patient_id=patient or "patient_id"
    )
    opened = open_table("images", source, path, None if folder is None else path.parent / folder)
    split = "split" in table.columns and states_a_split(table["split"].cast(pl.String).unique())
    found = SourceDescription(
        kind="table",
        path=path,
        images=table[image].drop_nulls().len(),
        columns=tuple(table.columns),
        image_column=image,
        label_column=label,
        patient_column=patient,
        classes=_counts(table[label]) if label else {},
        images_folder=folder,
        ending=ending,
        values=_values(table, {image, label, patient}),
        split_column=split,
        shared_patients=_shared_patients(table, patient) if split else 0,
        name_pattern=None if patient else propose_pattern(opened.rows["path"]),
        missing=missing_files(opened, opened.rows["row"]),
    )
    return replace(found, look=_look(opened, found))


def _look(opened: OpenSource, found: SourceDescription, rows: pl.Series | None = None) -> ImageLook | None:
    """Look at a few images, spread evenly over `rows`."""
    chosen = opened.rows["row"] if rows is None else rows
    step = max(1, -(-chosen.len() // LOOKED_AT))
    wanted = chosen.gather_every(step).to_list()
    modality = [str(next(iter(counts))) for name, counts in found.values.items() if name.lower() == "modality"]
    words = " ".join(modality or [found.path.parent.name, found.path.stem, *found.columns, *map(str, found.classes)])
    return look_at((pixels for _, pixels in opened.read(wanted)), words)


def _values(table: pl.DataFrame, known: set[str | None]) -> dict[str, dict[Scalar, int]]:
    return {
        name: _counts(table[name])
        for name in table.columns
        if name not in known
        and _can_be_ruled(table[name])
        and not table[name].dtype.is_float()
        and not is_id(name)
        and short_values(table[name])
        and 2 <= table[name].drop_nulls().n_unique() <= _MOST_SHOWN_VALUES
    }


def _shared_patients(table: pl.DataFrame, patient: str | None) -> int:
    """Patients that a stated split has in more than one part."""
    if patient is None:
        return 0
    parts = table.drop_nulls(patient).group_by(patient).agg(pl.col("split").n_unique())
    return parts.filter(pl.col("split") > 1).height


def _place_of_images(table: pl.DataFrame, root: Path) -> tuple[str | None, str | None, str | None]:
    """The column of images, the folder they lie in (None: as the column says), and their ending (None: it has it)."""
    image = _image_column(table)
    if image is not None:
        paths = table[image].drop_nulls().unique(maintain_order=True)
        if any((root / path).is_file() for path in paths.gather_every(max(1, paths.len() // 50))):
            return image, None, None
        return image, _folder_with(root, paths, None), None
    below = names_below(root)
    stems = {name.rsplit(".", 1)[0]: name.rsplit(".", 1)[1] for name in below}
    for name in _named_columns(table, _IMAGE_NAMES):
        texts = table[name].cast(pl.String).drop_nulls().unique(maintain_order=True)
        endings = [stems[text] for text in texts if text in stems]
        if len(endings) > _LEAST_FOUND * texts.len():
            ending = f".{max(set(endings), key=endings.count)}"
            return name, _folder_with(root, texts, ending), ending
    return None, None, None


def _folder_with(root: Path, paths: pl.Series, ending: str | None) -> str | None:
    """The folder below `root` under which most of the files lie; "." where only the whole tree has them; None where
    it has few."""
    names = {f"{path}{ending or ''}" for path in paths.to_list()}
    below = names_below(root)
    bare = {name: places for name, places in below.items() if name in names}
    if len(bare) > _LEAST_FOUND * len(names):
        return os.path.commonpath([os.path.dirname(places[0]) or "." for places in bare.values()]) or "."
    for folder in sorted(inner.name for inner in root.iterdir() if inner.is_dir() and not inner.name.startswith(".")):
        if sum((root / folder / name).is_file() for name in names) > _LEAST_FOUND * len(names):
            return folder
    return None


def _image_column(table: pl.DataFrame) -> str | None:
    looks = [
        name
        for name in table.columns
        if table[name].dtype == pl.String and table[name].drop_nulls().len() and _share_of_images(table[name]) > 0.5
    ]
    named = _named(table.select(looks), _IMAGE_NAMES) if looks else None
    return named or (looks[0] if looks else None)


def _share_of_images(column: pl.Series) -> float:
    ending = "(?i)(" + "|".join(suffix.replace(".", r"\.") for suffix in SUFFIXES) + ")$"
    return float(column.drop_nulls().str.contains(ending).mean())  # type: ignore[arg-type]


def _label_column(table: pl.DataFrame, image: str) -> str | None:
    rest = table.drop(image)
    usable = [
        name
        for name in rest.columns
        if _can_be_ruled(rest[name]) and 2 <= rest[name].drop_nulls().n_unique() <= _MOST_CLASSES
    ]
    return _named(rest.select(usable), _LABEL_NAMES) if usable else None


def _can_be_ruled(column: pl.Series) -> bool:
    """Whether a study file can name the column's values: texts, numbers, truth values."""
    return column.dtype in (pl.String, pl.Boolean, pl.Categorical, pl.Enum) or (
        column.dtype.is_integer() or column.dtype.is_float()
    )


def _named(table: pl.DataFrame, names: Sequence[str], besides: str | None = None) -> str | None:
    """The first column, in the order of `names`, that bears one of them and is not empty."""
    return next((name for name in _named_columns(table, names) if name != besides), None)


def _named_columns(table: pl.DataFrame, names: Sequence[str]) -> list[str]:
    by_name = {name.strip().lower().replace(" ", "_"): name for name in table.columns}
    known = (by_name[name] for name in names if name in by_name)
    return [column for column in known if table[column].drop_nulls().len()]


def _counts(column: pl.Series) -> dict[Scalar, int]:
    given = column.drop_nans() if column.dtype.is_float() else column
    counts = given.drop_nulls().value_counts(sort=True)
    ordered = counts.sort(["count", column.name], descending=[True, False])
    return dict(ordered.iter_rows())
