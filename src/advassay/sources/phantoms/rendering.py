"""Pixels of any images of a phantom source, in blocks, and as files with a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import polars as pl

from advassay.csv_export import write_csv
from advassay.errors import SourceError
from advassay.progress import Progress, Silent
from advassay.sources.phantoms.chest.radiograph import radiographs
from advassay.sources.phantoms.histology.tile import tiles
from advassay.sources.phantoms.truth import table
from advassay.spec.source_spec import PhantomSource

_BLOCK_PIXELS = 4 * 128 * 128


def render(spec: PhantomSource, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """Images `indices`: chest (n, size_px, size_px) uint16, histology (n, size_px, size_px, 3) uint8 RGB.

    An image depends on the source's seed and parameters and on its own index only: bit for bit the same
    alone, in any batch, in any order. Raises IndexError for an index outside 0 … images − 1.
    """
    index = np.asarray(indices, np.int64).reshape(-1)
    if len(index) and not 0 <= index.min() <= index.max() < spec.images:
        raise IndexError(f"indices: 0 … {spec.images - 1}, got {index.min()} … {index.max()}")
    chest = spec.phantom == "chest"
    shape = (len(index), spec.size_px, spec.size_px) + (() if chest else (3,))
    images = np.empty(shape, np.uint16 if chest else np.uint8)
    block = max(1, _BLOCK_PIXELS // spec.size_px**2)
    make = radiographs if chest else tiles
    for start in range(0, len(index), block):
        images[start : start + block] = make(spec, index[start : start + block])
    return images


_BATCH = 32
MANIFEST = "manifest.csv"


def write_images(spec: PhantomSource, folder: Path, progress: Progress | None = None) -> pl.DataFrame:
    """Write images/000000.png, … (chest: 16-bit grey, histology: 8-bit RGB) and manifest.csv, which is returned.

    manifest.csv: image, patient_id and the truth columns of `table`. Raises SourceError for a folder with files in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SourceError(f"--output: expected a folder that is new or empty, got {folder}.", "Give another folder.")
    progress, task = progress or Silent(), f"draw {spec.images} phantoms"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    progress.start(task, spec.images, "images")
    for start in range(0, spec.images, _BATCH):
        batch = np.arange(start, min(start + _BATCH, spec.images))
        for number, pixels in zip(batch.tolist(), render(spec, batch), strict=True):
            stored = pixels[:, :, ::-1] if pixels.ndim == 3 else pixels
            (folder / _name(number)).write_bytes(cv2.imencode(".png", np.ascontiguousarray(stored))[1].tobytes())
            progress.advance(task)
    progress.finish(task)
    names = pl.Series("image", [_name(number) for number in range(spec.images)])
    manifest = table(spec).drop("index").rename({"patient": "patient_id"}).insert_column(0, names)
    write_csv(manifest, folder / MANIFEST)
    return manifest


def _name(number: int) -> str:
    return f"images/{number:06d}.png"
