"""Images with a known adversarial inside the ball: does the attack find them?

An attack that finds nothing is evidence of robustness only if it would have found what is there. This is the active
test of Zimmermann, Brendel, Tramèr and Carlini 2022, "Increasing Confidence in Adversarial Robustness Evaluations"
(arXiv 2206.13991). As there, the network's decision is replaced by readouts of the network's own features, and these
are chosen so that one point of the ball, drawn at random and without any gradient, lies on the other side. The attack
then has to find that side through the very layers that it attacks otherwise; where their gradients are masked it
misses what random search has found.

It differs from the paper in what replaces the decision. There one readout is trained for each image, which a single
gradient step can find. Here READOUTS random directions of feature space must all be passed at once, and the one that is
farthest from being passed decides. A single step follows the gradient of that one alone and passes each other one by
chance. An attack that looks at the gradient again after every step can pass all of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from advassay.attacks.api import attack
from advassay.classifier import Classifier
from advassay.errors import AttackWarning, ClassifierError
from advassay.identity import draw
from advassay.spec.attack_spec import PGD, Arm, Norm, step_size_name
from advassay.store_documents import PlantedTest
from advassay.success import Reading, has_succeeded

READOUTS = 5
"""Directions that must all be passed. By chance one step passes the other four in 1 of 16 images."""
SHARE = 0.5
"""How far along each direction the decision lies, as a share of where the planted adversarial lies."""
CANDIDATES = 16
"""Random points of the ball, of which the one that moves the features most is planted."""
BLOCKS = (1, 2, 4, 8)
"""Side in pixels of the squares of equal sign that these points are made of: coarser ones move deeper features more."""
NOISE_DRAWS = 32
"""Random points per image that show how often chance finds the other side."""
RESOLVED = 1e-4
"""Least change of a readout at the planted point, as a share of the features' length: above float32's rounding."""


def run_planted_test(
    classifier: Classifier,
    images: np.ndarray,
    image_ids: Sequence[str],
    arm: Arm,
    epsilon: float,
    *,
    step_size: float | str | None = None,
    success: Reading = "any",
    seed: int = 0,
    name: str = "",
) -> PlantedTest:
    """Plant one adversarial in the ε-ball of each image and count how many the arm finds, and how many one step does.

    `images`: float32 (image, channel, height, width) in [0, 1]; `image_ids` key the random draws; `step_size`: of the
    arm's (None = the first); `success`: "any" iterate, so that a step too far after the point is found is no miss, or
    the "last"; `name`: the arm's. Every planted point is confirmed by a forward pass; an image in which none can be
    planted is counted in `left_out`. Labels play no role.
    """
    rule = arm.step_sizes[0] if step_size is None else step_size
    judged = arm.attack(epsilon, rule).model_copy(update={"seed": seed})
    one_step = PGD(epsilon=epsilon, step_size="epsilon", steps=1, loss=judged.loss, norm=judged.norm)
    reader = FeatureReader(classifier, images[:1])
    counts = {"images": 0, "found": 0, "one_step": 0, "noise": 0}
    for image, image_id in zip(images, image_ids, strict=True):
        planted = plant(reader, image, image_id, epsilon, judged.norm, seed)
        if planted is None:
            continue
        counts["images"] += 1
        counts["found"] += _finds(planted, image, image_id, judged, success)
        counts["one_step"] += _finds(planted, image, image_id, one_step, success)
        counts["noise"] += _found_by_noise(planted, image, image_id, epsilon, judged.norm, seed)
    return PlantedTest(
        arm=name,
        step_size=step_size_name(rule),
        epsilon=epsilon,
        steps=arm.steps,
        features=reader.kind,
        readouts=READOUTS,
        left_out=len(images) - counts["images"],
        noise_draws=NOISE_DRAWS,
        **counts,
    )


class FeatureReader:
    """What a network knows of an image before its last linear layer: float32 (image, feature).

    Where the network has no such layer (of a module's kind), the logits stand for the features.
    """

    def __init__(self, classifier: Classifier, example: np.ndarray) -> None:
        self.classifier = classifier
        self.layer = self._last_linear(torch.from_numpy(example).to(classifier.mean.device))
        self.kind: Literal["penultimate", "logits"] = "logits" if self.layer is None else "penultimate"

    def _last_linear(self, example: Tensor) -> nn.Module | None:
        """The linear layer that is called last, if it takes (image, feature)."""
        called: list[tuple[nn.Module, int]] = []

        def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            called.append((layer, inputs[0].ndim))

        layers = [each for each in self.classifier.modules() if isinstance(each, nn.Linear)]
        handles = [layer.register_forward_pre_hook(note) for layer in layers]
        try:
            with self.classifier.attack_mode(), torch.no_grad():
                self.classifier(example)
        finally:
            for handle in handles:
                handle.remove()
        return called[-1][0] if called and called[-1][1] == 2 else None

    def __call__(self, images: Tensor) -> Tensor:
        if self.layer is None:
            return self.classifier(images)
        kept: list[Tensor] = []
        handle = self.layer.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        try:
            self.classifier(images)
        finally:
            handle.remove()
        return kept[-1]

    def values(self, images: np.ndarray) -> Tensor:
        """Features without gradient, of images as an array."""
        with self.classifier.attack_mode(), torch.no_grad():
            return self(torch.from_numpy(images).to(self.classifier.mean.device)).float()


class PlantedDecision(nn.Module):
    """The network with another decision: class 1 where every readout of its features has passed its threshold."""

    directions: Tensor
    origin: Tensor
    reach: Tensor

    def __init__(self, reader: FeatureReader, directions: Tensor, origin: Tensor, reach: Tensor) -> None:
        super().__init__()
        self.network = reader.classifier
        self.reader = reader
        self.register_buffer("directions", directions)
        self.register_buffer("origin", origin)
        self.register_buffer("reach", reach)

    def forward(self, images: Tensor) -> Tensor:
        moved = (self.reader(images).float() @ self.directions.T - self.origin) / self.reach
        farthest = moved.amin(dim=1) - SHARE  # below 0: some readout has not passed
        return torch.stack([-farthest, farthest], dim=1)


def plant(
    reader: FeatureReader, image: np.ndarray, image_id: str, epsilon: float, norm: Norm, seed: int
) -> Classifier | None:
    """The network with a decision under which `image` is class 0 and a point of its ε-ball class 1.

    None where no random point of the ball moves the features by more than rounding, or the decision does not hold.
    """
    rng = np.random.default_rng(draw(seed, "planted", image_id))
    sides = [side for side in BLOCKS if 2 * side <= min(image.shape[1:])] or [1]
    points = np.stack([random_point(image, epsilon, norm, rng, sides[i % len(sides)]) for i in range(CANDIDATES)])
    features = reader.values(np.concatenate([image[None], points]))
    shift = features[1:] - features[0]
    best = int(shift.norm(dim=1).argmax())
    directions = torch.from_numpy(rng.standard_normal((READOUTS, features.shape[1]), np.float32)).to(features.device)
    directions /= directions.norm(dim=1, keepdim=True)
    reach = directions @ shift[best]
    directions, reach = directions * reach.sign()[:, None], reach.abs()
    if not torch.isfinite(reach).all() or bool(
        (reach < RESOLVED * features[0].norm() / features.shape[1] ** 0.5).any()
    ):
        return None
    decision = PlantedDecision(reader, directions, directions @ features[0], reach)
    planted = Classifier(decision, channels=image.shape[0]).to(features.device)
    both = np.stack([image, points[best]])
    with planted.attack_mode(), torch.no_grad():
        decided = planted(torch.from_numpy(both).to(features.device)).argmax(dim=1).tolist()
    return planted if decided == [0, 1] else None


def random_point(image: np.ndarray, epsilon: float, norm: Norm, rng: np.random.Generator, side: int) -> np.ndarray:
    """A random point of the ball's surface, cut to [0, 1]: squares of `side` pixels, each of one sign per channel."""
    channels, height, width = image.shape
    coarse = rng.choice(np.array([-1.0, 1.0], np.float32), (channels, -(-height // side), -(-width // side)))
    signs = coarse.repeat(side, axis=1).repeat(side, axis=2)[:, :height, :width]
    length = 1.0 if norm == "linf" else float(np.sqrt(signs.size))
    return np.clip(image + np.float32(epsilon / length) * signs, 0.0, 1.0).astype(np.float32)


def _finds(planted: Classifier, image: np.ndarray, image_id: str, judged: PGD, success: Reading) -> bool:
    """Whether the attack reaches the other side; one that is refused for want of any gradient does not."""
    label = np.zeros(1, np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttackWarning)  # about the network: said where it is attacked itself
        try:
            found = attack(planted, image[None], label, judged, image_ids=[image_id])
        except ClassifierError:
            return False
    return bool(has_succeeded(found.logits, label, success)[-1].any())


def _found_by_noise(
    planted: Classifier, image: np.ndarray, image_id: str, epsilon: float, norm: Norm, seed: int
) -> bool:
    """Whether any of NOISE_DRAWS random points, other than the planted one, lies on the other side."""
    rng = np.random.default_rng(draw(seed, "planted-noise", image_id))
    points = np.stack([random_point(image, epsilon, norm, rng, 1) for _ in range(NOISE_DRAWS)])
    with planted.attack_mode(), torch.no_grad():
        decided = planted(torch.from_numpy(points).to(planted.mean.device)).argmax(dim=1)
    return bool(decided.any())
