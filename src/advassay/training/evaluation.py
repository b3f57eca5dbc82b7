"""What happens at an evaluation: batch-norm statistics, tuning score, and whether this network is the best so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from lightning import Callback
from torch import Tensor

from advassay.classifier import Classifier
from advassay.errors import TrainingError
from advassay.identity import draw
from advassay.progress import Progress
from advassay.training.batch_norm import recompute_statistics
from advassay.training.data import ImageCache
from advassay.training.scoring import IMAGES_AT_ONCE, balanced_accuracy, cross_entropy, predict

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


class Evaluations(Callback):
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

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.updates += 1
        self._losses.append(outputs["loss"].detach())
        self._progress.advance(self._task)
        if self.updates in self._planned:
            self._evaluate(trainer, module)

    def _evaluate(self, trainer: Any, module: Any) -> None:
        entry = {
            "update": float(self.updates),
            "training_loss": float(torch.stack([loss.cpu() for loss in self._losses]).double().mean()),
            "learning_rate": float(trainer.optimizers[0].param_groups[0]["lr"]),
        }
        self._losses.clear()
        entry |= self._score(module)
        _refuse_divergence(entry)
        self.history.append(entry)
        self.best.offer(self.updates, entry.get("tuning_loss"), module.classifier)
        if self.best.exhausted:
            trainer.should_stop = True

    def _score(self, module: Any) -> dict[str, float]:
        batches = self._training.in_parts(self._sample, IMAGES_AT_ONCE)
        recompute_statistics(module.classifier, (images.to(module.device) for images, _ in batches))
        if self._selection is None:
            return {}
        logits, labels = predict(module.classifier, self._selection, module.device)
        module.train()
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
