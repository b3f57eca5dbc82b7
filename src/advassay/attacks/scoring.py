"""Logits of images that are there already, of one network: a transfer attacks elsewhere and scores here."""

from __future__ import annotations

import numpy as np
import torch

from advassay.attacks.stream import computing
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
