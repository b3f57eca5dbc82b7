"""What a search is: an attack that is no trajectory of equal steps, and of which both ends alone are recorded.

A search is given images that the network gets right, and hands back one point for each image and amplitude. It may be
somebody else's program, so nothing that it says counts: `search_stream.py` measures and judges every point itself.
`CountedNetwork` is the network as a search sees it: it counts what goes through.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from advassay.errors import MissingLibraryError
from advassay.optional_libraries import require_library
from advassay.spec.attack_components import UpdateRuleFacts

if TYPE_CHECKING:
    from torch import Tensor

    from advassay.attacks.suite.counted_network import CountedNetwork
    from advassay.spec.attack_spec import PGD, Arm
    from advassay.store_documents import ExecutionConfig

GRADIENT = 3
"""A gradient takes about as long as so many forward passes."""
MOST_CLASSES = 10
"""Up to so many, FAB looks at every class."""
MOST_TARGETS = 9
"""Classes that are aimed at in turn, at most: AutoAttack's number."""


@dataclass(frozen=True)
class SearchTask:
    """One image, classified correctly, at all amplitudes that are missing for it."""

    image_id: str
    image: Tensor
    """float32 (channel, height, width) in [0, 1], on the network's device."""
    label: int
    epsilons: tuple[float, ...]
    """Above 0, in rising order."""
    others: tuple[int, ...]
    """The other classes, most likely first."""


@dataclass(frozen=True)
class SearchResult:
    """What a search hands back of one image."""

    task: SearchTask
    points: Tensor
    """float32 (epsilon, channel, height, width): at each amplitude the point to be judged; the image itself where the
    search has none."""
    claimed: np.ndarray
    """bool (epsilon,): where the search says that the point is adversarial."""
    forward_passes: np.ndarray
    """int64 (epsilon,): images that went through the network for it; one number where they served all amplitudes."""
    backward_passes: np.ndarray
    """int64 (epsilon,): gradients, likewise."""
    failure: str = ""
    """Why the search could not begin or broke off, in a few words."""
    shared: bool = False
    """Whether one search served all amplitudes, so that its passes are told at each of them."""

    def total(self, passes: np.ndarray) -> int:
        """Passes of the image, counted once."""
        return int(passes[:1].sum() if self.shared else passes.sum())


class SearchRule(UpdateRuleFacts):
    """Base of all searches. `rules` of every method are the attack's; `steps` is the budget."""

    step_meaning = "unused"
    shares_iterates = False
    needs_float32 = True
    searches = True
    norms = ("linf",)
    library: str | None = None
    """The module whose implementation it is, where it is not ours."""

    def propose(self, visit: Any, rules: Any) -> Any:
        """Never asked for: a search takes no step of the engine."""
        raise AssertionError(f"{self.name} is a search")

    def missing_library(self) -> str:
        try:
            self.check_installed()
        except MissingLibraryError as missing:
            return str(missing)
        return ""

    def check_installed(self) -> None:
        """Raise MissingLibraryError where the library that it calls is not installed."""
        if self.library is not None:
            require_library(self.library, "suite")

    @abstractmethod
    def search(
        self, network: CountedNetwork, tasks: Iterator[SearchTask], rules: PGD | Arm, shape: ExecutionConfig
    ) -> Iterator[SearchResult]:
        """A result for each task, in any order.

        What is found of an image must depend on nothing but the image, its id, the rules and the amplitude.
        `shape`: what fixes the last bits; its batch size is how many images may go through the network at once.
        """


def ball(image: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Lowest and highest value of each pixel in the L∞ ball, cut to [0, 1]: float32, rounded as iterates of PGD are."""
    import torch

    size = torch.tensor(epsilon, dtype=torch.float32, device=image.device)
    return (image - size).clamp(0, 1), (image + size).clamp(0, 1)


def is_inside(point: Tensor, image: Tensor, epsilon: float) -> bool:
    """Whether every pixel is a number within the ball and within [0, 1]."""
    low, high = ball(image, epsilon)
    return bool(((point >= low) & (point <= high)).all())


def result_of_nearest(
    task: SearchTask, nearest: Tensor | None, forward: int, backward: int, failure: str = ""
) -> SearchResult:
    """Of a search for the smallest change: `nearest` (None = nothing found) where it lies within ε; else its
    projection onto the ball, of which nothing is claimed.
    """
    import torch

    points, claimed = [], []
    for epsilon in task.epsilons:
        low, high = ball(task.image, epsilon)
        point = task.image if nearest is None else torch.minimum(torch.maximum(nearest, low), high)
        points.append(point)
        claimed.append(nearest is not None and bool((point == nearest).all()))
    n = len(task.epsilons)
    return SearchResult(
        task, torch.stack(points), np.array(claimed), np.full(n, forward), np.full(n, backward), failure,
        shared=True,
    )  # fmt: skip
