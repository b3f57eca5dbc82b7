"""MODEL of `evaluate`: a file, a folder or an object that somebody hands over, as a network that can be attacked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from advassay.checked_files import write_document
from advassay.errors import ClassifierError, CohortError, SpecError, TrainingError
from advassay.identity import ID_LENGTH

if TYPE_CHECKING:
    from advassay.attacks.engine.preflight import ModelCache
    from advassay.classifier import Classifier
    from advassay.cohorts import PreparedCohort
    from advassay.model_document import ModelDocument, ModelProof
    from advassay.store_layout import Store

Normalisation = float | Sequence[float]
PROVED_IMAGES = 8
"""Images on which a model file is compared with its own runtime."""


@dataclass(frozen=True)
class ModelOptions:
    """What the caller says of the model; None where its own files, or the defaults, decide."""

    mean: Normalisation | None = None
    std: Normalisation | None = None
    value_range: tuple[float, float] | None = None
    channels: int | None = None
    class_names: tuple[str, ...] | None = None
    finding: str | int | None = None
    trust: bool = False
    size_px: int | None = None

    @property
    def given(self) -> list[str]:
        """Names of the options that say how the network takes images."""
        return [
            name for name in ("mean", "std", "value_range", "channels", "finding") if getattr(self, name) is not None
        ]


@dataclass
class EvaluatedModel:
    """A network to attack, with what is known of it. Called, it gives the classifier (as the attack stage asks)."""

    classifier: Classifier
    architecture: str
    sha256: str
    """64 hexadecimal digits: of the file, or of the module's weights and code."""
    class_names: tuple[str, ...] | None
    size_px: int | None = None
    """Side of the images that it takes; None where it takes any, or does not say."""
    resize: Literal["squash", "crop", "pad"] = "squash"
    scaling: Literal["full-range", "percentile"] = "full-range"
    image_type: str | None = None
    positive: str | None = None
    notes: tuple[str, ...] = ()
    prove: Callable[[np.ndarray], tuple[str, ModelDocument]] | None = None
    """Of a model file: compares it with its own runtime on images, float32 (image, channel, height, width) in [0, 1],
    and gives the proof in a sentence and the model's document. Raises ClassifierError where they differ."""
    proof: ModelProof | None = None
    """What `prove` found; null before it was called."""
    shared: ModelCache | None = None
    """What the arms' attacks on it share."""

    def __post_init__(self) -> None:
        from advassay.attacks.engine.preflight import ModelCache

        self.shared = ModelCache()

    def __call__(self) -> Classifier:
        return self.classifier

    def logits(self, images: np.ndarray) -> np.ndarray:
        """float32 (image, class) of images float32 (image, channel, height, width) in [0, 1]."""
        import torch

        with self.classifier.attack_mode(), torch.no_grad():
            block = torch.from_numpy(images).to(self.classifier.mean.device)
            return np.asarray(self.classifier(block).float().cpu().numpy())

    def decisions(self, images: np.ndarray) -> np.ndarray:
        """Indices of the classes that the model decides for, int64 (image,)."""
        return np.asarray(self.logits(images).argmax(axis=1), np.int64)


def open_model(given: Any, options: ModelOptions, device: str) -> EvaluatedModel:
    """The model that was handed over, on `device`.

    `given`: a path or a text that names a file; a Classifier; any torch module; a function of images made of torch
    operations. Raises TrainingError or ClassifierError for what cannot be read, SpecError for options that contradict
    what the model says of itself.
    """
    from advassay.classifier import Classifier

    if isinstance(given, str | os.PathLike):
        model = _from_file(given, options, device)
    elif isinstance(given, Classifier):
        if options.given:
            raise SpecError(
                f"{', '.join(options.given)}: a Classifier knows how it takes images already, got both.",
                "Give them to Classifier(...), or give evaluate the module inside it.",
            )
        model = _from_classifier(given, device)
    else:
        model = _from_classifier(_wrapped(given, options), device, name=_name_of(given))
    names = options.class_names or model.class_names
    return replace(model, class_names=names, size_px=options.size_px or model.size_px)


def _wrapped(given: Any, options: ModelOptions) -> Classifier:
    from advassay.classifier import Classifier

    if isinstance(options.finding, str):
        raise SpecError(
            f"finding: expected the number of an output of the module, counted from 0, got {options.finding!r}.",
            "A module does not name its outputs.",
        )
    low, high = options.value_range or (0.0, 1.0)
    return Classifier(
        given,
        mean=-low / (high - low) if options.mean is None else options.mean,
        std=1 / (high - low) if options.std is None else options.std,
        channels=options.channels,
        finding=options.finding,
        class_names=options.class_names,
    )


def _from_classifier(classifier: Classifier, device: str, name: str | None = None) -> EvaluatedModel:
    notes = []
    if parts := classifier.training_parts():
        notes.append(f"The model came in train mode ({', '.join(parts[:3])}); it is attacked in eval mode.")
    return EvaluatedModel(
        classifier.to(device),
        architecture=name or _name_of(classifier.module),
        sha256=content_sha256(classifier),
        class_names=classifier.class_names,
        notes=tuple(notes),
    )


def _name_of(module: Any) -> str:
    """What records call a model that has no name: its class or its function."""
    return str(getattr(module, "__name__", None) or type(module).__name__)


def _from_file(given: str | os.PathLike[str], options: ModelOptions, device: str) -> EvaluatedModel:
    """A checkpoint that `train` wrote, or a model of any other maker."""
    from advassay.models.weight_files import file_sha256
    from advassay.training import checkpoint_metadata, load_classifier

    path = Path(given)
    try:
        metadata = checkpoint_metadata(path)
    except TrainingError:
        return _from_other_maker(given, options, device)
    if options.given:
        raise SpecError(
            f"{', '.join(options.given)}: the checkpoint says how it takes images, got both.", "Leave the options out."
        )
    scaling = "percentile" if metadata.scaling == "percentile" else "full-range"
    notes = []
    if metadata.scaling == "voi":
        notes.append(
            "The checkpoint saw DICOM images through their VOI windows; the images are taken as exported that way."
        )
    return EvaluatedModel(
        load_classifier(path, device=device),
        architecture=metadata.architecture,
        sha256=file_sha256(path),
        class_names=metadata.class_names,
        size_px=metadata.image_size_px,
        resize=metadata.resize,  # type: ignore[arg-type]
        scaling=scaling,  # type: ignore[arg-type]
        image_type=metadata.image_type,
        positive=metadata.positive,
        notes=tuple(notes),
    )


def _from_other_maker(given: str | os.PathLike[str], options: ModelOptions, device: str) -> EvaluatedModel:
    """A model as `load_model` reads it, proved on synthetic images; on the images to attack once they are prepared."""
    from advassay.models import load_model

    loaded = load_model(
        given, mean=options.mean, std=options.std, value_range=options.value_range, channels=options.channels,
        class_names=options.class_names, finding=options.finding, trust=options.trust, device=device,
    )  # fmt: skip
    document = loaded.document()
    used = document.model_dump_json(include={"format", "architecture", "preprocessing", "head", "finding"})
    used += repr(loaded.parts.thresholds)
    side = loaded.parts.prepare_px or (loaded.image_size_px[0] if loaded.image_size_px else None)

    def prove(images: np.ndarray) -> tuple[str, ModelDocument]:
        loaded.to("cpu")  # the runtimes that it is compared with compute there
        try:
            return loaded.prove(images).summary(), loaded.document()
        finally:
            loaded.to(device)

    return EvaluatedModel(
        loaded,
        architecture=loaded.architecture or loaded.format,
        sha256=hashlib.sha256(f"{loaded.weights_sha256} {used}".encode()).hexdigest(),
        class_names=loaded.class_names,
        size_px=side,
        resize=loaded.parts.prepare_resize,
        notes=tuple(loaded.notes),
        prove=prove,
    )


# ---- before the first step ------------------------------------------------------------------------------------------


def prove_on_cohort(model: EvaluatedModel, cohort: PreparedCohort, store: Store) -> list[str]:
    """Prove a model file on the images that will be attacked; the store keeps the proof. Returns it in sentences.

    Nothing for a model that is no file. Raises ClassifierError where the model and its own runtime differ.
    """
    if model.prove is None:
        return []
    sentence, document = model.prove(cohort.images(cohort.ids("validation")[:PROVED_IMAGES]))
    write_document(store.classifier(model.sha256[:ID_LENGTH]) / "model.json", document)
    model.proof = document.proof
    return [f"ε = 2/255 is {document.preprocessing.describe_epsilon(2 / 255)}.", sentence]


def check_classes(model: EvaluatedModel, cohort: PreparedCohort) -> None:
    """Raise CohortError unless the model has as many logits as there are classes."""
    first = cohort.ids("validation")[:1]
    logits, names = model.logits(cohort.images(first)), cohort.preparation.class_names
    if logits.shape[1] != len(names):
        raise CohortError(
            f"classes: expected one for each of the model's {logits.shape[1]} outputs, got {len(names)}: "
            f"{', '.join(names)}.",
            "Name all of the model's classes in the order of its outputs: --classes a,b,c.",
        )


# ---- identity of a module in memory ---------------------------------------------------------------------------------


def content_sha256(classifier: Classifier) -> str:
    """Hash of a network by all that its behaviour is known to follow from: see attacks/engine/fingerprint.py.

    Weights, other tensors, attributes of any depth, code and what it encloses; the same for the same network on one
    version of Python and one kind of device. Raises ClassifierError for a network that cannot be read by content.
    """
    from advassay.attacks.engine.fingerprint import NotFingerprintableError, fingerprint

    try:
        with classifier.attack_mode():  # modes and requires_grad as they are while it is attacked
            found = fingerprint(classifier)
    except NotFingerprintableError as part:
        raise ClassifierError(
            f"model: expected a network that its content tells from another one, got one with {part}.",
            "A store could not say which network it is of. Keep such parts outside of it, or give it as a file "
            "(TorchScript, .pt2, ONNX).",
        ) from None
    return hashlib.sha256(found.encode()).hexdigest()
