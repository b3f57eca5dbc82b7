"""A classifier as one safetensors file: weights, and in its header everything needed to rebuild and use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from advassay.classifier import Classifier
from advassay.errors import TrainingError
from advassay.models.timm_networks import blank_network
from advassay.models.weight_files import read_tensors
from advassay.spec.base_model import Frozen
from advassay.store_layout import writing

FORMAT_VERSION = 1
_KEY = "advassay"  # the header's only entry, JSON: safetensors writes several in random order, changing the file's hash
_WRAP = (
    "A checkpoint written by `advassay train` is needed. For a network of your own: build it in Python, load its "
    "weights, wrap it as advassay.Classifier(module, mean=…, std=…) and give that to advassay.attack or advassay.sweep."
)


class CheckpointMetadata(Frozen):
    """The header of model.safetensors: what the weights are and which images they expect."""

    format_version: int = FORMAT_VERSION
    classifier: str
    """Identity of the classifier (see training.identity)."""
    architecture: str
    """timm name; tensors bear timm's parameter names."""
    class_names: tuple[str, ...]
    """In the order of the logits."""
    positive: str
    """The class whose detection is sensitivity."""
    image_type: str
    channels: int
    image_size_px: int
    mean: float
    std: float
    """The network sees (image − mean) / std, image in [0, 1]."""
    scaling: str
    """How stored values become [0, 1]: full-range | percentile | voi."""
    resize: str
    """How a non-square image becomes square: squash | crop | pad."""
    bits: int
    """Depth of the prepared images, 8 or 16."""
    cohort: str
    cohort_identity: str
    train_size: int
    seed: int
    updates: int
    start_weights_sha256: str | None
    versions: dict[str, str]


def write_checkpoint(path: Path, network: nn.Module, metadata: CheckpointMetadata) -> None:
    """Write weights (float32, contiguous, on the processor) and metadata; the file appears whole or not at all."""
    from safetensors.torch import save_file

    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in network.state_dict().items()}
    with writing(path) as beside:
        save_file(tensors, beside, metadata={_KEY: metadata.model_dump_json()})


def checkpoint_metadata(path: Path) -> CheckpointMetadata:
    """The header of a checkpoint; its weights are not read.

    Raises TrainingError, saying what was seen, for a file that `train` did not write.
    """
    text = (_header(Path(path))).get(_KEY)
    if text is None:
        raise TrainingError(f"{path}: a safetensors file without advassay's metadata.", _WRAP)
    try:
        seen: Any = json.loads(text)
        if seen.get("format_version", 0) > FORMAT_VERSION:
            raise TrainingError(
                f"{path}: written in checkpoint format {seen['format_version']}, this version reads up to "
                f"{FORMAT_VERSION}.",
                "Install a newer advassay.",
            )
        return CheckpointMetadata.model_validate(seen)
    except (ValidationError, ValueError, AttributeError) as error:
        raise TrainingError(
            f"{path}: its metadata do not describe a classifier ({type(error).__name__}).", _WRAP
        ) from error


def load_classifier(path: Path, device: str = "cpu") -> Classifier:
    """The classifier of a model.safetensors, in evaluation mode on `device`; the file alone suffices.

    Its logits equal those of the network that was written, bit for bit on the same machine. Raises TrainingError for
    a missing, foreign or damaged file.
    """
    path = Path(path)
    metadata = checkpoint_metadata(path)
    network = blank_network(
        metadata.architecture,
        channels=metadata.channels,
        classes=len(metadata.class_names),
        image_size_px=metadata.image_size_px,
    )
    try:
        network.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        raise TrainingError(f"{path}: its weights do not fit {metadata.architecture} ({error}).", _WRAP) from error
    return (
        as_classifier(network, metadata.mean, metadata.std, metadata.channels, metadata.class_names).to(device).eval()
    )


def as_classifier(
    network: nn.Module, mean: float, std: float, channels: int, class_names: tuple[str, ...]
) -> Classifier:
    return Classifier(network, mean=mean, std=std, channels=channels, class_names=class_names)


def _header(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise TrainingError(f"{path}: no such file.", _WRAP)
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise TrainingError(f"{path}: not a safetensors file, or a damaged one ({error}).", _WRAP) from error


def versions() -> dict[str, str]:
    """Versions of the libraries that decide the numbers."""
    import timm

    import advassay

    return {
        "advassay": advassay.__version__,
        "torch": str(torch.__version__),
        "timm": timm.__version__,
    }
