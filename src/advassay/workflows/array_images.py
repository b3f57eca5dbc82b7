"""Arrays of images, from Python, an .npz or a prepared cohort, as lossless PNG files beside a table.

They lie in a folder that is deleted once the cohort is prepared. Its name is the hash of their content, so that the
same arrays are recognised without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from advassay.errors import InputError, SourceError
from advassay.identity import ID_LENGTH
from advassay.workflows.image_source import (
    EvaluatedImages,
    ImageOptions,
    class_indices,
    class_order,
    made_folder,
    plain_name,
    unlabelled_source,
)

EIGHT_BIT = 1e-3
"""How far, in grey levels, floats may lie from whole ones of 255 to be kept as 8-bit images."""


def arrays_in(path: Path) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None] | None:
    """(images, labels, patients) of an .npz; None for a MedMNIST file. SourceError for neither kind."""
    from advassay.sources.kinds.npz import MAX_BYTES

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
def images_from_arrays(
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
    with TemporaryDirectory(prefix=f".{store.name}-", dir=made_folder(store.parent)) as parent:
        folder = Path(parent) / folder_name
        folder.mkdir()
        for file, image in zip(table["image"], pixels, strict=True):
            (folder / file).write_bytes(encode(image))
        height, width = pixels.shape[1:3]
        channels = 3 if pixels.ndim == 4 else 1
        side = height if height == width else None
        if not known:
            bare = unlabelled_source(table, folder, name, names_patients=patients is not None)
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
    found, names = table["label"].unique().to_list(), options.class_names
    if names is not None and not set(found) <= set(names):
        indices = class_indices(found)
        if indices is not None and max(indices) >= len(names):
            raise InputError(
                f"labels: expected class indices 0 to {len(names) - 1}, got {max(indices)}.", "Check them."
            )
    order = class_order(found, options, "labels")
    called = {written: name for name, written in order.items()}
    return tuple(order), table.with_columns(pl.col("label").replace(called))


@contextmanager
def images_from_cohort(path: Path, options: ImageOptions, store: Path) -> Iterator[EvaluatedImages]:
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
    with images_from_arrays(pixels, labels, patients, own, name=plain_name(path.name), store=store) as found:
        note = f"Of the prepared cohort {path.name} its {len(ids)} validation images are evaluated."
        yield replace(found, notes=(*found.notes, note))
