"""The network that a run is of: what headers say of it, and its classifier, loaded when something is to be attacked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from advassay.checked_files import read_model
from advassay.errors import StoreError
from advassay.identity import ID_LENGTH
from advassay.model_document import ModelProof
from advassay.records import Run, RunHeader, attack_rules, run_identity
from advassay.records.store_reader import TRAINING_HEALED
from advassay.spec.attack_components import UPDATE_RULES
from advassay.spec.attack_spec import Arm
from advassay.store_documents import Preparation, TrainingDocument
from advassay.store_layout import HEADER, MODEL, TRAINING, Store
from advassay.study.gradient_counts import Point
from advassay.study.run_request import RunRequest

if TYPE_CHECKING:
    from advassay.attacks.engine.preflight import ModelCache
    from advassay.classifier import Classifier


class ClassifierLoader(Protocol):
    """Gives a classifier when called, the same one each time."""

    @property
    def shared(self) -> ModelCache | None:
        """What attacks on it share; known once it has been called."""

    def __call__(self) -> Classifier: ...


class CheckpointLoader:
    """Reads a checkpoint's file at the first call, and keeps the classifier for those that follow."""

    def __init__(self, path: Path, device: str) -> None:
        self._path, self._device = path, device
        self._classifier: Classifier | None = None
        self.shared: ModelCache | None = None

    def __call__(self) -> Classifier:
        if self._classifier is None:
            from advassay.attacks.engine.preflight import ModelCache
            from advassay.training import load_classifier

            self._classifier, self.shared = load_classifier(self._path, device=self._device), ModelCache()
        return self._classifier


@dataclass(frozen=True)
class AttackedNetwork:
    """A network as its runs know it; its classifier is loaded when something is to be attacked."""

    identity: str
    architecture: str
    described: dict[str, Any]
    """What the headers of its runs say of it."""
    load: ClassifierLoader

    @property
    def shared(self) -> ModelCache | None:
        """What attacks on it share; known once it has been called."""
        return self.load.shared

    def __call__(self) -> Classifier:
        return self.load()


def trained_network(store: Store, identity: str, device: str, *, primary: bool, wanted: str) -> AttackedNetwork:
    """A network that this store trained; `wanted`: which one, in words.

    Raises StoreError where it has not been trained.
    """
    folder = store.classifier(identity)
    try:
        training = read_model(folder / TRAINING, TrainingDocument, TRAINING_HEALED)
    except FileNotFoundError:
        raise StoreError(
            f"classifiers: a network is needed, {wanted}, found none.",
            "Run `advassay train` with the same study first.",
        ) from None
    described: dict[str, Any] = {
        "architecture": training.architecture,
        "weights_sha256": training.weights_sha256,
        "train_size": training.train_size,
        "full": training.full,
        "primary": primary,
        "seed": training.seed,
    }
    load = CheckpointLoader(folder / MODEL, device)
    return AttackedNetwork(training.classifier, training.architecture, described, load)


def given_network(
    load: ClassifierLoader, architecture: str, sha256: str, proof: ModelProof | None = None
) -> AttackedNetwork:
    """A network that was not trained here. The hash of its file names it, not what it says about itself.

    `proof`: what was found before the first step, of a model of another maker.
    """
    described = {"architecture": architecture, "weights_sha256": sha256, "model_proof": proof}
    return AttackedNetwork(sha256[:ID_LENGTH], architecture, described, load)


def run_header(study: str, preparation: Preparation, network: AttackedNetwork, request: RunRequest) -> RunHeader:
    """The header of a run before it begins, from what the earlier stages left in the store."""
    header = RunHeader(
        run_id=run_identity(classifier=network.identity, arm=request.arm, cohort_identity=preparation.identity),
        study=study,
        cohort=preparation.cohort,
        cohort_title=preparation.title,
        cohort_identity=preparation.identity,
        image_type=preparation.image_type,
        class_names=preparation.class_names,
        positive=preparation.positive,
        channels=preparation.channels,
        image_size_px=preparation.image_size_px,
        bits=preparation.bits,
        patients_known=preparation.patients_known,
        classifier=network.identity,
        arm=request.arm_name,
        arm_position=request.arm_position,
        attack=attack_rules(request.arm),
        steps=UPDATE_RULES.get(request.arm.update).recorded_steps(request.arm.steps),
    )
    return header.model_copy(update=network.described)


def rerun_header(header: RunHeader, arm: Arm) -> RunHeader:
    """The header of the linked re-run by `arm`, from the declared run's before it ran."""
    run_id = run_identity(
        classifier=header.classifier, arm=arm, cohort_identity=header.cohort_identity, rerun_of=header.run_id
    )
    return header.model_copy(update={"run_id": run_id, "attack": attack_rules(arm), "rerun_of": header.run_id})


def recorded_images(store: Store, run_id: str, points: frozenset[Point]) -> dict[Point, int]:
    """Point of a grid → images that the store has there of a run."""
    return recorded_points(store.run(run_id), points)


def recorded_points(folder: Path, points: frozenset[Point]) -> dict[Point, int]:
    """The same of the run in a folder."""
    if not (folder / HEADER).exists():
        return dict.fromkeys(points, 0)
    held = Run(folder).index.points()  # what the shards hold, whatever the header counted
    return {point: rows.stop - rows.start for point in points for rows in [held.get(point, slice(0, 0))]}
