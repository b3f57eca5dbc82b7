"""Join stores of one study: what another machine has prepared, trained and attacked comes into this store."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from advassay.checked_files import read_document, read_model, write_document
from advassay.documents import Preparation, TrainingDocument
from advassay.errors import StoreError
from advassay.layout import HEADER, PREPARATION, TRAINING, Store, flush, make_folder, writing
from advassay.records import Run, RunHeader, RunWriter, read_gallery, read_header
from advassay.records.gallery import write_index
from advassay.records.run import HEALED
from advassay.records.shards import account_of, read_rows, shard_schema
from advassay.records.store import PREPARATION_HEALED, TRAINING_HEALED
from advassay.records.writer import of_other_weights
from advassay.sources.private import append_private, read_private
from advassay.study.attacking import account_note
from advassay.study.keep import kept_study, locked
from advassay.trajectory import Cost

Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True)
class Merged:
    """What came into the store."""

    cohorts: tuple[str, ...]
    networks: int
    runs: int
    """Runs that the store did not have."""
    rows: int
    """Rows that the store did not have, of all runs."""
    examples: int
    """Gallery entries."""


def merge(store: Store, other: Store) -> Merged:
    """Bring into `store` what `other`, a store of the same study, has and it lacks; `other` is left as it is.

    Cohorts, networks and runs are known by content, so what both have is not doubled; interrupted, the same call goes
    on. Raises StoreError, before anything is written, for stores of different studies, a cohort that was prepared
    otherwise, and a network of one identity with two sets of weights.
    """
    if store.root.resolve() == other.root.resolve():
        raise StoreError(f"merge: two stores are needed, got {store.root} twice.", "Give another one.")
    with locked(store), locked(other):
        _check(store, other)
        headers = [read_header(path.parent) for path in sorted(other.records.glob(f"*/{HEADER}"))]
        cohorts = _copy_folders(store.root / "cohorts", other.root / "cohorts", PREPARATION)
        networks = _copy_folders(store.root / "classifiers", other.root / "classifiers", TRAINING)
        _merge_compute(store, other)
        append_private(store.private_sources, read_private(other.private_sources))
        new = [header for header in headers if not (store.run(header.run_id) / HEADER).exists()]
        rows = sum(_merge_run(store, other, header) for header in headers)
        return Merged(tuple(cohorts), len(networks), len(new), rows, _merge_gallery(store, other))


def _check(store: Store, other: Store) -> None:
    """Raise StoreError where the stores do not go together."""
    names = [kept_study(one).name for one in (store, other)]
    if names[0] != names[1]:
        raise StoreError(f"merge: stores of one study are needed, got {names[0]!r} and {names[1]!r}.", "")
    for path in sorted(other.root.glob(f"cohorts/*/{PREPARATION}")):
        mine = _mine(store, other, path, Preparation, PREPARATION_HEALED)
        if mine is not None and mine.identity != read_model(path, Preparation, PREPARATION_HEALED).identity:
            raise StoreError(
                f"merge: cohort {mine.cohort} was prepared otherwise in {other.root} (its identity differs).",
                "Prepare it once, copy the cohorts/ folder to every machine, and attack there.",
            )
    for path in sorted(other.root.glob(f"classifiers/*/{TRAINING}")):
        network = _mine(store, other, path, TrainingDocument, TRAINING_HEALED)
        theirs = read_model(path, TrainingDocument, TRAINING_HEALED)
        if network is not None and network.weights_sha256 != theirs.weights_sha256:
            raise StoreError(
                f"merge: network {theirs.classifier} of {theirs.cohort} has other weights in {other.root}.",
                "Train it once, copy the classifiers/ folder to every machine, and attack there.",
            )
    for path in sorted(other.records.glob(f"*/{HEADER}")):
        if (store.run(path.parent.name) / HEADER).exists():
            mine_header, their_header = read_header(store.run(path.parent.name)), read_header(path.parent)
            if of_other_weights(mine_header, their_header):
                raise StoreError(
                    f"merge: run {mine_header.run_id} is of other weights in {other.root}: one run, one network.",
                    "Keep the stores apart, or attack again with the same network.",
                )


def _mine(store: Store, other: Store, path: Path, kind: type[Document], fix: str) -> Document | None:
    """The store's own document in the place of another store's; None where it has none."""
    try:
        return read_model(store.root / path.relative_to(other.root), kind, fix)
    except FileNotFoundError:
        return None


def _copy_folders(here: Path, there: Path, document: str) -> list[str]:
    """Copy complete folders (those with their `document`, copied last) that are lacking here. Returns their names."""
    copied = []
    for source in sorted(path.parent for path in there.glob(f"*/{document}")):
        target = here / source.name
        if (target / document).exists():
            continue
        files = [file for file in sorted(source.iterdir()) if file.is_file() and not file.name.startswith(".")]
        for file in sorted(files, key=lambda file: file.name == document):
            with writing(target / file.name) as beside:
                shutil.copyfile(file, beside)
        copied.append(source.name)
    return copied


def _merge_compute(store: Store, other: Store) -> None:
    try:
        theirs = read_document(other.compute, HEALED)
    except FileNotFoundError:
        return
    mine = read_document(store.compute, HEALED) if store.compute.exists() else {}
    if theirs.keys() - mine.keys():
        write_document(store.compute, theirs | mine)


def _merge_run(store: Store, other: Store, header: RunHeader) -> int:
    """Bring in a run's rows that are lacking. Returns their number."""
    source, target = Run(other.run(header.run_id)), store.run(header.run_id)
    is_new = not (target / HEADER).exists()
    before = 0 if is_new else len(Run(target).index)
    if not is_new and not source.damaged and _has_all(Run(target), source):
        return 0
    make_folder(target)
    writer = RunWriter(target, header if is_new else read_header(target))
    writer.add_images(source.images)
    steps, classes = header.steps, len(header.class_names)
    for path, _ in source._readable[0]:
        writer.append(read_rows(path), account_of(shard_schema(path, steps, classes)))
    apart = header.cost_apart or header.cost
    rest = Cost(apart.gradient_evaluations, apart.forward_passes, apart.seconds, apart.rescored, apart.changed)
    notes = [note for note in header.notes if note != header.account_note]
    writer.finish(rest, header.controls, notes, account_note(writer.total()))
    flush(target)
    return len(Run(target).index) - before


def _has_all(mine: Run, theirs: Run) -> bool:
    """Whether a run holds every row of another of the same identity."""
    return theirs.keys() <= mine.keys()


def _merge_gallery(store: Store, other: Store) -> int:
    mine = read_gallery(store.gallery)
    kept = {example.adversarial_file for example in mine}
    new = [example for example in read_gallery(other.gallery) if example.adversarial_file not in kept]
    for name in {file for example in new for file in (example.clean_file, example.adversarial_file)}:
        with writing(store.gallery / name) as beside:
            shutil.copyfile(other.gallery / name, beside)
    if new:
        order = sorted([*mine, *new], key=lambda e: (e.cohort, e.arm, e.image_id, e.step_size, e.epsilon))
        write_index(store.gallery, order)
    return len(new)
