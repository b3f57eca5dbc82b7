"""Logits of images that are there already, without an attack: once each, or one image at every place of a batch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from advassay.attacks.attack_step import GradientModel
from advassay.attacks.engine.preflight import VERIFIED_CHANNELS_LAST
from advassay.attacks.trajectory_stream import computing
from advassay.classifier import Classifier
from advassay.store_documents import ExecutionConfig


def score(classifier: Classifier, images: np.ndarray, shape: ExecutionConfig) -> np.ndarray:
    """Logits (image, class) float32 of `images` (image, channel, height, width), float32 in [0, 1].

    By float32 passes of the unmodified network in batches of the shape's size; the last one is filled up with its first
    image, so that every pass is of one size. At least one image is needed.
    """
    found = []
    with computing(classifier, shape), torch.no_grad():
        for start in range(0, len(images), shape.batch_size):
            part = images[start : start + shape.batch_size]
            filled = np.concatenate([part, np.repeat(part[:1], shape.batch_size - len(part), axis=0)])
            logits = classifier(torch.from_numpy(filled).to(classifier.mean.device))
            found.append(logits[: len(part)].float().cpu().numpy())
    return np.concatenate(found)


def logits_at_every_place(
    classifier: Classifier, image: np.ndarray, label: int, *, loss: str, shape: ExecutionConfig,
    held: Iterable[str] = (),
) -> np.ndarray:  # fmt: skip
    """float32 (pass × place, class): what the unmodified network may say of an image in a batch of `shape`.

    `image` float32 (channel, height, width) in [0, 1]. First as it is scored, then as it is with a gradient taken, once
    for each place. `held`: of the run's header; says in which layout images were scored.
    """
    import torch

    device = torch.device(shape.device)
    batch = torch.from_numpy(np.array(image, np.float32)).to(device).expand(shape.batch_size, *image.shape)
    labels = torch.full((shape.batch_size,), label, dtype=torch.int64, device=device)
    with computing(classifier, shape):
        scored = GradientModel(classifier, loss, channels_last=VERIFIED_CHANNELS_LAST in held).score(batch)
        stepped, _ = GradientModel(classifier, loss).gradient(batch, labels, None)
    return torch.cat([scored, stepped]).cpu().numpy()
