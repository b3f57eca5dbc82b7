"""Attack a checkpoint that was brought along, on a folder of images per class."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.errors import AdvassayWarning, CohortError
from advassay.identity import ID_LENGTH
from advassay.records import RunHeader, open_records
from advassay.sources.pseudonyms import read_private
from advassay.spec.study_spec import Study
from advassay.store_layout import Store
from advassay.study.config.load_study import parse_study
from advassay.study.config.name_checks import check_arms
from advassay.study.config.study_templates import DECIDING_ARM, DEFAULT_ARMS
from advassay.study.config.yaml_tree import parse_value, yaml_text
from advassay.study.environment import RunEnvironment
from advassay.study.jobs import PREPARE, Job, enumerate_jobs
from advassay.study.launchers.local import launch
from advassay.study.range_search import check_tuning_parts
from advassay.study.run.attacked_network import ClassifierLoader, given_network
from advassay.study.run.runner import run_headers, working
from advassay.study.store_locks import Session
from advassay.study.study_networks import ExternalNetwork, external_network
from advassay.study.study_storage import stored_study, study_yaml

if TYPE_CHECKING:
    from advassay.training import CheckpointMetadata

EXTERNAL = "own-images"
"""Name of the study that a store of own images holds."""


def attack_external_model(
    model: Path, images: Path, site: RunEnvironment, *, overrides: Sequence[str] = ()
) -> list[RunHeader]:
    """Attack `model` on every image of `images`, a folder with one subfolder per class of the checkpoint.

    Image size, channels, scaling, resizing and the order of labels come from the checkpoint. The attack is that of
    every shipped study (`shipped.SHIPPED_ARMS`); `overrides` change it, e.g. "attack.images=40". Several folders and
    models may share a store: each pair is a cohort of its own, see `cohort_name`. Returns the runs' headers.

    Raises TrainingError for a file that `train` did not write, CohortError for folders that are not its classes.
    """
    from advassay.models.weight_files import file_sha256
    from advassay.training import checkpoint_metadata

    metadata = checkpoint_metadata(model)
    images = images.resolve()
    check_folders(images, metadata.class_names)
    sha256 = file_sha256(model)
    cohort = cohort_name(images, sha256, site.store)
    study = external_study(metadata, images, cohort, overrides, site.store)
    check_arms(study.attack)
    check_tuning_parts(study, dict.fromkeys(study.cohorts, 0))  # every image of the folder is attacked
    external = {cohort: (external_network(model, sha256),)}
    jobs = [job for job in enumerate_jobs(study, external=external) if job.cohort == cohort]
    here = replace(site, data=images.parent)
    with working(study, here) as session:
        return run_headers(jobs, launch(jobs, here, session))


def attack_prepared_cohort(
    study: Study, name: str, site: RunEnvironment, load: ClassifierLoader, *, architecture: str, sha256: str
) -> list[RunHeader]:
    """Attack a network that was not trained here on a prepared cohort, by every arm of the study; what is there stays.

    `load` gives the network when it is first needed; `architecture`: its name in records; `sha256`: 64 hexadecimal
    digits that change when the network does. Called under the store's lock. Returns the runs' headers.
    """
    network = given_network(load, architecture, sha256)
    jobs = [job for job in external_jobs(study, name, sha256) if job.stage != PREPARE]
    return run_headers(jobs, launch(jobs, site, Session(site.store), given=network))


def external_jobs(study: Study, name: str, sha256: str) -> list[Job]:
    """The jobs of a cohort that a given network is attacked on."""
    jobs = enumerate_jobs(study, external={name: (ExternalNetwork(sha256[:ID_LENGTH]),)})
    return [job for job in jobs if job.cohort == name]


def check_folders(images: Path, class_names: Sequence[str]) -> None:
    """Raise CohortError unless the subfolders are classes of the checkpoint; warn of classes without images."""
    if not images.is_dir():
        raise CohortError(f"--images: expected a folder, got {images}.", "It holds one subfolder per class.")
    found = {entry.name for entry in images.iterdir() if entry.is_dir() and not entry.name.startswith(".")}
    if not found or found - set(class_names):
        raise CohortError(
            f"--images: expected subfolders named as the checkpoint's classes ({', '.join(class_names)}), "
            f"got {', '.join(sorted(found)) or 'none'}.",
            "Rename the subfolders, or give the checkpoint that knows these classes.",
        )
    if absent := set(class_names) - found:
        warnings.warn(f"no images of class {', '.join(sorted(absent))}", AdvassayWarning, stacklevel=3)


def cohort_name(images: Path, weights_sha256: str, store: Store) -> str:
    """The cohort of this folder and network: the folder's name, with a number where the store has another such cohort.

    Another one: a folder of the same name elsewhere (as the private table beside the store says), or the same folder
    attacked on another network, which may want its images otherwise prepared.
    """
    if not store.study.exists():
        return next(_names(images))
    taken = stored_study(store).cohorts
    return next(
        name
        for name in _names(images)
        if name not in taken or (_is_network(name, weights_sha256, store) and _is_folder(name, images, store))
    )


def _names(images: Path) -> Iterator[str]:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", images.name).strip("-._") or "images"
    yield name
    yield from (f"{name}-{number}" for number in count(2))


def _is_network(cohort: str, weights_sha256: str, store: Store) -> bool:
    """Was the cohort attacked on this network, or on none yet?"""
    if not store.records.is_dir():
        return True
    records = open_records(store.root)
    attacked = {h.classifier for h in (*records.headers, *records.superseded) if h.cohort == cohort}
    return not attacked or weights_sha256[:ID_LENGTH] in attacked


def _is_folder(cohort: str, images: Path, store: Store) -> bool:
    """Do the cohort's images come from this folder, as far as is known?"""
    if not store.private_sources.exists():
        return True
    paths = read_private(store.private_sources).filter(pl.col("source") == cohort)["path"].drop_nulls()
    return paths.is_empty() or bool(paths.str.starts_with(f"{images}/").any())


def external_study(
    metadata: CheckpointMetadata, images: Path, cohort: str, overrides: Sequence[str], store: Store
) -> Study:
    """The study that says what is done, added to what the store already says. Its paths hold the folder's name only."""
    declared: dict[str, Any] = {
        "name": EXTERNAL,
        "title": "A network attacked on its owner's images",
        "image_size_px": metadata.image_size_px,
        "sources": {cohort: {"kind": "folder", "path": images.name}},
        "cohorts": {cohort: _cohort(metadata, cohort, images.name)},
        "training": {"architecture": metadata.architecture, "updates": max(1, metadata.updates), "seed": metadata.seed},
        "attack": {"arms": DEFAULT_ARMS},
    }
    if store.study.exists() and (held := stored_study(store)).name == EXTERNAL:
        earlier = parse_value(study_yaml(held))
        for part in ("sources", "cohorts"):
            declared[part] = earlier[part] | declared[part]
    study = parse_study(yaml_text(declared), name="attack --model", overrides=overrides)
    if study.analysis.arm is None and DECIDING_ARM in study.attack.arms:
        return study.model_copy(update={"analysis": study.analysis.model_copy(update={"arm": DECIDING_ARM})})
    return study


def _cohort(metadata: CheckpointMetadata, source: str, folder: str) -> dict[str, Any]:
    return {
        "source": source,
        "title": f"{folder}, network {metadata.classifier[:8]} ({metadata.architecture})",
        "image_type": metadata.image_type,
        "classes": {name: {"label": [name]} for name in metadata.class_names},
        "positive": metadata.positive,
        "split": "none",
        "image_size_px": metadata.image_size_px,
        "channels": metadata.channels,
        "resize": metadata.resize,
        "scaling": _scaling(metadata),
    }


def _scaling(metadata: CheckpointMetadata) -> str:
    """That of the checkpoint; `voi` is a DICOM file's own window, which exported images have behind them."""
    if metadata.scaling != "voi":
        return metadata.scaling
    warnings.warn(
        "the checkpoint saw DICOM images through their VOI windows: the folder's images are taken as exported that way",
        AdvassayWarning,
        stacklevel=2,
    )
    return "full-range"
