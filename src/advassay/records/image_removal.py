"""Take images out of a run: rows, entry in images.parquet, and files of which nobody can say what they hold."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from advassay.checked_files import write_document, write_frame
from advassay.records.feature_distances import remove_features
from advassay.records.row_shards import account_of, read_rows, write_shard
from advassay.records.run_header import RunHeader
from advassay.records.run_reader import Run
from advassay.records.run_writer import recount
from advassay.store_layout import HEADER, IMAGES, SHARDS


def remove_images(folder: Path, image_ids: Collection[str], note: str) -> int:
    """Remove the images from the run in `folder` and add `note` to its header. Returns the number of rows removed.

    Shards are written anew without them, and keep their account of what the rows took, which was spent; damaged shards
    and files that were set aside are deleted. images.parquet, which knows the images, comes last: interrupted, the same
    call goes on. Raises StoreError where the run cannot be read; nothing is changed then.
    """
    run = Run(folder)
    known = run.images
    gone = known["image_id"].is_in(list(image_ids))
    if not gone.any():
        return 0
    before, readable, damaged = len(run.index), run._readable[0], run.damaged
    _forget_in_control(folder, run.header, set(image_ids))
    for path, keys in readable:
        keep = ~np.isin(np.array(keys["image_id"].to_pylist(), dtype=object), list(image_ids))
        if not keep.all():
            _rewrite(path, keep)
    for path in [*folder.rglob("*.damaged"), *(folder / SHARDS / name for name in damaged)]:
        path.unlink()
    remove_features(folder, image_ids)
    rows = recount(folder, note).rows
    write_frame(folder / IMAGES, known.filter(~gone))
    return before - rows


def _forget_in_control(folder: Path, header: RunHeader, image_ids: set[str]) -> None:
    """Empty the ids of removed images in the control to 2K iterations: the places of the others stay."""
    controls = header.controls
    if controls is None or controls.doubling is None or image_ids.isdisjoint(controls.doubling.image_ids):
        return
    kept = tuple("" if image in image_ids else image for image in controls.doubling.image_ids)
    doubling = controls.doubling.model_copy(update={"image_ids": kept})
    changed = controls.model_copy(update={"doubling": doubling})
    write_document(folder / HEADER, header.model_copy(update={"controls": changed}))


def _rewrite(path: Path, keep: np.ndarray) -> None:
    """A shard without some of its rows: a new one with its account, then the old one goes. One that has an account
    and loses all rows becomes a shard of none.
    """
    account = account_of(pq.read_schema(path))
    if account is not None:
        account = account.model_copy(update={"replaces": (*account.replaces, path.name)})
    if keep.any() or account is not None:
        write_shard(path.parent, read_rows(path).take(keep), account)
    path.unlink()
