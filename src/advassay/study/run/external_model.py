"""Attack a checkpoint that was brought along, on a folder of images per class."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.errors import AdvassayWarning, CohortError
from advassay.identity import ID_LENGTH
from advassay.model_document import ModelProof
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
from advassay.study.run.prepare_stage import prepare_cohort
from advassay.study.run.runner import run_headers, working
from advassay.study.store_locks import Session, store_lock
from advassay.study.study_networks import ExternalNetwork, external_network
from advassay.study.study_storage import store_study, stored_study, study_yaml

if TYPE_CHECKING:
    from advassay.cohorts import PreparedCohort
    from advassay.training import CheckpointMetadata

EXTERNAL = "own-images"
"""Name of the study that a store of own images holds."""


@dataclass(frozen=True)
class ExternalModel:
    """What a model that was handed over says of itself, and of the images that it takes."""

    architecture: str
    identity: str
    """By which titles tell it from others; its first eight digits are shown."""
    class_names: tuple[str, ...]
    positive: str
    image_size_px: int
    channels: int | None
    """None: as many as the images have."""
    resize: str
    scaling: str
    image_type: str = ""
    updates: int = 1
    seed: int = 0


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
    study = external_study(_of_checkpoint(metadata), images, cohort, overrides, site.store)
    external = {cohort: (external_network(model, sha256),)}
    jobs = [job for job in enumerate_jobs(study, external=external) if job.cohort == cohort]
    here = replace(site, data=images.parent)
    with working(study, here) as session:
        return run_headers(jobs, launch(jobs, here, session))


def attack_loaded_model(
    model: ExternalModel,
    images: Path,
    site: RunEnvironment,
    load: ClassifierLoader,
    prove: Callable[[PreparedCohort], ModelProof | None],
    *,
    sha256: str,
    overrides: Sequence[str] = (),
) -> list[RunHeader]:
    """The same for a model of another maker: `load` gives its classifier, `prove` compares it with its own runtime on
    the prepared images before the first step. `sha256`: 64 hexadecimal digits that change when the model does.

    Raises CohortError for folders that are not its classes, and what `prove` raises.
    """
    from advassay.cohorts import open_cohort

    images = images.resolve()
    check_folders(images, model.class_names)
    cohort = cohort_name(images, sha256, site.store)
    study = external_study(model, images, cohort, overrides, site.store)
    here = replace(site, data=images.parent)
    with store_lock(site.store):
        store_study(site.store, study)
        prepare_cohort(study, cohort, here)
        proof = prove(open_cohort(site.store.cohort(cohort)))
        return attack_prepared_cohort(
            study, cohort, here, load, architecture=model.architecture, sha256=sha256, proof=proof
        )


def attack_prepared_cohort(
    study: Study,
    name: str,
    site: RunEnvironment,
    load: ClassifierLoader,
    *,
    architecture: str,
    sha256: str,
    proof: ModelProof | None = None,
) -> list[RunHeader]:
    """Attack a network that was not trained here on a prepared cohort, by every arm of the study; what is there stays.

    `load` gives the network when it is first needed; `architecture`: its name in records; `sha256`: 64 hexadecimal
    digits that change when the network does; `proof`: of a model of another maker, for the headers. Called under the
    store's lock. Returns the runs' headers.
    """
    network = given_network(load, architecture, sha256, proof)
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


def external_study(model: ExternalModel, images: Path, cohort: str, overrides: Sequence[str], store: Store) -> Study:
    """The study that says what is done, added to what the store already says. Its paths hold the folder's name only."""
    declared: dict[str, Any] = {
        "name": EXTERNAL,
        "title": "A network attacked on its owner's images",
        "image_size_px": model.image_size_px,
        "sources": {cohort: {"kind": "folder", "path": images.name}},
        "cohorts": {cohort: _cohort(model, cohort, images.name)},
        "training": {"architecture": model.architecture, "updates": max(1, model.updates), "seed": model.seed},
        "attack": {"arms": DEFAULT_ARMS},
    }
    if store.study.exists() and (held := stored_study(store)).name == EXTERNAL:
        earlier = parse_value(study_yaml(held))
        for part in ("sources", "cohorts"):
            declared[part] = earlier[part] | declared[part]
    study = parse_study(yaml_text(declared), name="attack --model", overrides=overrides)
    check_arms(study.attack)
    check_tuning_parts(study, dict.fromkeys(study.cohorts, 0))  # every image of the folder is attacked
    if study.analysis.arm is None and DECIDING_ARM in study.attack.arms:
        return study.model_copy(update={"analysis": study.analysis.model_copy(update={"arm": DECIDING_ARM})})
    return study


def _cohort(model: ExternalModel, source: str, folder: str) -> dict[str, Any]:
    described = {
        "source": source,
        "title": f"{folder}, network {model.identity[:8]} ({model.architecture})",
        "image_type": model.image_type,
        "classes": {name: {"label": [name]} for name in model.class_names},
        "positive": model.positive,
        "split": "none",
        "image_size_px": model.image_size_px,
        "channels": model.channels,
        "resize": model.resize,
        "scaling": model.scaling,
    }
    return {name: value for name, value in described.items() if value is not None}


def _of_checkpoint(metadata: CheckpointMetadata) -> ExternalModel:
    return ExternalModel(
        architecture=metadata.architecture,
        identity=metadata.classifier,
        class_names=metadata.class_names,
        positive=metadata.positive,
        image_size_px=metadata.image_size_px,
        channels=metadata.channels,
        resize=metadata.resize,
        scaling=_scaling(metadata),
        image_type=metadata.image_type,
        updates=metadata.updates,
        seed=metadata.seed,
    )


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
