"""Training: a prepared cohort becomes a classifier: one safetensors checkpoint and the document that describes it.

Names are imported when first used, so that planning a study or asking for help does not load torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "CheckpointMetadata": "checkpoint",
    "TrainingCohort": "training_data",
    "checkpoint_metadata": "checkpoint",
    "classifier_identity": "network_identity",
    "load_classifier": "checkpoint",
    "minimum_image_size": "timm_networks",
    "train": "pipeline",
    "updates_for": "update_schedule",
}

__all__ = [
    "CheckpointMetadata",
    "TrainingCohort",
    "checkpoint_metadata",
    "classifier_identity",
    "load_classifier",
    "minimum_image_size",
    "train",
    "updates_for",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'advassay.training' has no attribute {name!r}")
    return getattr(import_module(f"advassay.training.{_HOMES[name]}"), name)
