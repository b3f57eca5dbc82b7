"""Remove what no number of a store is made of any more: superseded runs, and files that were set aside as damaged."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from advassay.checked_files import damaged, is_as_written
from advassay.errors import StoreError
from advassay.layout import HEADER, SHARDS, Store, flush
from advassay.records import open_records, read_header
from advassay.records.gallery import remove_examples
from advassay.records.store import STUDY_HEALED
from advassay.study.keep import kept_study, locked


@dataclass(frozen=True)
class Pruned:
    """What was removed, or would be."""

    runs: tuple[str, ...]
    """run_ids, by what they are: "cohort, arm A (id)"; of a removal that was stopped "(id)"."""
    files: int
    """Damaged files that had been set aside."""
    bytes: int
    absent: tuple[str, ...] = ()
    """Cohorts and arms that have runs among these and are not in the study at all: "cohort X", "arm A"."""


def prune(store: Store, *, dry: bool = False, yes: bool = False) -> Pruned:
    """Remove runs that the store's study no longer asks for, with their gallery images, runs of networks that were
    trained again, and damaged files that were set aside. `dry`: say it only. `yes`: also runs of cohorts and arms that
    the study does not have at all.

    Interrupted, the same call goes on: a run's header goes last. Raises StoreError where the store's records cannot be
    read and, without `yes`, where runs are of a cohort or arm that the study does not have; DamagedError where
    study.yaml is not as the program wrote it: what it asks for is then not known. Nothing is removed then.
    """
    with locked(store):
        study = kept_study(store)
        records = open_records(store.root)
        if not dry and is_as_written(records.study_text) is not True:
            raise damaged(
                store.study, "it is not as the program wrote it, so it cannot say what to remove", STUDY_HEALED
            )
        current = {header.run_id for header in (*records.headers, *records.reruns)}
        runs = [read_header(path.parent) for path in sorted(store.records.glob(f"*/{HEADER}"))]
        gone = {header.run_id for header in runs if header.run_id not in current}
        folders = [store.run(run_id) for run_id in sorted(gone) if (store.run(run_id) / HEADER).exists()]
        folders += _without_header(store) + [path.parent for path in sorted(store.superseded.glob(f"*/{HEADER}"))]
        lacking = {f"cohort {h.cohort}" for h in runs if h.run_id in gone and h.cohort not in study.cohorts}
        lacking |= {f"arm {h.arm}" for h in runs if h.run_id in gone and h.arm not in study.attack.arms}
        files = [path for path in store.root.rglob("*.damaged") if not any(map(path.is_relative_to, folders))]
        pruned = Pruned(
            tuple(_name(folder) for folder in folders),
            len(files),
            sum(map(_size, folders)) + sum(path.stat().st_size for path in files),
            tuple(sorted(lacking)),
        )
        if not dry:
            if lacking and not yes:
                raise StoreError(
                    f"prune: runs of what the study has are needed, some are of {', '.join(pruned.absent)}.",
                    "If these runs are to go, add --yes; `advassay prune STORE --dry-run` lists them.",
                )
            remove_examples(store.gallery, lambda example: example.run_id in gone)
            for folder in folders:
                _remove(folder)
            for path in files:
                path.unlink()
        return pruned


def _without_header(store: Store) -> list[Path]:
    """Folders of superseded runs, and folders in records/ without rows, that have no header: a removal was stopped."""
    places = [path for place in (store.records, store.superseded) if place.is_dir() for path in sorted(place.iterdir())]
    folders = [path for path in places if path.is_dir() and not (path / HEADER).exists()]
    return [path for path in folders if path.parent == store.superseded or not any((path / SHARDS).glob("*.parquet"))]


def _remove(folder: Path) -> None:
    """Remove a run's folder, its header last: by it a removal that was stopped is found again."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != HEADER:
            path.unlink()
    flush(folder)
    (folder / HEADER).unlink(missing_ok=True)
    folder.rmdir()


def _name(folder: Path) -> str:
    if not (folder / HEADER).exists():
        return f"({folder.name})"
    header = read_header(folder)
    return f"{header.cohort}, arm {header.arm} ({folder.name})"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
