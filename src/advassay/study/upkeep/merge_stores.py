"""Join stores of one study: what another machine has prepared, trained and attacked comes into this store."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
from pydantic import BaseModel

from advassay.checked_files import read_document, read_model, write_document
from advassay.errors import AdvassayWarning, StoreError
from advassay.record_columns import KEYS
from advassay.records import Account, Run, RunHeader, RunWriter, Spent, read_gallery, read_header
from advassay.records.feature_distances import FEATURES, add_features, has_damaged_features, readable_features
from advassay.records.gallery import write_index
from advassay.records.row_shards import HEALED, read_rows
from advassay.records.run_header import SUMMED_COSTS, sum_accounts
from advassay.records.run_writer import of_other_weights, recount
from advassay.records.store_reader import PREPARATION_HEALED, TRAINING_HEALED
from advassay.sources.pseudonyms import append_private, read_private
from advassay.store_documents import Controls, Preparation, TrainingDocument
from advassay.store_layout import HEADER, IMAGES, PREPARATION, TRAINING, Store, flush, writing
from advassay.study.forgotten import ForgottenPeople, join_forgotten
from advassay.study.run.attack_job import account_note, undecided_images
from advassay.study.store_locks import store_lock
from advassay.study.study_storage import stored_study
from advassay.study.upkeep.forget_patient import ForgetSummary, drop_forgotten
from advassay.trajectory import Cost

Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True)
class MergeSummary:
    """What came into the store."""

    cohorts: tuple[str, ...]
    networks: int
    runs: int
    """Runs that the store did not have."""
    rows: int
    """Rows that the store did not have, of all runs."""
    examples: int
    """Gallery entries."""
    removed: ForgetSummary | None = None
    """What was removed of people whom one of the stores was told to forget; None where there was nothing."""


def merge(store: Store, other: Store) -> MergeSummary:
    """Bring into `store` what `other`, a store of the same study, has and it lacks; `other` is left as it is.

    Cohorts, networks and runs are known by content, so what both have is not doubled; interrupted, the same call goes
    on. Whoever was taken out of either store (`forget`) is in neither: images of these people are left out, and removed
    from `store`, with a warning. Raises StoreError, before anything is written, for stores of different studies, a
    cohort that was prepared otherwise, and a network of one identity with two sets of weights.
    """
    if store.root.resolve() == other.root.resolve():
        raise StoreError(f"merge: expected two stores, got {store.root} twice.", "Give another one.")
    with store_lock(store), store_lock(other):
        _check(store, other)
        people = join_forgotten(store, other)
        headers = [read_header(path.parent) for path in sorted(other.records.glob(f"*/{HEADER}"))]
        headers = [header for header in headers if (other.run(header.run_id) / HEADER).exists()]
        headers = list({header.run_id: header for header in headers}.values())  # a copied folder names its original
        cohorts = _copy_folders(store.root / "cohorts", other.root / "cohorts", PREPARATION)
        networks = _copy_folders(store.root / "classifiers", other.root / "classifiers", TRAINING)
        _merge_compute(store, other)
        _merge_private(store, other, people)
        new = [header for header in headers if not (store.run(header.run_id) / HEADER).exists()]
        rows = sum(
            _merge_run(Run(other.run(header.run_id)), store.run(header.run_id), other, people) for header in headers
        )
        for folder in _transfers(other):
            rows += _merge_run(Run(folder), store.transfer(folder.name), other, people)
            if has_damaged_features(folder):
                warnings.warn(f"merge: left out of {other.root}: {FEATURES} of run {folder.name} cannot be read.",
                              AdvassayWarning, stacklevel=2)  # fmt: skip
            measured = readable_features(folder)
            if len(measured):
                gone = people.images(Run(folder).images)
                kept = measured.filter(~pl.col("image_id").is_in(list(gone)))
                add_features(store.transfer(folder.name), kept)
        examples = _merge_gallery(store, other, people)
        removed = drop_forgotten(store, f"{other.root.name} was joined, and images") if people else None
        return MergeSummary(tuple(cohorts), len(networks), len(new), rows, examples, removed)


def _check(store: Store, other: Store) -> None:
    """Raise StoreError where the stores do not go together."""
    names = [stored_study(one).name for one in (store, other)]
    if names[0] != names[1]:
        raise StoreError(
            f"merge: expected stores of one study, got {names[0]!r} and {names[1]!r}.",
            "Give stores that `advassay run` wrote for the same study.",
        )
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
    for path in sorted([*other.records.glob(f"*/{HEADER}"), *other.transfers.glob(f"*/{HEADER}")]):
        here = store.root / path.parent.relative_to(other.root)
        if (here / HEADER).exists():
            mine_header, their_header = read_header(here), read_header(path.parent)
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


def _merge_private(store: Store, other: Store, people: ForgottenPeople) -> None:
    """Bring in the rows of the private table, but for those of people who were taken out."""
    theirs = read_private(other.private_sources)
    gone = pl.col("image_id").is_in(list(people.images(theirs))).fill_null(False)
    persons = theirs.filter(gone)["original_patient"].drop_nulls().unique()
    gone |= pl.col("original_patient").is_in(persons.implode()).fill_null(False)
    append_private(store.private_sources, theirs.filter(~gone))


def _transfers(other: Store) -> list[Path]:
    """Folders of transfer/ that are named by their run."""
    folders = sorted(path.parent for path in other.transfers.glob(f"*/{HEADER}"))
    return [folder for folder in folders if read_header(folder).run_id == folder.name]


def _merge_run(source: Run, target: Path, other: Store, people: ForgottenPeople) -> int:
    """Bring in a run's rows, controls and notes that are lacking. Returns the number of rows."""
    if source.damaged:
        warnings.warn(f"merge: left out of {other.root}: {source.damage()}", AdvassayWarning, stacklevel=3)
    if not (target / HEADER).exists():
        return _copy_run(source, target)
    mine, theirs = Run(target), source.header
    gone = people.images(source.images)
    images = source.images.filter(~pl.col("image_id").is_in(list(gone)))
    controls = _controls(mine.header, theirs)
    notes = [note for note in theirs.notes if note != theirs.account_note]
    blocks = list(_to_come(mine, source, gone))
    lacks = set(images["image_id"]) - set(mine.images["image_id"]) or set(notes) - set(mine.header.notes)
    if not (blocks or lacks or controls != mine.header.controls or _is_unfinished(mine)):
        return 0
    before = len(mine.index)
    writer = RunWriter(target, mine.header)
    writer.add_images(images)
    for path, take, account in blocks:
        writer.append(read_rows(path).take(take), account)
    apart = _apart(theirs) if mine.header.controls is None and source.accounts() else Cost()
    writer.finish(apart, controls, notes, account_note(writer.total(), undecided_images(Run(target))))
    flush(target)
    return len(Run(target).index) - before


def _is_unfinished(run: Run) -> bool:
    """Whether a call was stopped after its last rows and before the header that sums them up."""
    if run.header.rows != len(run.index):
        return True
    summed_up = account_note(sum_accounts(run.accounts()), undecided_images(run))
    return bool(summed_up) and not run.header.account_note


def _copy_run(source: Run, target: Path) -> int:
    """Copy a run that is lacking, its header last: until then no reader takes it for a run. Returns its rows."""
    shards = [path for path, _ in source._readable[0]]
    wanted = [path.relative_to(source.folder) for path in (source.folder / IMAGES, *shards) if path.exists()]
    for left in [path for path in target.rglob("*") if path.is_file() and path.relative_to(target) not in wanted]:
        left.unlink()  # of a removal or a copy that was stopped
    for name in [*wanted, Path(HEADER)]:
        with writing(target / name) as beside:
            shutil.copyfile(source.folder / name, beside)
    if source.damaged:
        recount(target, f"{len(source.damaged)} damaged shards of a store that was joined were left out.")
    return len(source.index)


def _to_come(mine: Run, theirs: Run, gone: set[str]) -> Iterator[tuple[Path, np.ndarray, Account]]:
    """(shard, truth of each row, account) of what a run has and another of the same identity lacks.

    A shard's account comes with its rows, in proportion: what the other rows took is in the other run's account. Rows
    without an account, of earlier versions, take their share of the whole run's cost along.
    """
    known, accounts, total = mine.keys(), theirs.accounts(), max(1, len(theirs.index))
    for path, keys in theirs._readable[0]:
        rows = list(zip(*(keys[name].to_pylist() for name in KEYS), strict=True))
        take = np.array([row not in known and row[0] not in gone for row in rows], bool)
        known.update(row for row, taken in zip(rows, take.tolist(), strict=True) if taken)
        if not take.any():
            continue
        if path.name in accounts:
            yield path, take, _share(accounts[path.name], int(take.sum()), len(rows))
        else:
            spent = {name: getattr(theirs.header.cost, name) for name in SUMMED_COSTS}
            whole = Account(**spent) if not accounts else Account()
            yield path, take, _share(whole, int(take.sum()), total)


def _share(account: Account, rows: int, of: int) -> Account:
    """The account of some of a shard's rows."""
    summed = {name: getattr(account, name) * rows / of for name in SUMMED_COSTS}
    whole = {name: value if name == "seconds" else round(value) for name, value in summed.items()}
    counts = {name: round(count * rows / of) for name, count in account.counts.items()}
    return account.model_copy(update=whole | {"counts": counts, "replaces": ()})


def _controls(mine: RunHeader, theirs: RunHeader) -> Controls | None:
    """The run's own controls; the other's where there are none, and its doubled iterations where these lack."""
    if mine.controls is None or theirs.controls is None:
        return mine.controls or theirs.controls
    if mine.controls.doubling is None:
        return mine.controls.model_copy(update={"doubling": theirs.controls.doubling})
    return mine.controls


def _apart(header: RunHeader) -> Cost:
    """What a run spent apart from its shards: its controls."""
    spent = header.cost_apart or Spent()
    return Cost(spent.gradient_evaluations, spent.forward_passes, spent.seconds, spent.rescored, spent.changed)


def _merge_gallery(store: Store, other: Store, people: ForgottenPeople) -> int:
    mine, theirs = read_gallery(store.gallery), read_gallery(other.gallery)
    kept = {example.adversarial_file for example in mine}
    gone = people.images(pl.DataFrame({"image_id": [example.image_id for example in theirs]}, {"image_id": pl.String}))
    new = [one for one in theirs if one.adversarial_file not in kept and one.image_id not in gone]
    for name in {file for example in new for file in (example.clean_file, example.adversarial_file)}:
        with writing(store.gallery / name) as beside:
            shutil.copyfile(other.gallery / name, beside)
    if new:
        order = sorted([*mine, *new], key=lambda e: (e.cohort, e.arm, e.image_id, e.step_size, e.epsilon))
        write_index(store.gallery, order)
    return len(new)
