"""Joining a run's many small shards into few: opening thousands of files is what makes a store slow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from advassay import store_layout
from advassay.records import row_shards
from advassay.records.run_header import sum_accounts
from advassay.records.run_reader import Run


def compact(folder: Path, rows_per_shard: int = 100_000) -> None:
    """Join a run's shards into few, each of whole images, so that a restart stays beside its restart 0.

    Killed halfway, every row is still there: a row stored twice counts once. A shard holds about `rows_per_shard`
    rows, more where one image alone has more.
    """
    run = Run(folder)
    before = [path for path, _ in run._readable[0]]
    rows = run.rows()
    parts = _by_image(run.index.image, rows_per_shard) or [np.zeros(0, np.int64)]
    accounts = run.accounts()
    whole = (
        sum_accounts(accounts).model_copy(update={"replaces": tuple(path.name for path in before)})
        if accounts
        else None
    )
    written = set()
    for number, part in enumerate(parts):  # the first of them carries the account of all
        written.add(
            row_shards.write_shard(folder / store_layout.SHARDS, rows.take(part), whole if number == 0 else None)
        )
    for path in before:
        if path not in written:
            path.unlink(missing_ok=True)


def _by_image(image: np.ndarray, most: int) -> list[np.ndarray]:
    """Row numbers in groups of whole images of at most `most` rows (an image with more is a group of its own)."""
    counts = np.bincount(image)
    parts: list[int] = [0]
    held = 0
    for place, count in enumerate(counts.tolist()):
        if held and held + count > most:
            parts.append(place)
            held = 0
        held += count
    group = np.searchsorted(parts, image, side="right")
    return [found for k in range(1, len(parts) + 1) if len(found := np.flatnonzero(group == k))]
