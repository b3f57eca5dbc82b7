"""What is attacked: InceptionV3 trained on a phantom cohort, seeded, and images it classifies correctly."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from advassay.classifier import Classifier
from benchmarks.measuring import note

STORE = Path("runs/bench")

STUDY = """
name: bench
title: The network that the benchmarks attack
seed: 0
image_size_px: {side}
sources:
  breast: {{kind: phantoms, phantom: histology, organs: [breast], images: {images}, images_per_patient: 4, seed: 14}}
cohorts:
  H-BR:
    title: Breast, tumour against norm
    source: breast
    image_type: histology
    classes:
      tumour: {{tissue: tumour}}
      norm: {{tissue: normal}}
training: {{architecture: {architecture}, updates: {updates}, batch_size: 16, learning_rate: 0.001, evaluations: 2}}
attack:
  steps: 1
  arms:
    A: {{epsilons: [0.02]}}
"""


class Subject(NamedTuple):
    """A trained classifier with images and their true labels."""

    classifier: Classifier
    images: torch.Tensor
    labels: torch.Tensor
    score: float
    """Validation accuracy."""
    checkpoint: Path


def trained(side: int, *, updates: int, images: int = 480, architecture: str = "inception_v3") -> Subject:
    """Train (or take from runs/bench) the network at `side` px; its correctly classified validation images."""
    from advassay.cohorts import open_cohort
    from advassay.study import make_environment, parse_study, train
    from advassay.training import load_classifier

    text = STUDY.format(side=side, images=images, updates=updates, architecture=architecture)
    place = make_environment(STORE / f"{architecture}-{side}-{updates}-{images}", device="cpu")
    note(f"training {architecture} at {side} px, {updates} updates, unless runs/bench has it")
    (document,) = train(parse_study(text), place)
    checkpoint = place.store.classifier(document.classifier) / "model.safetensors"
    classifier = load_classifier(checkpoint)
    cohort = open_cohort(place.store.cohort("H-BR"))
    ids = cohort.attack_sample(None)
    pixels, labels = torch.from_numpy(cohort.images(ids)), torch.from_numpy(np.asarray(cohort.labels(ids)))
    right = correct(classifier, pixels, labels)
    return Subject(classifier, pixels[right], labels[right].long(), document.validation.accuracy, checkpoint)


def correct(classifier: Classifier, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Which images the classifier decides rightly, bool (image,)."""
    with classifier.attack_mode(), torch.no_grad():
        return torch.cat([classifier(part).argmax(1) for part in images.split(16)]) == labels
