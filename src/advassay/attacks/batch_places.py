"""Logits of one image at every place of a batch: some kernels give the last bit by it (see README.md)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from advassay.attacks.attack_step import GradientModel
from advassay.attacks.engine.preflight import VERIFIED_CHANNELS_LAST
from advassay.attacks.trajectory_stream import computing
from advassay.classifier import Classifier
from advassay.store_documents import ExecutionConfig


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
