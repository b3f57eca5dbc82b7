"""Remove what no number of a store is made of any more: superseded runs, and files that were set aside as damaged."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from advassay.layout import HEADER, Store
from advassay.records import open_records, read_header
from advassay.records.gallery import remove_examples
from advassay.study.keep import locked


@dataclass(frozen=True)
class Pruned:
    """What was removed, or would be."""

    runs: tuple[str, ...]
    """run_ids, by what they are: "cohort, arm A (id)"."""
    files: int
    """Damaged files that had been set aside."""
    bytes: int


def prune(store: Store, *, dry: bool = False) -> Pruned:
    """Remove runs that study.yaml no longer asks for, their re-runs and gallery images, runs of networks that were
    trained again, and damaged files that were set aside. `dry`: say it only.

    Raises StoreError where the store's records cannot be read.
    """
    with locked(store):
        records = open_records(store.root)
        current = {header.run_id for header in (*records.headers, *records.reruns)}
        folders = [path.parent for path in sorted(store.records.glob(f"*/{HEADER}")) if path.parent.name not in current]
        folders += [path.parent for path in sorted(store.superseded.glob(f"*/{HEADER}"))]
        files = [path for path in store.root.rglob("*.damaged") if not any(map(path.is_relative_to, folders))]
        pruned = Pruned(
            tuple(_name(folder) for folder in folders),
            len(files),
            sum(map(_size, folders)) + sum(path.stat().st_size for path in files),
        )
        if not dry:
            gone = {folder.name for folder in folders if folder.parent == store.records}
            remove_examples(store.gallery, lambda example: example.run_id in gone)
            for folder in folders:
                shutil.rmtree(folder)
            for path in files:
                path.unlink()
        return pruned


def _name(folder: Path) -> str:
    header = read_header(folder)
    return f"{header.cohort}, arm {header.arm} ({folder.name})"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
