"""Candidate images → manifest: decode once, name by pixel content, give every patient a pseudonym."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl

from advassay.identity import image_id, pseudonym
from advassay.progress import Progress, Silent
from advassay.sources.base import LEFT_OUT, OpenSource, Pixels
from advassay.sources.column_allowlist import allowed_columns, with_pseudonyms
from advassay.sources.image_decoder import is_coloured
from advassay.sources.read_failures import Unreadable
from advassay.sources.table_files import require_column


@dataclass(frozen=True)
class Index:
    """What became of candidate images.

    manifest: one row per readable image, in the order asked for; duplicates are kept (equal `image_id`). Columns
        image_id, row, patient_id (pseudonym; a row without patient has one of its own), has_patient, image_type,
        bits (8 | 16), channels (1 | 3), height, width (pixels), then the carried columns. No path, no original id.
    not_carried: other columns of the source and why each stays behind.
    largest: row, largest (UInt16): the largest stored value of each image; coloured (Boolean): whether it shows colour,
        not merely three channels that differ by noise.
    left_out: row, reason ("unreadable: damaged", "blank"), detail.
    private: image_id, source, path, original_patient; belongs only into the private sources.parquet.
    """

    manifest: pl.DataFrame
    left_out: pl.DataFrame
    private: pl.DataFrame
    largest: pl.DataFrame
    not_carried: dict[str, str] = field(default_factory=dict)


class ImageFacts(NamedTuple):
    """What one decoded image says."""

    image_id: str
    bits: int
    channels: int
    height: int
    width: int
    largest: int
    coloured: bool


_FACTS = {"image_id": pl.String, "bits": pl.UInt8, "channels": pl.UInt8, "height": pl.UInt32, "width": pl.UInt32}
_READ = {**_FACTS, "largest": pl.UInt16, "coloured": pl.Boolean}
_NOT_CARRIED = {"row", "path", "original_patient", "has_patient", "image_type", *_FACTS}  # ours, or decoded facts


def index(
    opened: OpenSource,
    rows: Sequence[int] | None = None,
    *,
    key: bytes,
    patient_column: str | None = None,
    named: Collection[str] = (),
    asked: Collection[str] = (),
    progress: Progress | None = None,
    make: Callable[[np.ndarray], bytes] | None = None,
    keep: Callable[[int, bytes], None] | None = None,
) -> Index:
    """Decode `rows` of a source (all if None) once and say what each image is.

    make, keep: what else is made of each image while it is at hand (picklable: see OpenSource.map_in_reader), and who
    takes it with the row's number. Both or none.

    `key` makes the pseudonyms; `patient_column` clusters by another column than the source's own; `named`
    and `asked`: see carried_columns. Unreadable and
    blank (constant) images are left out with the reason. Raises SourceError for a column that is not there.
    """
    wanted = opened.rows["row"].to_list() if rows is None else list(rows)
    clusters = _patients(opened, patient_column)
    known = opened.rows.select("row", "path", "image_type").join(clusters, on="row")
    read, lost = _read_facts(opened, wanted, progress or Silent(), make, keep)
    facts = read.join(known, on="row", how="left", maintain_order="left")
    hidden = {name for name in (opened.patient_column, patient_column, "patient_id") if name}
    ids = [opened.rows["original_patient"], clusters["cluster"]]
    allowed, unkept = allowed_columns(opened.rows, ids, patient_columns=hidden, named=named, asked=asked)
    carried = [name for name in allowed if name not in _NOT_CARRIED]
    manifest = _own_columns(facts, key).join(
        with_pseudonyms(opened.rows.select("row", *carried), key), on="row", how="left", maintain_order="left"
    )
    unkept = {name: reason for name, reason in unkept.items() if name not in _NOT_CARRIED}
    return Index(manifest, lost, _private(facts, opened), facts.select("row", "largest", "coloured"), unkept)


def concat_indexes(parts: Sequence[Index]) -> Index:
    """Several indexes of one open source, made with the same options over different rows, as one."""
    names = ("manifest", "left_out", "private", "largest")
    frames = {name: pl.concat(getattr(part, name) for part in parts) for name in names}
    return Index(**frames, not_carried=parts[0].not_carried)


def _patients(opened: OpenSource, column: str | None) -> pl.DataFrame:
    if column is None or column == opened.patient_column:
        return opened.rows.select("row", cluster="original_patient")
    require_column(opened.rows.columns, column, "patient_id")
    return opened.rows.select("row", cluster=pl.col(column).cast(pl.String))


def _read_facts(
    opened: OpenSource,
    rows: list[int],
    progress: Progress,
    make: Callable[[np.ndarray], bytes] | None,
    keep: Callable[[int, bytes], None] | None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    task = f"read {opened.name}"
    progress.start(task, len(rows), "images")
    facts, lost = [], []
    for row, (seen, made) in opened.map_in_reader(rows, partial(_inspect, make=make)):
        if len(seen) == len(ImageFacts._fields):
            facts.append((row, *seen))
            if keep is not None:
                keep(row, made)
        else:
            lost.append((row, *seen))
        progress.advance(task)
    progress.finish(task)
    schema = {"row": pl.UInt32, **_READ}
    return pl.DataFrame(facts, schema=schema, orient="row"), pl.DataFrame(lost, schema=LEFT_OUT, orient="row")


def _inspect(
    pixels: Pixels, item: None, make: Callable[[np.ndarray], bytes] | None
) -> tuple[ImageFacts | tuple[str, str], bytes]:
    """Facts of an image, and what `make` makes of it."""
    seen = inspect_image(pixels)
    if make is None or isinstance(pixels, Unreadable) or not isinstance(seen, ImageFacts):
        return seen, b""
    return seen, make(pixels)


def inspect_image(pixels: Pixels) -> ImageFacts | tuple[str, str]:
    """Facts of a decoded image, or (reason, detail) for leaving it out.

    >>> import numpy as np
    >>> inspect_image(np.zeros((2, 3), np.uint8))
    ('blank', '3 × 2 equal pixels')
    """
    if isinstance(pixels, Unreadable):
        return pixels.named, pixels.detail
    image = pixels.compressed() if isinstance(pixels, np.ma.MaskedArray) else pixels
    first = image[0] if image.ndim == 1 else image[0, 0]
    if (image[:1] == first).all() and (image == first).all():  # its first row alone shows that most are not constant
        return "blank", f"{pixels.shape[1]} × {pixels.shape[0]} equal pixels"
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else 3
    depth, largest = 8 * pixels.dtype.itemsize, int(pixels.max())
    return ImageFacts(image_id(pixels), depth, channels, height, width, largest, is_coloured(pixels))


def _own_columns(named: pl.DataFrame, key: bytes) -> pl.DataFrame:
    # Without a patient the image is its own: equal pixels then share a pseudonym, which errs on the safe side.
    patient = pl.coalesce("cluster", pl.concat_str(pl.lit("image "), "image_id"))
    return named.select(
        "image_id",
        "row",
        patient.map_elements(lambda original: pseudonym(key, original), return_dtype=pl.String).alias("patient_id"),
        pl.col("cluster").is_not_null().alias("has_patient"),
        "image_type",
        *("bits", "channels", "height", "width"),
    )


def _private(facts: pl.DataFrame, opened: OpenSource) -> pl.DataFrame:
    return facts.select("image_id", source=pl.lit(opened.name), path=located(opened), original_patient="cluster")


def located(opened: OpenSource) -> pl.Expr:
    """The whole path of each row's file, from its private column `path`."""
    return pl.col("path") if opened.root is None else pl.concat_str(pl.lit(f"{opened.root}/"), "path")
