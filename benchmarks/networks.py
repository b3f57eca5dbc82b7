"""Trained networks of a store, with the validation images they were attacked on: subjects of the explanation pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from advassay.classifier import Classifier
from advassay.cohorts import open_cohort
from advassay.store_documents import TrainingDocument
from advassay.store_layout import MODEL, TRAINING
from advassay.training import load_classifier


@dataclass(frozen=True)
class Trained:
    """A network and images of its validation split that it classifies correctly."""

    study: str
    cohort: str
    classifier: Classifier
    images: np.ndarray
    """float32 (image, channel, height, width) in [0, 1]."""
    labels: np.ndarray
    clean_confidence: np.ndarray
    """float64 (image,): largest softmax probability."""
    image_ids: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.cohort} ({self.study})"

    def first(self, n: int) -> Trained:
        """The same network with its first `n` images."""
        return Trained(
            self.study, self.cohort, self.classifier, self.images[:n], self.labels[:n], self.clean_confidence[:n],
            self.image_ids[:n],
        )  # fmt: skip


def networks(stores: list[Path], cohorts: list[str] | None, images: int) -> Iterator[Trained]:
    """The primary network of each cohort, with at most `images` correctly classified validation images."""
    for store in stores:
        for folder in sorted((store / "cohorts").iterdir()):
            if cohorts is None or folder.name in cohorts:
                yield _open(store, folder, images)


def _open(store: Path, folder: Path, images: int) -> Trained:
    cohort = open_cohort(folder)
    classifier = load_classifier(store / "classifiers" / _largest(store, folder.name) / MODEL)
    ids = cohort.attack_sample(None)[: 4 * images]
    pixels, labels = cohort.images(ids), cohort.labels(ids)
    with torch.no_grad(), classifier.attack_mode():
        logits = torch.cat([classifier(part) for part in torch.from_numpy(pixels).split(32)]).double()
    kept = np.flatnonzero(logits.argmax(1).numpy() == labels)[:images]
    confidence = logits.softmax(1).max(1).values.numpy()
    return Trained(
        store.name, folder.name, classifier, pixels[kept], labels[kept], confidence[kept], tuple(ids[i] for i in kept)
    )


def _largest(store: Path, cohort: str) -> str:
    """The cohort's network with most training images."""
    found: list[tuple[int, str]] = []
    for path in sorted((store / "classifiers").glob(f"*/{TRAINING}")):
        training = TrainingDocument.model_validate_json(path.read_text())
        if training.cohort == cohort:
            found.append((training.train_size, path.parent.name))
    return max(found)[1]
