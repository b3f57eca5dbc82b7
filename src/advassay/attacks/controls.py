"""Controls beside every arm: evidence that the attack, and not something else, made the images fall."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from advassay.attack_spec import Arm, Loss, step_size_name
from advassay.attacks.start import sign_noise
from advassay.attacks.stream import Item, computing, stream
from advassay.classifier import Classifier
from advassay.documents import ComputeShape, Controls
from advassay.success import attackable, fallen, predicted
from advassay.trajectory import TrajectoryRows

STRONGER_STEPS = 20
STRONGER_RESTARTS = 2
CROSS_CHECKED = 3
"""Amplitudes that are cross-checked with the stronger attack: the smallest, the middle and the largest."""


def run_controls(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    image_ids: Sequence[str],
    arm: Arm,
    *,
    shape: ComputeShape,
    seed: int = 0,
    targets: np.ndarray | None = None,
) -> Controls:
    """Three controls on a small sample: ε = 0, random sign noise at every ε, and a stronger attack at some.

    `images` float32 (image, channel, height, width) in [0, 1], `labels` (and `targets`, if the arm is targeted) int
    (image,): a handful of images is meant. The stronger attack is APGD on the margin loss with restarts, compared with
    the arm's last iterate; what it alone finds is "at least this much was missed".
    """
    sample = _Sample(classifier, np.array(images, np.float32), np.asarray(labels), tuple(image_ids), shape, targets)
    stronger: Loss = "margin"
    return Controls(
        images=len(sample.labels),
        epsilon_zero_changed=sample.changed_at_zero(arm),
        noise={f"{epsilon:.12g}": sample.noise(epsilon, seed) for epsilon in arm.epsilons},
        cross_check={f"{e:.12g}": sample.cross_check(arm, e, stronger) for e in _spread(arm.epsilons)},
        stronger=f"apgd, {stronger} loss, {STRONGER_STEPS} steps, {STRONGER_RESTARTS} starts",
    )


def _spread(epsilons: Sequence[float]) -> list[float]:
    """The smallest, middle and largest amplitude above 0."""
    ordered = sorted(e for e in epsilons if e > 0)
    if len(ordered) <= CROSS_CHECKED:
        return ordered
    return [ordered[0], ordered[len(ordered) // 2], ordered[-1]]


class _Sample:
    """A few images, and attacks on them."""

    def __init__(
        self,
        classifier: Classifier,
        images: np.ndarray,
        labels: np.ndarray,
        image_ids: tuple[str, ...],
        shape: ComputeShape,
        targets: np.ndarray | None,
    ) -> None:
        self.classifier, self.images, self.labels, self.shape = classifier, images, labels, shape
        self.image_ids, self.targets = image_ids, targets
        self.x = torch.from_numpy(images).to(shape.device)

    def changed_at_zero(self, arm: Arm) -> int:
        """Images decided differently after an attack of amplitude 0 than before it."""
        still = arm.model_copy(update={"restarts": 1, "steps": min(arm.steps, 2)})
        logits = self._attack(still, step_size_name(arm.step_sizes[0]), 0.0).logits
        return int((predicted(logits[:, 0]) != predicted(logits[:, -1])).sum())

    def noise(self, epsilon: float, seed: int) -> tuple[int, int]:
        """(fallen under random sign noise of this amplitude, attackable)."""
        draws = [sign_noise(c, epsilon, seed, i) for c, i in zip(self.x, self.image_ids, strict=True)]
        with computing(self.classifier, self.shape):
            logits = np.stack([self._score(self.x), self._score(torch.stack(draws))])
        down = fallen(logits, self.labels, targets=self.targets)[-1]
        return int(down.sum()), int(attackable(logits, self.labels, self.targets).sum())

    def cross_check(self, arm: Arm, epsilon: float, loss: Loss) -> dict[str, int]:
        """Images fallen at the arm's last iterate (its first step size), under the stronger attack, and only there."""
        name = step_size_name(arm.step_sizes[0])
        declared = self._down(self._attack(arm.model_copy(update={"restarts": 1}), name, epsilon))
        strong = {"update": "apgd", "loss": loss, "steps": STRONGER_STEPS, "restarts": STRONGER_RESTARTS}
        stronger = self._down(self._attack(arm.model_copy(update=strong), name, epsilon))
        return {
            "images": len(self.labels),
            "declared": len(declared),
            "stronger": len(stronger),
            "missed": len(stronger - declared),
        }

    def _attack(self, arm: Arm, step_size: str, epsilon: float) -> TrajectoryRows:
        goals = [-1] * len(self.labels) if self.targets is None else self.targets
        items = [
            Item(i, image, int(y), frozenset({(step_size, epsilon)}), int(t))
            for i, image, y, t in zip(self.image_ids, self.images, self.labels, goals, strict=True)
        ]
        return TrajectoryRows.concatenate(list(stream(self.classifier, items, arm, shape=self.shape)))

    def _down(self, rows: TrajectoryRows) -> set[str]:
        """Images of which some row has fallen at its last iterate."""
        targets = rows.target if self.targets is not None else None
        down = fallen(rows.logits.swapaxes(0, 1), rows.label, targets=targets)[-1]
        return set(rows.image_id[down].tolist())

    def _score(self, images: Tensor) -> np.ndarray:
        with torch.no_grad():
            parts = [self.classifier(part) for part in images.split(self.shape.batch_size)]
        return torch.cat(parts).float().cpu().numpy()
