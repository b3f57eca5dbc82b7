"""Runs that no number is made of any more: set aside when a network changes, removed by `prune`."""

from __future__ import annotations

import shutil
import warnings
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from advassay.checked_files import damaged, is_as_written
from advassay.errors import AdvassayWarning, DamagedError, StoreError
from advassay.records import RunHeader, open_records, read_header
from advassay.records.gallery import remove_examples
from advassay.records.run_writer import of_other_weights
from advassay.records.store_reader import STUDY_HEALED
from advassay.store_layout import HEADER, SHARDS, Store, flush, make_folder
from advassay.study.store_locks import document_lock, store_lock
from advassay.study.study_storage import stored_study


def set_aside_other_network(store: Store, header: RunHeader) -> str:
    """Move a run that is of other weights than `header`'s out of records/, with its re-runs and gallery images.

    It lies in STORE/superseded/ then, and the run begins anew. Returns the sentence that says so, "" where nothing was
    moved. A header that cannot be read is the writer's business.
    """
    try:
        earlier = read_header(store.run(header.run_id))
    except StoreError:
        return ""
    if not of_other_weights(earlier, header):
        return ""
    said = (
        f"The network was trained again to other weights ({earlier.weights_sha256[:8]}… before, "
        f"{header.weights_sha256[:8]}… now): the run began anew. The earlier rows are in superseded/."
    )
    moved = {one.run_id: one for one in _reruns(store, header.run_id)} | {header.run_id: earlier}
    with suppress(DamagedError), document_lock(store, "gallery"):  # a damaged gallery is written anew as a whole
        remove_examples(store.gallery, lambda example: example.run_id in moved)
    for run_id, one in moved.items():  # the declared run last: by its weights a call that was stopped goes on
        _move(store, run_id, one.weights_sha256[:8])
    warnings.warn(f"{header.cohort}, arm {header.arm}: {said}", AdvassayWarning, stacklevel=3)
    return said


def _reruns(store: Store, run_id: str) -> list[RunHeader]:
    found = []
    for path in sorted(store.records.glob(f"*/{HEADER}")):
        try:
            header = read_header(path.parent)
        except StoreError:
            continue
        if header.rerun_of == run_id:
            found.append(header)
    return found


def _move(store: Store, run_id: str, weights: str) -> None:
    move_aside(store, store.run(run_id), weights)


def move_aside(store: Store, folder: Path, weights: str) -> None:
    """Move a run's folder to superseded/, named by the run and the first digits of its `weights`."""
    run_id = folder.name
    make_folder(store.superseded)
    names = (f"{run_id}-{weights}" + (f"-{number}" if number else "") for number in count())
    place = next(store.superseded / name for name in names if not (store.superseded / name).exists())
    folder.rename(place)
    flush(store.superseded)
    flush(folder.parent)


@dataclass(frozen=True)
class PruneSummary:
    """What was removed, or would be."""

    runs: tuple[str, ...]
    """run_ids, by what they are: "cohort, arm A (id)"; of a removal that was stopped "(id)"."""
    files: int
    """Damaged files that had been set aside."""
    bytes: int
    absent: tuple[str, ...] = ()
    """Cohorts and arms that have runs among these and are not in the study at all: "cohort X", "arm A"."""


def prune(store: Store, *, dry: bool = False, yes: bool = False) -> PruneSummary:
    """Remove runs that the store's study no longer asks for, with their gallery images, runs of networks that were
    trained again, and damaged files that were set aside. `dry`: say it only. `yes`: also runs of cohorts and arms that
    the study does not have at all.

    Interrupted, the same call goes on: a run's header goes last. Raises StoreError where the store's records cannot be
    read and, without `yes`, where runs are of a cohort or arm that the study does not have; DamagedError where
    study.yaml is not as the program wrote it: what it asks for is then not known. Nothing is removed then.
    """
    with store_lock(store):
        study = stored_study(store)
        records = open_records(store.root)
        if not dry and is_as_written(records.study_text) is not True:
            raise damaged(
                store.study, "it is not as the program wrote it, so it cannot say what to remove", STUDY_HEALED
            )
        current = {header.run_id for header in (*records.headers, *records.reruns)}
        runs = [read_header(path.parent) for path in sorted(store.records.glob(f"*/{HEADER}"))]
        gone = {header.run_id for header in runs if header.run_id not in current}
        folders = [store.run(run_id) for run_id in sorted(gone) if (store.run(run_id) / HEADER).exists()]
        transfers = {run.folder.name for run in records.transfers}
        old = [path.parent for path in sorted(store.transfers.glob(f"*/{HEADER}"))]
        folders += [folder for folder in old if folder.name not in transfers]
        folders += _without_header(store) + [path.parent for path in sorted(store.superseded.glob(f"*/{HEADER}"))]
        lacking = {f"cohort {h.cohort}" for h in runs if h.run_id in gone and h.cohort not in study.cohorts}
        lacking |= {f"arm {h.arm}" for h in runs if h.run_id in gone and h.arm not in study.attack.arms}
        files = [path for path in store.root.rglob("*.damaged") if not any(map(path.is_relative_to, folders))]
        pruned = PruneSummary(
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
    of_runs = (store.records, store.transfers, store.superseded)
    places = [path for place in of_runs if place.is_dir() for path in sorted(place.iterdir())]
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
