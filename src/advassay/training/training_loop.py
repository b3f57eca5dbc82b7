"""The training loop: batches → loss → Adam, in Lightning's Trainer; returns the best network, without scoring it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from torch import Tensor
from torch.nn.functional import cross_entropy

from advassay.classifier import Classifier, keep_freed_memory
from advassay.identity import draw
from advassay.progress import Progress
from advassay.spec.study_spec import TrainingSpec
from advassay.training.evaluation import Evaluations
from advassay.training.quiet_lightning import interruptible, quiet_lightning, quiet_trainer
from advassay.training.resume_state import SaveTrainingState, read_training_state
from advassay.training.training_data import ImageCache, UpdateBatches, augment_lightly
from advassay.training.update_schedule import evaluation_updates, learning_rate_factor


@dataclass(frozen=True)
class Fitted:
    """What the loop leaves: the classifier holds the best network's weights, on the processor, in evaluation mode."""

    classifier: Classifier
    updates: int
    """Updates made (fewer than planned only where patience ended the training)."""
    selected_update: int
    """The update whose network was kept."""
    history: tuple[dict[str, float], ...]
    precision: str


def fit(
    classifier: Classifier,
    training: ImageCache,
    selection: ImageCache | None,
    spec: TrainingSpec,
    *,
    updates: int,
    seed: int,
    tissue: bool,
    device: torch.device,
    progress: Progress,
    task: str,
    identity: str,
    kept: Path,
) -> Fitted:
    """Train `classifier` in place by `updates` updates of Adam and keep the network best on `selection`.

    `selection` None keeps the last network. `tissue`: augmentation may turn images by quarters. The same arguments
    give the same weights bit for bit on one machine with one number of threads (on the processor). `kept`: the file
    that the state is written to at intervals, and read from where it is of the network `identity`.
    Raises TrainingError where the loss is not finite.
    """
    if device.type == "cpu":
        keep_freed_memory()
    weights = class_weights(training.labels.numpy(), spec.class_weights, len(classifier.class_names or ()))
    precision = fastest_precision(device)
    evaluations = Evaluations(
        training=training,
        selection=selection,
        planned=evaluation_updates(updates, spec.evaluations),
        patience=spec.patience,
        class_weights=weights,
        seed=seed,
        progress=progress,
        task=task,
    )
    before = read_training_state(kept, identity)
    done = 0 if before is None else before.updates
    if before is not None:
        classifier.module.load_state_dict(before.network)
        evaluations.restore(before.evaluations)
        progress.advance(task, done)
    module = _Training(
        classifier, spec, weights, updates=updates, seed=seed, tissue=tissue,
        done=done, optimiser=None if before is None else before.optimiser,
    )  # fmt: skip
    batches = UpdateBatches(training, batch_size=spec.batch_size, updates=updates, seed=seed, first=done)
    if done < updates and not evaluations.best.exhausted:
        with _deterministic(seed, device), interruptible() as stop, quiet_lightning():
            callbacks = [evaluations, SaveTrainingState(kept, identity, evaluations, stop, before)]
            trainer = quiet_trainer(updates=updates - done, device=device, precision=precision, callbacks=callbacks)
            trainer.fit(module, train_dataloaders=batches)
    classifier.cpu().to(memory_format=torch.contiguous_format)
    classifier.module.load_state_dict(dict(evaluations.best.state))
    classifier.eval()
    return Fitted(classifier, evaluations.updates, evaluations.best.update, tuple(evaluations.history), str(precision))


class _Training(LightningModule):
    def __init__(
        self,
        classifier: Classifier,
        spec: TrainingSpec,
        weights: np.ndarray,
        *,
        updates: int,
        seed: int,
        tissue: bool,
        done: int = 0,
        optimiser: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.classifier = classifier.to(memory_format=torch.channels_last)
        self.register_buffer("class_weights", torch.from_numpy(weights).float(), persistent=False)
        self._spec, self._updates, self._seed, self._tissue = spec, updates, seed, tissue
        self._done, self._optimiser = done, optimiser

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> tuple[Tensor, Tensor]:
        images, labels, update = batch
        if self._spec.augment == "light":
            generator = torch.Generator().manual_seed(draw(self._seed, "augment", update) >> 1)
            images = augment_lightly(images, turns=self._tissue, generator=generator)
        return images.contiguous(memory_format=torch.channels_last), labels

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        return cross_entropy(self.classifier(images).float(), labels, weight=self.class_weights)  # type: ignore[arg-type]

    def configure_optimizers(self) -> Any:
        optimiser = torch.optim.Adam(
            self.parameters(), lr=self._spec.learning_rate, weight_decay=self._spec.weight_decay
        )
        if self._optimiser is not None:
            optimiser.load_state_dict(dict(self._optimiser))
        for group in optimiser.param_groups:  # the schedule counts from the update it goes on with
            group["lr"] = group["initial_lr"] = self._spec.learning_rate
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda update: learning_rate_factor(self._done + update, self._updates)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def class_weights(labels: np.ndarray, weighted: bool, classes: int) -> np.ndarray:
    """float64 (class,): images / (classes · images of the class), so that every class counts alike; or ones.

    >>> class_weights(np.array([0, 0, 0, 1]), True, 2).round(3).tolist()
    [0.667, 2.0]
    """
    if not weighted:
        return np.ones(classes)
    return len(labels) / (classes * np.bincount(labels, minlength=classes))


def fastest_precision(device: torch.device) -> str:
    """Lightning's name of the arithmetic used for updates: bfloat16 autocast where the hardware has it, else float32.

    On processors only those with AVX-512 BF16 (measured, InceptionV3, 32 images of 80 px, 2 threads, channels-last:
    0.21 s an update against 0.43 s); older ones emulate it, slowly. Weights and the loss are always float32.
    """
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return "bf16-mixed" if device.type == "cpu" and native is not None and native() else "32-true"


@contextmanager
def _deterministic(seed: int, device: torch.device) -> Iterator[None]:
    """The global generators (dropout, stochastic depth) seeded inside and as they were after; cuDNN deterministic."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(draw(seed, "dropout") >> 1)
        yield
