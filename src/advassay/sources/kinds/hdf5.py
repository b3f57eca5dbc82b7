"""Arrays of images in HDF5 files, as PatchCamelyon keeps them: one file of images and one of labels for each part."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from advassay.errors import SourceError
from advassay.optional_libraries import require_library
from advassay.sources.base import LEFT_OUT, OpenSource, Pixels, Result
from advassay.sources.image_decoder import one_channel_if_grey
from advassay.sources.kinds.npz import MAX_IMAGES
from advassay.sources.read_failures import MAX_PIXELS, Unreadable
from advassay.sources.source_opener import SourceKind, SourceRequest, fingerprint_folder
from advassay.sources.table_files import read_table, require_column
from advassay.spec.source_spec import SOURCE_KINDS, Hdf5Part, Hdf5Source

if TYPE_CHECKING:
    import h5py

_OWN = ("row", "path", "original_patient", "image_type", "label", "split")
_BROKEN = (OSError, KeyError, ValueError, RuntimeError, TypeError)
"""What h5py raises for a file that is not what it says."""


class Hdf5Arrays(OpenSource):
    """Images of HDF5 files, read one by one; files stay open while the source is in use."""

    def __init__(self, name: str, rows: pl.DataFrame, source: Hdf5Source, patient: str | None, folder: Path) -> None:
        super().__init__(name, rows, pl.DataFrame(schema=LEFT_OUT), patient, folder)
        self._source, self._folder = source, folder
        self._images: dict[str, h5py.Dataset] = {}

    def map(self, rows: Sequence[int], work: Callable[[Pixels], Result]) -> Iterator[tuple[int, Result]]:
        for row in rows:
            if not 0 <= row < self.rows.height:
                raise KeyError(row)
            part, _, index = str(self.rows["path"][row]).partition("/")
            yield row, work(self._image(part, int(index)))

    def _image(self, part: str, index: int) -> Pixels:
        try:
            if part not in self._images:
                path = self._folder / self._source.parts[part].images  # type: ignore[index]
                self._images[part] = _array(path, self._source.images_array)
            return one_channel_if_grey(np.asarray(self._images[part][index]))
        except _BROKEN as error:
            return Unreadable("damaged", f"an HDF5 image that does not read ({type(error).__name__})")


def open_hdf5(name: str, source: Hdf5Source, path: Path) -> Hdf5Arrays:
    """Columns: `label` = the whole-number label as text, `split`, and those of the parts' tables.

    Raises SourceError for a missing file, or arrays other than images (n, h, w) or (n, h, w, 3) of uint8 or uint16 with
    n labels. Links to other files and arrays kept in them are refused.
    """
    if not path.is_dir():
        raise SourceError(f"sources.{name}.path: expected a folder of HDF5 files, got {path}.", "Check it and --data.")
    parts = [_part(name, source, split, part, path) for split, part in source.parts.items()]
    frame = pl.concat(parts, how="diagonal_relaxed")
    patient = source.patient_id if source.patient_id in frame.columns else None
    if patient is None and source.patient_id != "patient_id":
        require_column(frame.columns, source.patient_id, f"sources.{name}.patient_id")
    frame = frame.with_columns(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
        (pl.lit(None, pl.String) if patient is None else pl.col(patient).cast(pl.String)).alias("original_patient"),
        pl.lit(source.image_type, pl.String).alias("image_type"),
    )
    return Hdf5Arrays(name, frame.select(*_OWN, pl.exclude(*_OWN)), source, patient, path)


def _part(name: str, source: Hdf5Source, split: str, part: Hdf5Part, folder: Path) -> pl.DataFrame:
    images = _opened(name, folder / part.images, source.images_array)
    labels = _opened(name, folder / part.labels, source.labels_array)
    _check_shapes(name, part, images, labels)
    values = np.asarray(labels).reshape(-1).astype(np.int64)
    rows = pl.DataFrame({"label": values}).select(
        pl.concat_str(pl.lit(f"{split}/"), pl.int_range(pl.len())).alias("path"),
        pl.col("label").cast(pl.String),
        pl.lit(split).alias("split"),
    )
    return rows if part.table is None else _with_table(name, rows, folder / part.table)


def _with_table(name: str, rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    """The table's rows stand in the order of the images."""
    table = read_table(path)
    if table.height != rows.height:
        raise SourceError(
            f"sources.{name}: {path.name} needs a row for each of {rows.height:,} images, got {table.height:,}.",
            "Get the table again from where the set is published.",
        )
    others = [column for column in table.columns if column and column not in _OWN]
    return pl.concat([rows, table.select(others)], how="horizontal")


def _opened(name: str, path: Path, array: str) -> h5py.Dataset:
    if not path.is_file():
        raise SourceError(f"sources.{name}.parts: no such file: {path}.", "Unpack .gz files.")
    try:
        return _array(path, array)
    except _BROKEN as error:
        raise SourceError(
            f"sources.{name}.parts: expected an HDF5 file with an array {array!r}, got {path.name} "
            f"({type(error).__name__}).",
            "Get the file again, or name its arrays with images_array and labels_array.",
        ) from error


def _array(path: Path, array: str) -> h5py.Dataset:
    """Raises KeyError or OSError for what is not a plain array inside this very file."""
    import h5py

    file = h5py.File(path, "r")
    found: Any = file.get(array)
    plain = isinstance(found, h5py.Dataset) and not (found.external or found.is_virtual)
    if not plain or found.file.filename != file.filename:  # the last: a link into another file
        file.close()
        raise KeyError(array)
    return found


def _check_shapes(name: str, part: Hdf5Part, images: h5py.Dataset, labels: h5py.Dataset) -> None:
    shape, number = images.shape, images.shape[0] if images.shape else 0
    colour = len(shape) == 4 and shape[3] == 3
    if not (len(shape) == 3 or colour) or images.dtype not in (np.uint8, np.uint16) or 0 in shape:
        seen = f"images of shape {shape} and type {images.dtype}"
    elif number > MAX_IMAGES or math.prod(shape[1:3]) > MAX_PIXELS:
        seen = f"images of shape {shape} (more than {MAX_IMAGES:,}, or too large)"
    elif math.prod(labels.shape) != number or labels.dtype.kind not in "iub":
        seen = f"labels of shape {labels.shape} and type {labels.dtype} for {number:,} images"
    else:
        return
    raise SourceError(
        f"sources.{name}.parts: images (n, h, w) or (n, h, w, 3) of 8 or 16 bits with n whole labels are needed, "
        f"got {seen} in {part.images}.",
        "Save the images as files with a table instead.",
    )


class Hdf5Kind(SourceKind[Hdf5Source]):
    """A folder of HDF5 files."""

    name = "hdf5"
    spec = Hdf5Source

    def open(self, source: Hdf5Source, request: SourceRequest) -> Hdf5Arrays:
        require_library("h5py")
        return open_hdf5(request.name, source, request.locate(source.path))

    def fingerprint(self, source: Hdf5Source, request: SourceRequest) -> str:
        return fingerprint_folder(request.locate(source.path))


HDF5 = SOURCE_KINDS.register(Hdf5Kind())
