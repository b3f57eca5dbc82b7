"""A MedMNIST .npz file (2-D): six arrays, {train,val,test}_{images,labels}."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from advassay.errors import SourceError
from advassay.identity import content_hash
from advassay.parquet_limits import most_decoded
from advassay.sources.base import LEFT_OUT, OpenSource, Pixels, Result
from advassay.sources.image_decoder import one_channel_if_grey
from advassay.sources.source_opener import SourceKind, SourceRequest
from advassay.spec.source_spec import SOURCE_KINDS, NpzSource

SPLITS = {"train": "training", "val": "tuning", "test": "validation"}
"""MedMNIST's names → ours: its validation part selects models, its test part is scored once."""
_BROKEN = (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, KeyError, MemoryError)
MAX_BYTES = 1 << 32
"""4 GiB: a part's images are held in memory while they are read."""
MAX_IMAGES = 10_000_000
"""Of one part: each is a row of the source's table."""


class NpzArrays(OpenSource):
    """Images of one .npz; a part (train, val, test) is loaded when its first image is read."""

    def __init__(self, name: str, rows: pl.DataFrame, path: Path) -> None:
        super().__init__(name, rows, pl.DataFrame(schema=LEFT_OUT), None, path)
        self._path = path
        self._parts: dict[str, np.ndarray] = {}

    def map(self, rows: Sequence[int], work: Callable[[Pixels], Result]) -> Iterator[tuple[int, Result]]:
        for row in rows:
            part, _, index = self._locator(row).partition("/")
            yield row, work(one_channel_if_grey(self._images(part)[int(index)]))

    def declared_size(self, row: int) -> tuple[int, int]:
        """(height, width) that the array of this row's part declares; nothing is unpacked."""
        part, _, _ = self._locator(row).partition("/")
        with zipfile.ZipFile(self._path) as archive:
            shape, _ = _declared(archive, f"{part}_images.npy")
        return shape[1], shape[2]

    def _locator(self, row: int) -> str:
        if not 0 <= row < self.rows.height:
            raise KeyError(row)
        return str(self.rows["path"][row])

    def _images(self, part: str) -> np.ndarray:
        if part not in self._parts:
            try:
                with np.load(self._path, allow_pickle=False) as arrays:
                    self._parts[part] = arrays[f"{part}_images"]
            except _BROKEN as error:
                raise _not_medmnist(self.name, f"{part}_images that do not unpack ({type(error).__name__})") from error
        return self._parts[part]


def open_npz(name: str, source: NpzSource, path: Path) -> NpzArrays:
    """Columns: `label` = class index as text, `split` = training | tuning | validation.

    Of several findings an image (ChestMNIST), `label` joins the numbers of those present with +, or is none.
    Raises SourceError for a file that is not such an .npz: images (n, h, w) or (n, h, w, 3) of uint8 or uint16,
    labels (n, 1) or (n,) of whole numbers, or (n, findings) of 0 and 1.
    """
    if not path.is_file():
        raise SourceError(f"sources.{name}.path: no such file: {path}.", "Check it and --data.")
    try:
        parts = [_part(name, path, part) for part in SPLITS]
        findings = {_findings(path, part) for part in SPLITS}
    except _BROKEN as error:
        raise _not_medmnist(name, f"{path.name} ({type(error).__name__})") from error
    if len(findings) > 1:
        raise _not_medmnist(name, f"{sorted(findings)} labels an image in its parts")
    frame = pl.concat(parts).with_columns(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
        pl.lit(None, pl.String).alias("original_patient"),
        pl.lit(source.image_type, pl.String).alias("image_type"),
    )
    return NpzArrays(name, frame.select("row", "path", "original_patient", "image_type", "label", "split"), path)


def _part(name: str, path: Path, part: str) -> pl.DataFrame:
    with zipfile.ZipFile(path) as archive:
        shape, dtype = _declared(archive, f"{part}_images.npy")  # believed only to refuse
        label_shape, label_dtype = _declared(archive, f"{part}_labels.npy")
        for member, declared in (("images", (shape, dtype)), ("labels", (label_shape, label_dtype))):
            unpacked = math.prod(declared[0]) * declared[1].itemsize
            packed = archive.getinfo(f"{part}_{member}.npy").compress_size
            if unpacked > most_decoded(packed):
                raise _not_medmnist(name, f"{part}_{member} of {unpacked:,} bytes in {packed:,} packed ones")
    if not (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)) or dtype not in (np.uint8, np.uint16):
        raise _not_medmnist(name, f"{part}_images of shape {shape} and type {dtype}")
    if label_shape[:1] != shape[:1] or len(label_shape) > 2 or 0 in label_shape[1:] or label_dtype.kind not in "iub":
        raise _not_medmnist(name, f"{part}_labels of shape {label_shape} and type {label_dtype}")
    if 0 in shape[1:] or shape[0] > MAX_IMAGES or math.prod(shape) * dtype.itemsize > MAX_BYTES:
        most = f"more than {MAX_BYTES >> 30} GiB, more than {MAX_IMAGES} images, or sides of 0"
        raise _not_medmnist(name, f"{part}_images of {shape} ({most})")
    with np.load(path, allow_pickle=False) as arrays:
        labels = _as_text(arrays[f"{part}_labels"].reshape(shape[0], -1))
    return pl.DataFrame({"label": labels}, schema={"label": pl.String}).select(
        pl.concat_str(pl.lit(f"{part}/"), pl.int_range(pl.len())).alias("path"),
        pl.col("label"),
        pl.lit(SPLITS[part]).alias("split"),
    )


def _findings(path: Path, part: str) -> int:
    """Labels of one image."""
    with zipfile.ZipFile(path) as archive:
        shape, _ = _declared(archive, f"{part}_labels.npy")
    return math.prod(shape[1:])


def _as_text(labels: np.ndarray) -> list[str]:
    """(image, 1) class index, or (image, finding) of 0 and 1 → one text an image.

    >>> _as_text(np.array([[0], [3]])), _as_text(np.array([[0, 1, 1], [0, 0, 0]]))
    (['0', '3'], ['1+2', 'none'])
    """
    if labels.shape[1] == 1:
        return [str(int(label)) for label in labels[:, 0]]
    return ["+".join(map(str, np.flatnonzero(findings))) or "none" for findings in labels]


def _declared(archive: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type an .npy member declares, read before anything is allocated."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return shape, dtype


def _not_medmnist(name: str, seen: str) -> SourceError:
    return SourceError(
        f"sources.{name}.path: a 2-D MedMNIST .npz is needed (train, val and test images of 8 or 16 bits with one "
        f"whole-number label each, or 0 and 1 for each finding), got {seen}.",
        "Use a 2-D MedMNIST file, or save the images as files with a table.",
    )


class NpzKind(SourceKind[NpzSource]):
    """A MedMNIST file. It is large, so its size and time of change stand for its content."""

    name = "npz"
    spec = NpzSource

    def open(self, source: NpzSource, request: SourceRequest) -> NpzArrays:
        return open_npz(request.name, source, request.locate(source.path))

    def fingerprint(self, source: NpzSource, request: SourceRequest) -> str:
        facts = request.locate(source.path).stat()
        return content_hash([facts.st_size, facts.st_mtime_ns])


NPZ = SOURCE_KINDS.register(NpzKind())
