"""What happens at an evaluation: batch-norm statistics, scores, and whether this network is the best so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from advassay.classifier import Classifier
from advassay.errors import TrainingError
from advassay.identity import draw
from advassay.progress import Progress
from advassay.store_documents import Scores
from advassay.training.training_data import ImageCache


@torch.no_grad()
def recompute_statistics(network: nn.Module, batches: Iterable[Tensor]) -> int:
    """Replace every batch-norm layer's running mean and variance by their plain average over `batches`.

    Everything but batch norm (dropout, stochastic depth) is in evaluation mode meanwhile; modes and momenta are put
    back after. batches: float32 images as `network` takes them, of equal or nearly equal sizes. Returns the number of
    layers.
    """
    layers = [part for part in network.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    if not layers:
        return 0
    modes = [(part, part.training) for part in network.modules()]
    momenta = [layer.momentum for layer in layers]
    try:
        network.eval()
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # torch's word for a cumulative average
            layer.training = True
        for images in batches:
            network(images)
    finally:
        for part, mode in modes:
            part.training = mode
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    return len(layers)


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
        raise TrainingError("labels: expected at least one image, got 0.", "Give the split some images.")
    if not np.isfinite(logits).all():
        raise TrainingError(
            f"logits: must be finite, {int((~np.isfinite(logits)).sum())} of {logits.size} are not.",
            "The training diverged: lower training.learning_rate.",
        )


def _evidence(logits: np.ndarray, probabilities: np.ndarray, index: int) -> np.ndarray:
    """What ranks images for a class; with two classes the logit difference, which does not saturate."""
    return logits[:, index] - logits[:, 1 - index] if logits.shape[1] == 2 else probabilities[:, index]


def _auroc(is_class: np.ndarray, evidence: np.ndarray) -> float | None:
    """The Mann–Whitney form (Hanley & McNeil 1982), ties count half; None where one side has no image."""
    inside, outside = int(is_class.sum()), int((~is_class).sum())
    if not inside or not outside:
        return None
    return float((rankdata(evidence)[is_class].sum() - inside * (inside + 1) / 2) / (inside * outside))


def _share(hit: np.ndarray, among: np.ndarray) -> float | None:
    return float(hit[among].mean()) if among.any() else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


STATISTICS_IMAGES = 256
"""Training images batch-norm statistics are recomputed from, before every evaluation."""


@dataclass
class Selection:
    """Keeps the network with the lowest selection loss; without selection images, the latest one.

    The loss decides, not the accuracy: on the few dozen images of a tuning part accuracy comes in steps of several
    per cent and ties are the rule. An equal loss keeps the earlier network.
    """

    patience: int | None
    update: int = 0
    loss: float = float("inf")
    without_improvement: int = 0
    state: Mapping[str, Tensor] = field(default_factory=dict)

    def offer(self, update: int, loss: float | None, classifier: Classifier) -> None:
        if loss is None or loss < self.loss:
            self.update, self.without_improvement = update, 0
            self.loss = self.loss if loss is None else loss
            self.state = {name: t.detach().cpu().clone() for name, t in classifier.module.state_dict().items()}
        else:
            self.without_improvement += 1

    @property
    def exhausted(self) -> bool:
        return self.patience is not None and self.without_improvement >= self.patience


class Evaluations:
    """After the planned updates: recompute batch norm, score the selection images in float32, keep the best."""

    def __init__(
        self,
        *,
        training: ImageCache,
        selection: ImageCache | None,
        planned: tuple[int, ...],
        patience: int | None,
        class_weights: np.ndarray,
        seed: int,
        progress: Progress,
        task: str,
    ) -> None:
        self._training, self._selection, self._planned = training, selection, set(planned)
        self._class_weights, self._progress, self._task = class_weights, progress, task
        self._sample = statistics_sample(len(training), seed)
        self._losses: list[Tensor] = []
        self.best = Selection(patience)
        self.history: list[dict[str, float]] = []
        self.updates = 0

    def state(self) -> dict[str, Any]:
        """All that the evaluations still to come follow from, as plain data and tensors."""
        best = self.best
        return {
            "updates": self.updates,
            "losses": self._losses,
            "history": self.history,
            "best": {
                "update": best.update, "loss": best.loss, "without_improvement": best.without_improvement,
                "state": dict(best.state),
            },
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.updates, self._losses = state["updates"], list(state["losses"])
        self.history = [dict(entry) for entry in state["history"]]
        for name, value in state["best"].items():
            setattr(self.best, name, value)

    def after_update(self, loss: Tensor, learning_rate: float, classifier: Classifier, device: torch.device) -> None:
        """Count the update; evaluate where one is planned. `loss`: the batch's, a scalar; `learning_rate`: the next."""
        self.updates += 1
        self._losses.append(loss.detach())
        self._progress.advance(self._task)
        if self.updates not in self._planned:
            return
        entry = {
            "update": float(self.updates),
            "training_loss": float(torch.stack([each.cpu() for each in self._losses]).double().mean()),
            "learning_rate": learning_rate,
        }
        self._losses.clear()
        entry |= self._score(classifier, device)
        _refuse_divergence(entry)
        self.history.append(entry)
        self.best.offer(self.updates, entry.get("tuning_loss"), classifier)

    def _score(self, classifier: Classifier, device: torch.device) -> dict[str, float]:
        batches = self._training.in_parts(self._sample, IMAGES_AT_ONCE)
        recompute_statistics(classifier, (images.to(device) for images, _ in batches))
        if self._selection is None:
            return {}
        logits, labels = predict(classifier, self._selection, device)
        classifier.train()
        return {
            "tuning_loss": cross_entropy(logits, labels, self._class_weights),
            "tuning_accuracy": balanced_accuracy(logits, labels),
        }


def _refuse_divergence(entry: dict[str, float]) -> None:
    broken = {name: value for name, value in entry.items() if not np.isfinite(value)}
    if broken:
        raise TrainingError(
            f"training: the loss must stay finite, got {broken} at update {entry['update']:.0f}.",
            "Lower training.learning_rate.",
        )


def statistics_sample(training_images: int, seed: int) -> np.ndarray:
    """Positions of the training images that batch-norm statistics are taken from: the same at every evaluation."""
    order = np.random.default_rng(draw(seed, "batch-norm")).permutation(training_images)
    return np.sort(order[:STATISTICS_IMAGES])
