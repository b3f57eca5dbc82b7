"""Controls beside every arm: evidence that the attack, and not something else, made the images fall."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from advassay.attack_spec import Arm, step_size_name
from advassay.attacks.start import sign_noise
from advassay.attacks.stream import Item, computing, stream
from advassay.classifier import Classifier
from advassay.documents import ComputeShape, Controls
from advassay.success import predicted
from advassay.trajectory import TrajectoryRows


def run_controls(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    image_ids: Sequence[str],
    arm: Arm,
    *,
    shape: ComputeShape,
    seed: int = 0,
) -> Controls:
    """Attack at ε = 0 and random sign noise at every ε of the arm, on a small sample.

    `images` float32 (image, channel, height, width) in [0, 1], `labels` int (image,): a handful of images is meant.
    """
    x = torch.from_numpy(np.array(images, np.float32)).to(shape.device)
    with computing(classifier, shape):
        clean = _decide(classifier, x, shape)
        attackable = clean == labels
        noise = {}
        for epsilon in arm.epsilons:
            noisy = torch.stack([sign_noise(c, epsilon, seed, i) for c, i in zip(x, image_ids, strict=True)])
            fell = attackable & (_decide(classifier, noisy, shape) != labels)
            noise[f"{epsilon:.12g}"] = (int(fell.sum()), int(attackable.sum()))
    return Controls(
        images=len(labels),
        epsilon_zero_changed=_changed_at_zero(classifier, images, labels, image_ids, arm, shape),
        noise=noise,
        cross_check={},
        stronger="",
    )


def _changed_at_zero(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    image_ids: Sequence[str],
    arm: Arm,
    shape: ComputeShape,
) -> int:
    """Images decided differently after an attack of amplitude 0 than before it."""
    point = frozenset({(step_size_name(arm.step_sizes[0]), 0.0)})
    still = arm.model_copy(update={"targeted": False, "restarts": 1, "steps": min(arm.steps, 2)})
    items = [Item(i, image, int(y), point) for i, image, y in zip(image_ids, images, labels, strict=True)]
    logits = TrajectoryRows.concatenate(list(stream(classifier, items, still, shape=shape))).logits
    return int((predicted(logits[:, 0]) != predicted(logits[:, -1])).sum())


def _decide(classifier: Classifier, images: Tensor, shape: ComputeShape) -> np.ndarray:
    """Predicted class of each image, int64 (image,)."""
    with torch.no_grad():
        logits = torch.cat([classifier(part) for part in images.split(shape.batch_size)])
    return predicted(logits.float().cpu().numpy())
