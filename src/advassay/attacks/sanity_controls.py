"""Controls beside every arm: evidence that the attack, and not something else, made the images fall."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from advassay.attacks.batch_tuning import SMALLEST
from advassay.attacks.engine.preflight import PreflightCache
from advassay.attacks.random_init import sign_noise
from advassay.attacks.stream import Item, computing, stream
from advassay.attacks.surrogate.compile import backend_of
from advassay.classifier import Classifier
from advassay.spec.attack_spec import Arm, Norm, step_size_name
from advassay.store_documents import Controls, ExecutionConfig
from advassay.success import Reading, correct_on_clean, counted, has_succeeded, predicted
from advassay.trajectory import TrajectoryRows

STRONGER_UPDATE, STRONGER_LOSS = "apgd", "margin"
"""The stronger attack that cross-checks an arm. Its iterations:"""
STRONGER_STEPS = 20
"""… at most, and at most twice the arm's own."""
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
    shape: ExecutionConfig,
    seed: int = 0,
    targets: np.ndarray | None = None,
    declared: Mapping[float, Collection[str]] | None = None,
    known: PreflightCache | None = None,
) -> Controls:
    """Three controls on a small sample: ε = 0, random sign noise at every ε, and a stronger attack at some.

    `images` float32 (image, channel, height, width) in [0, 1], `labels` (and `targets`, if the arm is targeted) int
    (image,): a handful of images is meant. The stronger attack is APGD on the margin loss with restarts, on what the
    arm's last iterate left correct; what it finds there is "at least this much was missed". `declared` says, per ε,
    which images are misclassified under the arm (at its first step size) where that is known; otherwise it runs again.
    `known`: of the arm's own stream, whose examination of the network then counts here too.
    """
    sample = _Sample(
        classifier,
        np.array(images, np.float32),
        np.asarray(labels),
        tuple(image_ids),
        shape,
        targets,
        known or PreflightCache(),
    )
    checked = _spread(arm.epsilons)
    if declared is None:
        declared = sample.misclassified(arm.model_copy(update={"restarts": 1}), checked)
    return Controls(
        images=len(sample.labels),
        epsilon_zero_changed=sample.changed_at_zero(arm),
        noise=sample.noise(arm.epsilons, arm.norm, seed),
        cross_check=sample.cross_check(arm, {e: set(declared[e]) for e in checked}),
        stronger=f"{STRONGER_UPDATE}, {STRONGER_LOSS} loss, {stronger_steps(arm)} steps, {STRONGER_RESTARTS} starts",
    )


def stronger_steps(arm: Arm) -> int:
    """Iterations of the stronger attack that cross-checks an arm."""
    return min(STRONGER_STEPS, 2 * arm.steps)


def _spread(epsilons: Sequence[float]) -> list[float]:
    """The smallest, middle and largest amplitude above 0."""
    ordered = sorted(e for e in epsilons if e > 0)
    if len(ordered) <= CROSS_CHECKED:
        return ordered
    return [ordered[0], ordered[len(ordered) // 2], ordered[-1]]


def _no_larger(shape: ExecutionConfig, rows: int) -> ExecutionConfig:
    """The shape with the smallest power-of-two batch that holds `rows`, and not compiled: padding a small sample costs
    full steps, and compiling for it more than the sample."""
    fitting = max(SMALLEST, 1 << max(rows - 1, 0).bit_length())
    kept = tuple(name for name in shape.rewrites if backend_of((name,)) is None)
    return shape.model_copy(update={"batch_size": min(shape.batch_size, fitting), "rewrites": kept})


class _Sample:
    """A few images, and attacks on them."""

    def __init__(
        self,
        classifier: Classifier,
        images: np.ndarray,
        labels: np.ndarray,
        image_ids: tuple[str, ...],
        shape: ExecutionConfig,
        targets: np.ndarray | None,
        known: PreflightCache,
    ) -> None:
        self.known = replace(known, suspected=())
        self.classifier, self.images, self.labels, self.shape = classifier, images, labels, shape
        self.image_ids, self.targets = image_ids, targets
        self.x = torch.from_numpy(images).to(classifier.mean.device)

    def changed_at_zero(self, arm: Arm) -> int:
        """Images decided differently after an attack of amplitude 0 than before it."""
        still = arm.model_copy(update={"restarts": 1, "steps": min(arm.steps, 2)})
        point = frozenset({(step_size_name(arm.step_sizes[0]), 0.0)})
        rows = self._attack(still, dict.fromkeys(self.image_ids, point))
        return 0 if rows is None else int((predicted(rows.logits[:, 0]) != predicted(rows.logits[:, -1])).sum())

    def noise(self, epsilons: Sequence[float], norm: Norm, seed: int) -> dict[str, tuple[int, int]]:
        """ε as text → (misclassified under random sign noise of this amplitude, attackable)."""
        each = [(e, c, i) for e in epsilons for c, i in zip(self.x, self.image_ids, strict=True)]
        parts = [each[start : start + self.shape.batch_size] for start in range(0, len(each), self.shape.batch_size)]
        noisy = [self._score(torch.stack([sign_noise(c, e, norm, seed, i) for e, c, i in part])) for part in parts]
        told = {}
        for epsilon, logits in zip(epsilons, np.split(np.concatenate(noisy), len(epsilons)), strict=True):
            path = np.stack([self.clean, logits])
            down = has_succeeded(path, self.labels, targets=self.targets)[-1]
            told[f"{epsilon:.12g}"] = (int(down.sum()), int(counted(path, self.labels, targets=self.targets)[-1].sum()))
        return told

    def cross_check(self, arm: Arm, declared: Mapping[float, set[str]]) -> dict[str, dict[str, int]]:
        """ε as text → attackable images, those misclassified under the arm, under either attack, and the difference."""
        strong = {
            "update": STRONGER_UPDATE, "loss": STRONGER_LOSS, "steps": stronger_steps(arm),
            "restarts": STRONGER_RESTARTS,
        }  # fmt: skip
        attackable_ids = self._attackable()
        standing = {epsilon: attackable_ids - misclassified for epsilon, misclassified in declared.items()}
        extra = self.misclassified(arm.model_copy(update=strong), tuple(declared), standing, success="any")
        return {
            f"{epsilon:.12g}": {
                "images": len(attackable_ids),
                "declared": len(misclassified & attackable_ids),
                "stronger": len((misclassified | extra[epsilon]) & attackable_ids),
                "missed": len(extra[epsilon]),
            }
            for epsilon, misclassified in declared.items()
        }

    def misclassified(
        self,
        arm: Arm,
        epsilons: Sequence[float],
        only: Mapping[float, set[str]] | None = None,
        success: Reading = "last",
    ) -> dict[float, set[str]]:
        """ε → images of `only` (default: all) misclassified at the arm's last, or any, iterate; its first step size."""
        name = step_size_name(arm.step_sizes[0])
        wanted = {i: {e for e in epsilons if only is None or i in only[e]} for i in self.image_ids}
        points = {i: frozenset((name, e) for e in wanted[i]) for i in self.image_ids}
        rows = self._attack(arm, points, first_success_only=success == "any")
        if rows is None:
            return {epsilon: set() for epsilon in epsilons}
        targets = rows.target if self.targets is not None else None
        down = has_succeeded(rows.logits.swapaxes(0, 1), rows.label, success, targets)[-1]
        return {e: set(rows.image_id[down & (rows.epsilon == e)].tolist()) for e in epsilons}

    def _attack(
        self, arm: Arm, points: Mapping[str, frozenset[tuple[str, float]]], *, first_success_only: bool = False
    ) -> TrajectoryRows | None:
        """The arm's rows at each image's points, in a batch no larger than they fill; None where no image has any."""
        goals = [-1] * len(self.labels) if self.targets is None else self.targets
        items = [
            Item(i, image, int(y), points[i], int(t))
            for i, image, y, t in zip(self.image_ids, self.images, self.labels, goals, strict=True)
            if points[i]
        ]
        shape = _no_larger(self.shape, sum(map(len, points.values())))
        run = stream(
            self.classifier, items, arm, shape=shape, first_success_only=first_success_only, known=replace(self.known)
        )
        blocks = list(run)
        return TrajectoryRows.concatenate(blocks) if blocks else None

    def _attackable(self) -> set[str]:
        kept = correct_on_clean(self.clean[None], self.labels, self.targets)
        return {i for i, keep in zip(self.image_ids, kept, strict=True) if keep}

    @cached_property
    def clean(self) -> np.ndarray:
        """Logits of the sample as it is, float32 (image, class)."""
        return self._score(self.x)

    def _score(self, images: Tensor) -> np.ndarray:
        with computing(self.classifier, self.shape), torch.no_grad():
            parts = [self.classifier(part) for part in images.split(self.shape.batch_size)]
        return torch.cat(parts).float().cpu().numpy()
