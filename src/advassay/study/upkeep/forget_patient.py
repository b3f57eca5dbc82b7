"""Take a person out of a store: images, rows, gallery and private table, everywhere they are kept."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from advassay.checked_files import write_document, write_frame
from advassay.cohorts.cohort_warnings import patients_per_class
from advassay.cohorts.image_shards import damaged_shards, keep_images
from advassay.cohorts.preparation_json import document_in
from advassay.cohorts.prepared_cohort import read_manifest
from advassay.errors import AdvassayWarning, DamagedError, StoreError
from advassay.records import Run, read_gallery
from advassay.records.feature_distances import FEATURES, has_damaged_features
from advassay.records.gallery import INDEX, remove_examples
from advassay.records.image_removal import remove_images
from advassay.records.reader_answers import remove_answers
from advassay.records.store_reader import Records
from advassay.sources.pseudonyms import forget_private, headers_beside, read_private
from advassay.store_documents import Preparation
from advassay.store_layout import HEADER, IMAGES, MANIFEST, PREPARATION, SHARDS, Store
from advassay.study.forgotten import forgotten_people, keep_forgotten
from advassay.study.store_locks import store_lock


@dataclass
class ForgetSummary:
    """What was removed, and what cannot be."""

    patient: str
    images: dict[str, int] = field(default_factory=dict)
    """Cohort → images, augmented copies among them."""
    rows: int = 0
    runs: int = 0
    """Rows of runs, and the runs that had some; of superseded ones too."""
    examples: int = 0
    """Entries of the gallery."""
    answers: int = 0
    """Of a reader study about the person's images."""
    private_rows: int = 0
    """Of the table of sources beside the store."""
    networks: tuple[str, ...] = ()
    """Networks that were trained with images of the person, as "id (cohort)": their weights stay."""
    unreadable: tuple[str, ...] = ()
    """Files and folders, relative to the store, of which nobody can say whether they hold the person: removed too."""

    def told(self) -> list[str]:
        """In sentences, for people."""
        images = ", ".join(f"{count} of {cohort}" for cohort, count in self.images.items()) or "none"
        lines = [
            f"Patient {self.patient}: removed images: {images}; {self.rows} rows of {self.runs} runs; "
            f"{self.examples} gallery entries; {self.answers} answers of a reader study; "
            f"{self.private_rows} rows of the private table of sources."
        ]
        if self.unreadable:
            lines.append(
                "Removed as well, because it cannot be read or is of no run and may hold the person: "
                f"{', '.join(self.unreadable)}. `advassay attack` with the study computes again what is lost."
            )
        if self.networks:
            lines.append(
                f"Trained with images of the person, weights unchanged: {', '.join(self.networks)}. `advassay attack` "
                "with the study trains networks without them and attacks those."
            )
        lines.append(
            "Remove the person from the source as well. What the store keeps of the person is a list of salted hashes "
            "(forgotten.json), by which `prepare`, `attack` and `merge` leave these images out."
        )
        return lines


def forget(store: Store, patient: str) -> ForgetSummary:
    """Remove a patient, named by the pseudonym, from a store.

    Gone then: prepared images and manifest rows, rows and images of runs (superseded ones too), gallery entries with
    their pictures, states of unfinished trainings with the person, files that were set aside as damaged, and all that
    the private table says of the person. Everything is read before the first change. Interrupted, the same call goes
    on, and so does the next command that prepares or merges. Raises StoreError where the store holds nothing of such a
    patient, DamagedError where a table cannot be read.
    """
    with store_lock(store):
        cohorts, runs = _cohorts(store), _runs(store)
        tables = [read_manifest(folder) for folder in cohorts] + [Run(folder).images for folder in runs]
        ids = {image for table in tables for image in table.filter(pl.col("patient_id") == patient)["image_id"]}
        if not ids:
            raise StoreError(
                f"--patient: expected a pseudonym that the store knows, got {patient!r}.",
                f"Pseudonyms are in column patient_id of cohorts/*/{MANIFEST}; {store.private_sources.name} beside "
                "the store says which images are whose.",
            )
        done = ForgetSummary(patient)
        ids |= _other_images(store, ids)
        keep_forgotten(store, ids, {patient})
        _take_out(store, cohorts, runs, ids, done)
        return done


def drop_forgotten(store: Store, why: str) -> ForgetSummary | None:
    """Remove what is in the store of people who were taken out of it before, with a warning that begins with `why`.

    The caller holds the store's lock. Tables that cannot be read are left to the command that makes them anew. Returns
    what was removed; None, at little cost, where there is nothing.
    """
    people = forgotten_people(store)
    if not people:
        return None
    cohorts = _readable(_cohorts(store), read_manifest)
    runs = _readable(_runs(store), lambda folder: Run(folder).images)
    ids = {image for table in (*cohorts.values(), *runs.values()) for image in people.images(table)}
    if not ids:
        return None
    done = ForgetSummary("taken out earlier")
    _take_out(store, list(cohorts), list(runs), ids | _other_images(store, ids), done)
    images = ", ".join(f"{count} of {cohort}" for cohort, count in done.images.items()) or "none"
    warnings.warn(
        f"{why} of people who were taken out of the store (`advassay forget`) and removed again: images: {images}; "
        f"{done.rows} rows of {done.runs} runs. Remove them from the source as well.",
        AdvassayWarning,
        stacklevel=2,
    )
    return done


def _cohorts(store: Store) -> list[Path]:
    return sorted(path.parent for path in store.root.glob(f"cohorts/*/{PREPARATION}"))


def _runs(store: Store) -> list[Path]:
    return [path.parent for place in _places(store) for path in sorted(place.glob(f"*/{HEADER}"))]


def _places(store: Store) -> tuple[Path, ...]:
    """Folders of runs."""
    return (store.records, store.transfers, store.superseded)


def _readable(folders: Iterable[Path], read: Callable[[Path], pl.DataFrame]) -> dict[Path, pl.DataFrame]:
    """Folder → its table of images, of those that can be read."""
    found = {}
    for folder in folders:
        with suppress(StoreError):
            found[folder] = read(folder)
    return found


def _other_images(store: Store, ids: Collection[str]) -> set[str]:
    """Images of the same people that a cohort left out: its document may name one as an example."""
    rows = read_private(store.private_sources)
    people = rows.filter(pl.col("image_id").is_in(list(ids)))["original_patient"].drop_nulls().unique()
    return set(rows.filter(pl.col("original_patient").is_in(people.implode()))["image_id"].drop_nulls())


def _take_out(
    store: Store, cohorts: Sequence[Path], runs: Sequence[Path], ids: Collection[str], done: ForgetSummary
) -> None:
    """Remove images wherever they are. What knows whose they are comes last, so that the same call goes on."""
    torn = {folder: damaged_shards(folder) for folder in cohorts if _knows(read_manifest(folder), ids)}
    lost = [folder / SHARDS / name for folder in runs for run in [Run(folder)] if _knows(run.images, ids)
            for name in run.damaged]  # fmt: skip
    lost += [folder / FEATURES for folder in runs if has_damaged_features(folder) and _knows(Run(folder).images, ids)]
    headless = [folder for folder in _headless(store) if _may_hold(folder, ids)]
    _from_gallery(store, ids, done)
    done.answers += remove_answers(store, ids)
    done.private_rows = forget_private(store.private_sources, ids)
    shutil.rmtree(headers_beside(store.private_sources), ignore_errors=True)  # a cache: read again when needed
    aside = sorted(store.root.rglob("*.damaged"))
    shards = [path for paths in torn.values() for path in paths]
    done.unreadable += tuple(str(path.relative_to(store.root)) for path in (*lost, *shards, *aside, *headless))
    for path in (*aside, *shards):
        path.unlink(missing_ok=True)
    for folder in headless:
        shutil.rmtree(folder)
    for folder in runs:
        rows = remove_images(folder, ids, "Rows of one patient were removed (`advassay forget`).")
        done.rows, done.runs = done.rows + rows, done.runs + bool(rows)
    for folder in cohorts:
        _from_cohort(store, folder, ids, done)


def _knows(table: pl.DataFrame, ids: Collection[str]) -> bool:
    return bool(table["image_id"].is_in(list(ids)).any())


def _headless(store: Store) -> list[Path]:
    """Folders of runs without a header: a removal or a copy that was stopped."""
    folders = [path for place in _places(store) if place.is_dir() for path in sorted(place.iterdir())]
    return [folder for folder in folders if folder.is_dir() and not (folder / HEADER).exists()]


def _may_hold(folder: Path, ids: Collection[str]) -> bool:
    """Whether a folder without a header may hold rows of the images."""
    if not (folder / IMAGES).exists():
        return any(path.is_file() for path in folder.rglob("*"))
    try:
        return _knows(pl.read_parquet(folder / IMAGES, columns=["image_id"]), ids)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return True


def _from_gallery(store: Store, ids: Collection[str], done: ForgetSummary) -> None:
    """Remove gallery entries and every picture that no entry names; where the list cannot be read, all of them."""
    try:
        done.examples += len(remove_examples(store.gallery, lambda example: example.image_id in ids))
        named = {file for one in read_gallery(store.gallery) for file in (one.clean_file, one.adversarial_file)}
    except DamagedError:
        (store.gallery / INDEX).unlink()
        done.unreadable += (f"{store.gallery.name}/{INDEX}",)
        named = set()
    for path in store.gallery.glob("*.png"):
        if path.name not in named:
            path.unlink()


def _from_cohort(store: Store, folder: Path, ids: Collection[str], done: ForgetSummary) -> None:
    """Remove images from a prepared cohort, and from the counts of its document. The manifest is written last."""
    manifest, preparation = read_manifest(folder), document_in(folder)
    gone = manifest["image_id"].is_in(list(ids))
    if preparation is None:
        return
    kept = manifest.filter(~gone)
    if (counted := _recounted(preparation, kept, int(gone.sum()), ids)) != preparation:
        write_document(folder / PREPARATION, counted)
    if not gone.any():
        return
    done.images[preparation.cohort] = int(gone.sum())
    if (manifest.filter(gone)["role"] != "validation").any():
        trained = [f"{t.classifier} ({t.cohort})" for t in Records(store.root, []).trainings]
        done.networks += tuple(name for name in trained if name.endswith(f"({preparation.cohort})"))
        _drop_unfinished_trainings(store)
    keep_images(folder, set(kept["image_id"]))
    write_frame(folder / MANIFEST, kept)


def _drop_unfinished_trainings(store: Store) -> None:
    """Remove the states of trainings that have not ended: of which cohort they are, they do not say."""
    from advassay.training.resume_state import PROGRESS

    for path in (store.root / "classifiers").glob(f"*/{PROGRESS}*"):
        path.unlink()


def _recounted(found: Preparation, manifest: pl.DataFrame, removed: int, ids: Collection[str]) -> Preparation:
    """The document of a cohort without images that were removed; its identity stays, by which its runs name it.

    Of a document that is counted so already, as a removal that was stopped leaves it, nothing is changed.
    """
    copies = manifest.filter(pl.col("parent_image_id").is_not_null())
    known = manifest.filter("has_patient")
    own = ~pl.col("has_patient") & pl.col("parent_image_id").is_null()
    left_out = tuple(
        one.model_copy(update={"examples": tuple(image for image in one.examples if image not in ids)})
        for one in found.left_out
    )
    counted = found.model_copy(update={"left_out": left_out})
    if _counts(found, manifest) == found.counts:
        return counted
    note = f"{removed} images of one patient were removed from the store after preparation (`advassay forget`)."
    return counted.model_copy(
        update={
            "counts": _counts(found, manifest),
            "copies": _counts(found, copies) if copies.height else {},
            "patients": {role: _of(manifest, role)["patient_id"].n_unique() for role in found.patients},
            "patients_per_class": patients_per_class(known, found.class_names) if found.patients_per_class else {},
            "without_patient": manifest.filter(own).height,
            "warnings": (*found.warnings, note),
        }
    )


def _counts(found: Preparation, manifest: pl.DataFrame) -> dict[str, dict[str, int]]:
    """role → class name → images."""
    return {
        role: {name: int((_of(manifest, role)["class_name"] == name).sum()) for name in found.class_names}
        for role in found.counts
    }


def _of(manifest: pl.DataFrame, role: str) -> pl.DataFrame:
    return manifest.filter(pl.col("role") == role)
