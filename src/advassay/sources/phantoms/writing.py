"""Phantoms as files: lossless PNGs and a manifest that a study reads like any other table."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import polars as pl

from advassay.csv_export import write_csv
from advassay.errors import SourceError
from advassay.progress import Progress, Silent
from advassay.sources.phantoms.rendering import render
from advassay.sources.phantoms.truth import table
from advassay.specs import PhantomSource

_BATCH = 32
MANIFEST = "manifest.csv"


def write_images(spec: PhantomSource, folder: Path, progress: Progress | None = None) -> pl.DataFrame:
    """Write images/000000.png, … (chest: 16-bit grey, histology: 8-bit RGB) and manifest.csv, which is returned.

    manifest.csv: image, patient_id and the truth columns of `table`. Raises SourceError for a folder with files in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SourceError(f"--output: a folder that is new or empty is needed, got {folder}.", "Give another folder.")
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
