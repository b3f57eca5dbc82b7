"""The training loop: batches → loss → Adam; returns the best network, without scoring it on validation images.

One network is trained on one device. Several devices train several networks. When things happen is counted in optimiser
updates: how many, when to evaluate, how large a step.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from advassay.classifier import Classifier
from advassay.errors import AdvassayWarning
from advassay.identity import draw
from advassay.progress import Progress
from advassay.spec.study_spec import TrainingSpec
from advassay.training.evaluation import Evaluations
from advassay.training.resume_state import (
    TrainingState,
    TrainingStateWriter,
    read_training_state,
    set_generators,
    stops_after_update,
    thread_note,
)
from advassay.training.training_data import ImageCache, UpdateBatches, augment_lightly

# ---- the schedule, in updates ----------------------------------------------------------------------------------------

WARM_UP_SHARE = 0.1
FINAL_RATE_SHARE = 0.01


def updates_for(spec: TrainingSpec, training_images: int) -> int:
    """Optimiser updates of every network of a cohort.

    `training_images`: images of the full training split. A size series keeps the number that follows from the full
    split, so that its members differ in data and not in optimisation.

    >>> updates_for(TrainingSpec(epochs=6), 496)
    93
    >>> updates_for(TrainingSpec(updates=60), 496)
    60
    """
    return spec.updates_for(training_images)


def evaluation_updates(updates: int, evaluations: int) -> tuple[int, ...]:
    """After which updates the network is evaluated: evenly spread, the last update always among them.

    >>> evaluation_updates(60, 5)
    (12, 24, 36, 48, 60)
    >>> evaluation_updates(2, 5)
    (1, 2)
    """
    return tuple(sorted({max(1, round(updates * k / evaluations)) for k in range(1, evaluations + 1)}))


def learning_rate_factor(update: int, updates: int) -> float:
    """Share of the learning rate used by update number `update` (from 0): linear warm-up, then cosine decay.

    The warm-up takes the first tenth of the updates: Adam's second moments are unreliable until then. The cosine
    (Loshchilov & Hutter 2017, SGDR, eq. 5, one cycle) ends at 1 % of the rate.

    >>> [round(learning_rate_factor(k, 20), 2) for k in (0, 1, 2, 11, 19)]
    [0.5, 1.0, 1.0, 0.51, 0.02]
    """
    warm_up = max(1, round(WARM_UP_SHARE * updates))
    if update < warm_up:
        return (update + 1) / warm_up
    done = (update - warm_up) / max(1, updates - warm_up)
    return FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * 0.5 * (1 + math.cos(math.pi * done))


# ---- the loop --------------------------------------------------------------------------------------------------------


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
    notes: tuple[str, ...] = ()
    """What weakens the promise of the same weights, for the training's document."""


BFLOAT16 = "bf16-mixed"
FLOAT32 = "32-true"


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
    notes: tuple[str, ...] = ()
    if before is not None:
        classifier.module.load_state_dict(before.network)
        if (note := thread_note(before)) is not None:
            warnings.warn(note, AdvassayWarning, stacklevel=4)
            notes = (note,)
        evaluations.restore(before.evaluations)
        progress.advance(task, done)
    batches = UpdateBatches(training, batch_size=spec.batch_size, updates=updates, seed=seed, first=done)
    classifier = classifier.to(device).to(memory_format=torch.channels_last)  # before Adam takes its moments there
    optimiser, schedule = _optimiser(classifier, spec, updates=updates, done=done, before=before)
    loss_weights = torch.from_numpy(weights).float().to(device)
    writer = TrainingStateWriter(kept, identity)
    with _deterministic(seed, device), stops_after_update() as stop, closing(_read_ahead(batches)) as read:
        if before is not None:
            set_generators(before.generators)
        classifier.train()
        for images, labels, update in read:
            if evaluations.best.exhausted:
                break
            images, labels = images.to(device), labels.to(device)
            if spec.augment == "light":
                generator = torch.Generator().manual_seed(draw(seed, "augment", update) >> 1)
                images = augment_lightly(images, turns=tissue, generator=generator)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == BFLOAT16):
                logits = classifier(images.contiguous(memory_format=torch.channels_last))
                loss = cross_entropy(logits.float(), labels, weight=loss_weights)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            evaluations.after_update(loss, float(schedule.get_last_lr()[0]), classifier, device)
            writer.after_update(classifier.module, optimiser, evaluations, stop)
    classifier.cpu().to(memory_format=torch.contiguous_format)
    classifier.module.load_state_dict(dict(evaluations.best.state))
    classifier.eval()
    return Fitted(
        classifier, evaluations.updates, evaluations.best.update, tuple(evaluations.history), precision, notes
    )


def _optimiser(
    classifier: Classifier, spec: TrainingSpec, *, updates: int, done: int, before: TrainingState | None
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Adam and its learning rates, as they are after `done` updates."""
    optimiser = torch.optim.Adam(classifier.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay)
    if before is not None:
        optimiser.load_state_dict(dict(before.optimiser))
    for group in optimiser.param_groups:  # the schedule counts from the update it goes on with
        group["lr"] = group["initial_lr"] = spec.learning_rate
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda update: learning_rate_factor(done + update, updates))
    return optimiser, schedule


def _read_ahead(batches: UpdateBatches) -> Generator[tuple[Tensor, Tensor, int], None, None]:
    """The same batches; the next one is read and decoded while the caller works on this one."""
    waiting = iter(batches)
    with ThreadPoolExecutor(1, "advassay-batches") as reader:
        following = reader.submit(next, waiting, None)
        while (batch := following.result()) is not None:
            following = reader.submit(next, waiting, None)
            yield batch


def class_weights(labels: np.ndarray, weighted: bool, classes: int) -> np.ndarray:
    """float64 (class,): images / (classes · images of the class), so that every class counts alike; or ones.

    >>> class_weights(np.array([0, 0, 0, 1]), True, 2).round(3).tolist()
    [0.667, 2.0]
    """
    if not weighted:
        return np.ones(classes)
    return len(labels) / (classes * np.bincount(labels, minlength=classes))


def fastest_precision(device: torch.device) -> str:
    """The arithmetic of updates: BFLOAT16 (bfloat16 autocast) where the hardware has it, else FLOAT32.

    On processors only those with AVX-512 BF16 (measured, InceptionV3, 32 images of 80 px, 2 threads, channels-last:
    0.21 s an update against 0.43 s); older ones emulate it, slowly. Weights and the loss are always float32.
    """
    if device.type == "cuda":
        return BFLOAT16 if torch.cuda.is_bf16_supported(including_emulation=False) else FLOAT32
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return BFLOAT16 if device.type == "cpu" and native is not None and native() else FLOAT32


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
