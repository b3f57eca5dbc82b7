"""IMAGES of `evaluate`: a folder, a table, a file of arrays, a prepared cohort or arrays, as the source of one cohort.

Files stay where they are. Arrays are written as lossless PNG files beside a table, in a folder that is deleted once the
cohort is prepared; the folder's name is the hash of their content, so that the same arrays are recognised without it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from advassay.errors import CohortError, InputError, SourceError, SpecError
from advassay.identity import ID_LENGTH

if TYPE_CHECKING:
    from advassay.sources.base import OpenSource

TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
LOOKED_AT = 32
"""Images whose size is looked at where neither the model nor the caller says what size to prepare."""
EIGHT_BIT = 1e-3
"""How far, in grey levels, floats may lie from whole ones of 255 to be kept as 8-bit images."""

Decide = Callable[[np.ndarray], np.ndarray]
"""Prepared images, float32 (image, channel, height, width) in [0, 1] → the model's decisions, int64 (image,)."""


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
        if path.suffix.lower() == ".npz" and path.is_file() and (arrays := _arrays_in(path)) is not None:
            with _from_arrays(*arrays, options, name=_plain(path.stem), store=store) as found:
                yield found
        elif (path / "preparation.json").is_file():
            with _from_cohort(path, options, store) as found:
                yield found
        else:
            yield _from_files(path, options)
    else:
        with _from_arrays(given, labels, patients, options, name="images", store=store) as found:
            yield found


# ---- files ----------------------------------------------------------------------------------------------------------


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
    from advassay.sources.file_sources import SUFFIXES

    inside = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not inside:
        names = sorted(e.name for e in path.iterdir() if e.name.lower().endswith(SUFFIXES) and e.name[0] != ".")
        if not names:
            raise SourceError(
                f"images: expected a subfolder per class, or images, in {path}, found neither.",
                "Put the images of each class into a folder of its own (PNG, JPEG, TIFF).",
            )
        return _unlabelled_folder(path, names, options)
    classes = _known_classes(inside, options, f"the subfolders of {path.name}")
    source: dict[str, Any] = {"kind": "folder", "path": path.name}
    if options.patient_pattern is not None:
        source["patient_pattern"] = options.patient_pattern
    rules = {name: {"label": [name]} for name in classes}
    patients = options.patient_pattern is not None
    return _with_side(EvaluatedImages(_plain(path.name), source, path.parent, rules, None, names_patients=patients))


def _unlabelled_folder(path: Path, names: Sequence[str], options: ImageOptions) -> EvaluatedImages:
    """Images that lie side by side: a table of them is written once the model has decided."""
    table = pl.DataFrame({"image": names, "patient_id": _patients(names, options.patient_pattern)})
    return _with_side(_unlabelled(table, path, _plain(path.name), options.patient_pattern is not None))


def _patients(names: Sequence[str], pattern: str | None) -> pl.Series:
    from advassay.sources.file_sources import patients_in_paths

    if pattern is None:
        return pl.Series([None] * len(names), dtype=pl.String)
    return patients_in_paths(pl.Series(names, dtype=pl.String), pattern)


def _unlabelled(table: pl.DataFrame, folder: Path, name: str, patients: bool) -> EvaluatedImages:
    return EvaluatedImages(
        name, {"kind": "table", "path": "", "images": folder.name}, folder.parent, {}, None, labelled=False,
        names_patients=patients,
        notes=(
            "The images have no labels: the model's own decisions on them stand for labels. Success is a change of "
            "that decision; nothing is said of how often the model is right.",
        ),
        columns={"table": table},
    )  # fmt: skip


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
        return _with_side(_unlabelled(plain, path.parent, _plain(path.stem), known))
    source: dict[str, Any] = {"kind": "table", "path": path.name, "image": options.image_column}
    if known:
        source["patient_id"] = patient
    if options.patient_pattern is not None:
        source["patient_pattern"] = options.patient_pattern
    values = table[options.label_column].drop_nulls().unique().sort().to_list()
    rules = _rules(options.label_column, values, options, f"column {options.label_column!r} of {path.name}")
    patients = known or options.patient_pattern is not None
    return _with_side(EvaluatedImages(_plain(path.stem), source, path.parent, rules, None, names_patients=patients))


def _medmnist(path: Path, options: ImageOptions) -> EvaluatedImages:
    """A MedMNIST file: its test part is what is evaluated."""
    from advassay.sources.npz_source import open_npz
    from advassay.spec.source_spec import NpzSource

    source = {"kind": "npz", "path": path.name}
    opened = open_npz("images", NpzSource(kind="npz", path=path.name), path)
    rows = opened.rows.filter(pl.col("split") == "validation")
    values = sorted(rows["label"].unique().to_list(), key=lambda label: (len(label), label))
    rules = _rules("label", values, options, path.name)
    note = "Of the MedMNIST file its test part is evaluated."
    tested = {"where": {"split": ["validation"]}}
    return _with_side(
        EvaluatedImages(_plain(path.stem), source, path.parent, rules, None, notes=(note,), columns=tested)
    )


def _rules(column: str, values: Sequence[Any], options: ImageOptions, where: str) -> dict[str, dict[str, list[Any]]]:
    """Class → rule. Values name classes, or are indices of the logits where the model's names are not among them."""
    named = options.class_names
    if named is not None and not set(map(str, values)) <= set(named):
        indices = _indices(values)
        if indices is not None and max(indices) < len(named):
            of_index = dict(zip(indices, values, strict=True))
            return {name: {column: [of_index.get(i, _absent(values, i))]} for i, name in enumerate(named)}
    indices = _indices(values) if named is None else None
    if indices is not None:  # class indices: logits in the order of the numbers, not of their texts (0, 1, 10, 2)
        of_index = dict(zip(indices, values, strict=True))
        return {str(i): {column: [of_index.get(i, _absent(values, i))]} for i in range(max(*indices, 1) + 1)}
    classes = _known_classes([str(value) for value in values], options, where)
    of_name = {str(value): value for value in values}
    return {name: {column: [of_name.get(name, name)]} for name in classes}


def _absent(values: Sequence[Any], index: int) -> Any:
    """What the column would hold for a class of which there is no image."""
    return str(index) if values and isinstance(values[0], str) else index


def _indices(values: Sequence[Any]) -> list[int] | None:
    """Values as whole numbers from 0; None where one is none."""
    try:
        numbers = [int(str(value)) for value in values]
    except ValueError:
        return None
    return numbers if numbers and min(numbers) >= 0 else None


def _known_classes(found: Sequence[str], options: ImageOptions, where: str) -> tuple[str, ...]:
    """Class names in the order of the logits. Raises CohortError for a class that the model does not have."""
    if options.class_names is None:
        if len(found) < 2:
            raise CohortError(
                f"images: expected two or more classes, {where} name {', '.join(found) or 'none'}.",
                "Say what the model's classes are, in the order of its logits: --classes a,b.",
            )
        return tuple(sorted(found))
    if odd := sorted(set(found) - set(options.class_names)):
        raise CohortError(
            f"images: expected classes of the model ({', '.join(options.class_names)}), {where} also name "
            f"{', '.join(odd)}.",
            "Rename them, or say what the model's classes are called here, in the order of its logits: --classes a,b.",
        )
    return options.class_names


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


def _plain(name: str) -> str:
    """A name that a cohort may have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "images"


# ---- arrays ---------------------------------------------------------------------------------------------------------


def _arrays_in(path: Path) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None] | None:
    """(images, labels, patients) of an .npz; None for a MedMNIST file. SourceError for neither kind."""
    from advassay.sources.npz_source import MAX_BYTES

    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = set(arrays.files)
            if "test_images" in names:
                return None
            if "images" not in names:
                raise SourceError(
                    f"images: expected an .npz with arrays images, labels (and patients), {path.name} has "
                    f"{', '.join(sorted(names)) or 'none'}.",
                    "Save it so: numpy.savez(path, images=images, labels=labels).",
                )
            if arrays.zip is not None and arrays.zip.getinfo("images.npy").file_size > MAX_BYTES:
                raise SourceError(
                    f"images: at most {MAX_BYTES >> 30} GiB of arrays, {path.name} holds more.",
                    "Give a folder of image files, or a table.",
                )
            labels, patients = (arrays[key] if key in names else None for key in ("labels", "patients"))
            return arrays["images"], labels, patients
    except (ValueError, OSError, KeyError) as error:
        raise SourceError(
            f"images: expected a readable .npz of plain arrays, got {path.name} ({error}).",
            "Arrays of Python objects are not read: save images and labels as numbers.",
        ) from None


@contextmanager
def _from_arrays(
    images: Any, labels: Any, patients: Any, options: ImageOptions, *, name: str, store: Path
) -> Iterator[EvaluatedImages]:
    """The arrays as PNG files and a table of them, in a folder that is deleted afterwards."""
    from advassay.cohorts.image_preparation import encode

    pixels, notes = stored_pixels(images)
    table = _array_table(len(pixels), labels, patients)
    known = "label" in table.columns
    classes, table = _with_class_names(table, options) if known else ((), table)
    digest = hashlib.sha256(f"{pixels.dtype} {pixels.shape};".encode())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    digest.update(f"{classes} {table.write_csv()}".encode())
    folder_name = f"arrays-{digest.hexdigest()[:ID_LENGTH]}"
    with TemporaryDirectory(prefix=f".{store.name}-", dir=_made(store.parent)) as parent:
        folder = Path(parent) / folder_name
        folder.mkdir()
        for file, image in zip(table["image"], pixels, strict=True):
            (folder / file).write_bytes(encode(image))
        height, width = pixels.shape[1:3]
        channels = 3 if pixels.ndim == 4 else 1
        side = height if height == width else None
        if not known:
            bare = _unlabelled(table, folder, name, patients is not None)
            yield replace(
                bare, side_px=side, notes=(*bare.notes, *notes), columns=bare.columns | {"channels": channels}
            )
            return
        table.write_parquet(folder / "table.parquet")  # CSV would turn classes called 0 and 1 into numbers
        source = {"kind": "table", "path": f"{folder_name}/table.parquet", "image": "image"}
        rules = {text: {"label": [text]} for text in classes}
        yield EvaluatedImages(
            name, source, Path(parent), rules, side, names_patients=patients is not None, notes=tuple(notes),
            columns={"channels": channels},
        )  # fmt: skip


def stored_pixels(images: Any) -> tuple[np.ndarray, list[str]]:
    """(uint8 or uint16 (image, height, width[, 3]), notes) from floats in [0, 1] or unsigned integers.

    Floats that are whole grey levels of 255 are kept at 8 bits, others rounded to 16. Raises InputError for arrays of
    another shape, type or range.
    """
    array = np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or len(array) == 0:
        raise InputError(
            f"images: expected an array (image, channel, height, width), got shape {array.shape}.", "Stack them."
        )
    if array.shape[1] in (1, 3):
        array = array.transpose(0, 2, 3, 1)
    elif array.shape[3] not in (1, 3):
        raise InputError(f"images: expected 1 or 3 channels, got shape {array.shape}.", "Choose the channels shown.")
    array = array[..., 0] if array.shape[3] == 1 else array
    if array.dtype in (np.uint8, np.uint16):
        return array, []
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"images: expected floats in [0, 1], uint8 or uint16, got {array.dtype}.",
            "Convert 8-bit images with images.astype('uint8').",
        )
    low, high = float(array.min()), float(array.max())
    if not (low >= -1e-6 and high <= 1 + 1e-6):
        raise InputError(
            f"images: expected values in [0, 1], got {low:.4g} to {high:.4g}.",
            "Divide grey levels by 255; undo a normalisation and give it as mean=…, std=….",
        )
    levels = np.clip(array, 0.0, 1.0).astype(np.float64) * 255
    if float(np.abs(levels - np.rint(levels)).max()) < EIGHT_BIT:
        return np.rint(levels).astype(np.uint8), []
    note = "The images were floats: they are kept at 16 bits, a rounding of at most 1/131070 of the range."
    return np.rint(np.clip(array, 0.0, 1.0).astype(np.float64) * 65535).astype(np.uint16), [note]


def _array_table(n: int, labels: Any, patients: Any) -> pl.DataFrame:
    """image (a file name), and label and patient_id as text where they are given."""
    columns: dict[str, pl.Series] = {"image": pl.Series([f"{number:07d}.png" for number in range(n)], dtype=pl.String)}
    for name, argument, given in (("label", "labels", labels), ("patient_id", "patients", patients)):
        if given is None:
            continue
        values = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
        values = values.reshape(n) if values.shape == (n, 1) else values
        if values.shape != (n,) or values.dtype.kind not in "iuUSOb":
            raise InputError(
                f"{argument}: expected one per image, ({n},), whole numbers or texts, got {values.dtype} of shape "
                f"{values.shape}.",
                "One class index an image, not one-hot rows or floats: labels.argmax(1).",
            )
        texts = [value.decode() if isinstance(value, bytes) else str(value) for value in values.tolist()]
        columns[name] = pl.Series(texts, dtype=pl.String)
    return pl.DataFrame(columns)


def _with_class_names(table: pl.DataFrame, options: ImageOptions) -> tuple[tuple[str, ...], pl.DataFrame]:
    """(class names in the order of the logits, the table with names in place of indices)."""
    found = table["label"].unique().to_list()
    indices, named = _indices(found), options.class_names
    if named is not None and set(found) <= set(named):
        return named, table
    if indices is None:
        return _known_classes(found, options, "labels"), table
    names = named or tuple(map(str, range(max(*indices, 1) + 1)))
    if max(indices) >= len(names):
        raise InputError(f"labels: expected class indices 0 to {len(names) - 1}, got {max(indices)}.", "Check them.")
    called = {text: names[index] for text, index in zip(found, indices, strict=True)}
    return names, table.with_columns(pl.col("label").replace(called))


@contextmanager
def _from_cohort(path: Path, options: ImageOptions, store: Path) -> Iterator[EvaluatedImages]:
    """The validation images of a prepared cohort, with its classes and patients."""
    from advassay.cohorts import open_cohort

    cohort = open_cohort(path)
    ids = cohort.ids("validation")
    names = cohort.preparation.class_names
    depth = 255 if cohort.preparation.bits == 8 else 65535
    pixels = np.rint(cohort.images(ids).astype(np.float64) * depth).astype(np.uint8 if depth == 255 else np.uint16)
    known = dict(cohort.manifest.select("image_id", "patient_id").iter_rows())
    patients = [known[image_id] for image_id in ids] if cohort.preparation.patients_known else None
    labels = [names[label] for label in cohort.labels(ids).tolist()]
    own = replace(options, class_names=options.class_names or names)
    with _from_arrays(pixels, labels, patients, own, name=_plain(path.name), store=store) as found:
        note = f"Of the prepared cohort {path.name} its {len(ids)} validation images are evaluated."
        yield replace(found, notes=(*found.notes, note))


# ---- images without labels ------------------------------------------------------------------------------------------


@contextmanager
def labelled_by_model(
    images: EvaluatedImages,
    decide: Decide,
    class_names: Sequence[str],
    cohort: Mapping[str, Any],
    size_px: int,
    store: Path,
) -> Iterator[EvaluatedImages]:
    """The same images with the model's own decisions as labels, for as long as they are prepared.

    They are prepared once without labels, so that the model decides on exactly what is attacked. `decide` gives the
    index of the class of prepared images; `cohort`: fields of the cohort that say how images are prepared.
    """
    table: pl.DataFrame = images.columns["table"]
    with TemporaryDirectory(prefix=f".{store.name}-", dir=_made(store.parent)) as parent:
        root = Path(parent)
        (root / "all").mkdir()
        (root / "all" / "images").symlink_to(images.data / images.source["images"], target_is_directory=True)
        table.with_columns(label=pl.lit("image")).write_parquet(root / "all" / "table.parquet")
        decided = _decisions(images.name, decide, cohort, size_px, root)
        named = table.join(decided, on="image", how="inner").with_columns(
            label=pl.col("decision").replace_strict(dict(enumerate(class_names)), return_dtype=pl.String)
        )
        named = named.drop("decision")
        folder = f"labels-{hashlib.sha256(named.write_csv().encode()).hexdigest()[:ID_LENGTH]}"
        (root / "all").rename(root / folder)
        named.write_parquet(root / folder / "table.parquet")
        source = {"kind": "table", "path": f"{folder}/table.parquet", "images": f"{folder}/images"}
        rest = {name: value for name, value in images.columns.items() if name != "table"}
        rules = {name: {"label": [name]} for name in class_names}
        yield replace(images, source=source, data=root, classes=rules, columns=rest)


def _decisions(name: str, decide: Decide, cohort: Mapping[str, Any], size_px: int, root: Path) -> pl.DataFrame:
    """image (as the table names it) and decision, of every image that can be prepared."""
    from advassay.cohorts import open_cohort, prepare
    from advassay.sources.pseudonyms import read_private
    from advassay.spec.cohort_spec import CohortSpec
    from advassay.spec.source_spec import TableSource

    source = TableSource(kind="table", path="all/table.parquet", images="all/images")
    both = {"image": {"label": ["image"]}, "none": {"label": ["none"]}}
    spec = CohortSpec.model_validate({"source": name, "classes": both, "split": "none", **cohort})
    private = root / "private.parquet"
    prepare(
        name, spec, source, size_px=size_px, seed=0, folder=root / "cohort", data=root, key=bytes(16), private=private
    )
    prepared = open_cohort(root / "cohort")
    ids = prepared.ids("validation")
    decisions = [decide(prepared.images(ids[start : start + 64])) for start in range(0, len(ids), 64)]
    found = pl.DataFrame({"image_id": ids, "decision": np.concatenate(decisions)})
    places = read_private(private).filter(pl.col("left_out").is_null()).select("image_id", "path")
    prefix = f"{root / 'all' / 'images'}/"
    return found.join(places, on="image_id").select(image=pl.col("path").str.strip_prefix(prefix), decision="decision")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
