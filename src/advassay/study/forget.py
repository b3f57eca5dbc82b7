"""Take a person out of a store: images, rows, gallery and private table, everywhere they are kept."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from advassay.checked_files import write_document, write_frame
from advassay.cohorts.prepared import read_manifest
from advassay.cohorts.request import document_in
from advassay.cohorts.shards import keep_images
from advassay.documents import Preparation
from advassay.errors import StoreError
from advassay.layout import HEADER, MANIFEST, PREPARATION, Store
from advassay.records import Run
from advassay.records.gallery import remove_examples
from advassay.records.removal import remove_images
from advassay.records.store import Records
from advassay.sources.private import forget_private, headers_beside
from advassay.study.keep import locked


@dataclass
class Forgotten:
    """What was removed, and what cannot be."""

    patient: str
    images: dict[str, int] = field(default_factory=dict)
    """Cohort → images, augmented copies among them."""
    rows: int = 0
    runs: int = 0
    """Rows of runs, and the runs that had some; of superseded ones too."""
    examples: int = 0
    """Entries of the gallery."""
    private_rows: int = 0
    """Of the table of sources beside the store."""
    networks: tuple[str, ...] = ()
    """Networks that were trained with images of the person, as "id (cohort)": their weights stay."""

    def told(self) -> list[str]:
        """In sentences, for people."""
        images = ", ".join(f"{count} of {cohort}" for cohort, count in self.images.items()) or "none"
        lines = [
            f"Patient {self.patient}: removed images: {images}; {self.rows} rows of {self.runs} runs; "
            f"{self.examples} gallery entries; {self.private_rows} rows of the private table of sources."
        ]
        if self.networks:
            lines.append(
                f"Trained with images of the person, weights unchanged: {', '.join(self.networks)}. `advassay attack` "
                "with the study trains networks without them and attacks those."
            )
        lines.append(
            "Remove the person from the source as well: a cohort that is prepared anew reads the source again."
        )
        return lines


def forget(store: Store, patient: str) -> Forgotten:
    """Remove a patient, named by the pseudonym, from a store.

    Gone then: prepared images and manifest rows, rows and images of runs (superseded ones too), gallery entries with
    their pictures, and all that the private table says of the person. Interrupted, the same call goes on. Raises
    StoreError where the store holds nothing of such a patient.
    """
    with locked(store):
        cohorts = sorted(path.parent for path in store.root.glob(f"cohorts/*/{PREPARATION}"))
        headers = [path for place in (store.records, store.superseded) for path in sorted(place.glob(f"*/{HEADER}"))]
        tables = [read_manifest(folder) for folder in cohorts] + [Run(path.parent).images for path in headers]
        ids = {image for table in tables for image in table.filter(pl.col("patient_id") == patient)["image_id"]}
        if not ids:
            raise StoreError(
                f"--patient: a pseudonym that the store knows is needed, got {patient!r}.",
                f"Pseudonyms are in column patient_id of cohorts/*/{MANIFEST}; {store.private_sources.name} beside "
                "the store says which images are whose.",
            )
        done = Forgotten(patient)
        done.examples = len(remove_examples(store.gallery, lambda example: example.image_id in ids))
        done.private_rows = forget_private(store.private_sources, ids)
        shutil.rmtree(headers_beside(store.private_sources), ignore_errors=True)  # a cache: read again when needed
        for path in headers:
            rows = remove_images(path.parent, ids, "Rows of one patient were removed (`advassay forget`).")
            done.rows, done.runs = done.rows + rows, done.runs + bool(rows)
        for folder in cohorts:  # last: they know the person until all else is done
            _from_cohort(store, folder, ids, done)
        return done


def _from_cohort(store: Store, folder: Path, ids: set[str], done: Forgotten) -> None:
    """Remove images from a prepared cohort, and from the counts of its document."""
    manifest, preparation = read_manifest(folder), document_in(folder)
    gone = manifest["image_id"].is_in(list(ids))
    if preparation is None or not gone.any():
        return
    kept = manifest.filter(~gone)
    done.images[preparation.cohort] = int(gone.sum())
    if (manifest.filter(gone)["role"] != "validation").any():
        trained = [f"{t.classifier} ({t.cohort})" for t in Records(store.root, []).trainings]
        done.networks += tuple(name for name in trained if name.endswith(f"({preparation.cohort})"))
    keep_images(folder, set(kept["image_id"]))
    write_frame(folder / MANIFEST, kept)
    write_document(folder / PREPARATION, _recounted(preparation, kept, int(gone.sum())))


def _recounted(found: Preparation, manifest: pl.DataFrame, removed: int) -> Preparation:
    """The document of a cohort without images that were removed; its identity stays, by which its runs name it."""
    copies = manifest.filter(pl.col("parent_image_id").is_not_null())
    note = f"{removed} images of one patient were removed from the store after preparation (`advassay forget`)."
    return found.model_copy(
        update={
            "counts": _counts(found, manifest),
            "copies": _counts(found, copies) if copies.height else {},
            "patients": {role: _of(manifest, role)["patient_id"].n_unique() for role in found.patients},
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
