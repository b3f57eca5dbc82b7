"""How well a classifier does on labelled images: accuracy, AUROC, sensitivity, specificity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from sklearn.metrics import roc_auc_score

from advassay.classifier import Classifier
from advassay.documents import Scores
from advassay.errors import TrainingError
from advassay.training.data import ImageCache

IMAGES_AT_ONCE = 64


@torch.inference_mode()
def predict(classifier: Classifier, cache: ImageCache, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Logits float32 (image, class) in evaluation mode and float32 arithmetic, and labels int64 (image,)."""
    classifier.eval()
    logits, labels = [], []
    for images, part in cache.in_parts(np.arange(len(cache)), IMAGES_AT_ONCE):
        logits.append(classifier(images.to(device)).float().cpu().numpy())
        labels.append(part.numpy())
    return np.concatenate(logits), np.concatenate(labels)


def scores(logits: np.ndarray, labels: np.ndarray, *, positive: int) -> Scores:
    """Scores of one split.

    logits: (image, class); labels: class indices (image,); `positive`: index of the class whose detection is
    sensitivity. Two classes: AUROC, sensitivity and specificity of the positive class. More: the mean over classes,
    each against the rest. null where a class has no image (or every image) among the labels.

    Raises TrainingError for logits that are not finite and for no images.

    >>> scores(np.array([[2.0, 0], [0, 1], [0, 3], [1, 0]]), np.array([0, 1, 1, 1]), positive=1)
    Scores(images=4, accuracy=0.75, auroc=1.0, sensitivity=0.6666666666666666, specificity=1.0)
    """
    _check(logits, labels)
    probabilities = softmax(logits.astype(np.float64), axis=1)
    predicted = logits.argmax(axis=1)
    classes: Sequence[int] = [positive] if logits.shape[1] == 2 else range(logits.shape[1])
    return Scores(
        images=len(labels),
        accuracy=float((predicted == labels).mean()),
        auroc=_mean([_auroc(labels == c, _evidence(logits, probabilities, c)) for c in classes]),
        sensitivity=_mean([_share(predicted == c, labels == c) for c in classes]),
        specificity=_mean([_share(predicted != c, labels != c) for c in classes]),
    )


def balanced_accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean recall over the classes that occur among the labels."""
    predicted = logits.argmax(axis=1)
    return float(np.mean([(predicted[labels == c] == c).mean() for c in np.unique(labels)]))


def cross_entropy(logits: np.ndarray, labels: np.ndarray, class_weights: np.ndarray) -> float:
    """Class-weighted mean cross-entropy in nats, as torch.nn.CrossEntropyLoss(weight) defines it; float64."""
    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    weights = class_weights[labels]
    return float(-(weights * log_probabilities[np.arange(len(labels)), labels]).sum() / weights.sum())


def _check(logits: np.ndarray, labels: np.ndarray) -> None:
    if not len(labels):
        raise TrainingError("labels: at least one image is needed, got 0.", "Give the split some images.")
    if not np.isfinite(logits).all():
        raise TrainingError(
            f"logits: must be finite, {int((~np.isfinite(logits)).sum())} of {logits.size} are not.",
            "The training diverged: lower training.learning_rate.",
        )


def _evidence(logits: np.ndarray, probabilities: np.ndarray, index: int) -> np.ndarray:
    """What ranks images for a class; with two classes the logit difference, which does not saturate."""
    return logits[:, index] - logits[:, 1 - index] if logits.shape[1] == 2 else probabilities[:, index]


def _auroc(is_class: np.ndarray, evidence: np.ndarray) -> float | None:
    return None if is_class.all() or not is_class.any() else float(roc_auc_score(is_class, evidence))


def _share(hit: np.ndarray, among: np.ndarray) -> float | None:
    return float(hit[among].mean()) if among.any() else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
