"""How fast this machine takes gradients of a network: measured in a few seconds, for estimates only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advassay.attack_spec import Precision

if TYPE_CHECKING:
    from torch import Tensor

    from advassay.classifier import Classifier

BATCH = 8

TRAINING_COST = {"32-true": 1.5, "bf16-mixed": 1.0}
"""A training update per image against a gradient of the unmodified float32 network: weights need gradients too, and
Adam moves them; bfloat16 wins it back (the demo on 2 cores with AVX-512 bf16: 1.0, scoring included).
"""
CPU_PREPARED_PER_SECOND = 150.0
"""Images decoded, hashed, resized and encoded per second on one core, measured at 128 px."""


@dataclass(frozen=True)
class Throughput:
    """Of one network at one image size on this machine."""

    gradients_per_second: dict[Precision, float]
    """Images per second, forward and backward to the image, of the network as each precision rewrites it."""
    training_cost: float = TRAINING_COST["32-true"]

    @property
    def training_images_per_second(self) -> float:
        return self.gradients_per_second["exact"] / self.training_cost


def measure(
    architecture: str, precisions: Iterable[Precision], *, channels: int, classes: int, image_size_px: int, device: str
) -> Throughput:
    """Time a few gradients of the untrained network, unmodified and as `precisions` rewrite it for the attack.

    Raises TrainingError for a network that cannot be built.
    """
    import torch

    from advassay.attacks.gradient_model import full_float32
    from advassay.training.checkpoint import as_classifier
    from advassay.training.loop import fastest_precision
    from advassay.training.network import MEAN, STD, build_network

    network = build_network(architecture, channels=channels, classes=classes, image_size_px=image_size_px, seed=0)
    names = tuple(map(str, range(classes)))
    classifier = as_classifier(network, MEAN, STD, channels, names).to(device)
    image = torch.rand(channels, image_size_px, image_size_px, device=device)
    wanted = dict.fromkeys(("exact", *precisions))
    with classifier.attack_mode(), full_float32():
        speeds = {precision: _speed(classifier, precision, image) for precision in wanted}
    return Throughput(speeds, TRAINING_COST[fastest_precision(torch.device(device))])


def _speed(classifier: Classifier, precision: Precision, image: Tensor) -> float:
    """Images per second."""
    from advassay.attacks.batch_tuning import attacked, compute_shape, images_per_second
    from advassay.attacks.surrogate.build import build_surrogate

    rewrites = compute_shape(BATCH, precision=precision, device=str(image.device)).rewrites
    return images_per_second(attacked(build_surrogate(classifier, image[None], rewrites)), image, BATCH)
