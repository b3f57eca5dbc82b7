"""What a network sees in images just before it decides: the input of its last linear layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advassay.attacks.stream import computing
from advassay.classifier import Classifier
from advassay.errors import AttackError
from advassay.store_documents import ExecutionConfig


def penultimate_features(classifier: Classifier, images: np.ndarray, shape: ExecutionConfig) -> np.ndarray:
    """Features (image, feature) float32 of `images` (image, channel, height, width), float32 in [0, 1].

    The input of the layer whose output the logits are: the last linear layer or convolution that is run. By
    float32 passes of the unmodified network in batches of the shape's size; at least one image is needed. Raises
    AttackError for a network that ends in another layer.
    """
    found = []
    with computing(classifier, shape), torch.no_grad():
        for start in range(0, len(images), shape.batch_size):
            part = images[start : start + shape.batch_size]
            filled = np.concatenate([part, np.repeat(part[:1], shape.batch_size - len(part), axis=0)])
            seen = _last_linear_input(classifier, torch.from_numpy(filled).to(classifier.mean.device))
            found.append(seen[: len(part)].cpu().numpy())
    return np.concatenate(found)


def _last_linear_input(classifier: Classifier, images: Tensor) -> Tensor:
    last: list[tuple[Tensor, Tensor]] = []

    def keep(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        last[:] = [(args[0], output)]

    linear = [part for part in classifier.module.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    hooks = [part.register_forward_hook(keep) for part in linear]
    try:
        outputs = classifier.module(classifier.normalise(images))
    finally:
        for hook in hooks:
            hook.remove()
    wanted = getattr(outputs, "logits", outputs)
    if not last or not isinstance(wanted, Tensor) or not _is_same(last[0][1].flatten(1), wanted.flatten(1)):
        raise AttackError(
            "attack.features: expected a network that ends in a linear layer, got one whose last linear layer does not "
            "give its outputs.",
            "Leave attack.features out for this architecture.",
        )
    return last[0][0].flatten(1).float()


def _is_same(these: Tensor, those: Tensor) -> bool:
    """Whether these are the network's outputs: anything between would make the layer's input another thing."""
    return these.shape == those.shape and torch.equal(these.nan_to_num(), those.nan_to_num())
