"""Attacks of other libraries for the smallest change that misclassifies an image: FAB and HopSkipJump.

Each is given one image at a time, with a generator keyed by its id, because these libraries draw from PyTorch's global
generator and go on until the whole batch is done. They search once for all amplitudes. What they hand back is judged
elsewhere (search_stream.py); where one of them breaks off, the nearest misclassified point that it asked about stands.

- FAB (Croce & Hein 2020, arXiv 1907.02044) is torchattacks'. It takes the gradient of every class at every step; above
  MOST_CLASSES classes it is aimed at the MOST_TARGETS most likely ones in turn, as AutoAttack does.
- HopSkipJump (Chen, Jordan and Wainwright 2020, arXiv 1904.02144) is Foolbox's. It sees decisions only. To feel for the
  boundary Foolbox moves a pixel by about distance / d^1.5 (d values an image): for a distance of 0.02 at 224 × 224 × 3
  that is 3e-10, where float32 near 0.5 resolves 6e-8, and every probe is the same image. Here a probe moves it by at
  least RESOLVED of the distance. And Foolbox begins at uniform noise, which classifiers often give one and the same
  class; here the first misclassified one of several images that anybody could draw is taken.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from advassay.attacks.suite.counted_network import CountedNetwork
from advassay.attacks.suite.search import (
    GRADIENT,
    MOST_CLASSES,
    MOST_TARGETS,
    SearchResult,
    SearchTask,
    result_of_nearest,
)
from advassay.identity import draw
from advassay.spec.attack_components import UPDATE_RULES
from advassay.spec.attack_spec import PGD, Arm
from advassay.store_documents import ExecutionConfig
from advassay.success import is_adversarial

RESOLVED = 0.01
"""Root mean square of a probe's change of a pixel, as a share of the distance, at least."""
ALLOWED = 3
"""Times the expected passes of an image after which a search is stopped: some of its loops have no bound."""
NOISE_STARTS = 16
"""Images of uniform noise among those that HopSkipJump may begin at."""


def fab_search(
    network: CountedNetwork, tasks: Iterator[SearchTask], rules: PGD | Arm, shape: ExecutionConfig
) -> Iterator[SearchResult]:
    """torchattacks' FAB, without restarts."""
    torchattacks = _imported("torchattacks")
    for task in tasks:
        classes = len(task.others) + 1
        many = classes > MOST_CLASSES
        # Its ε bounds random restarts and what is handed back; 1 is no bound, so one search serves all amplitudes.
        attack = torchattacks.FAB(
            network, norm="Linf", eps=1.0, steps=rules.steps, n_restarts=1, multi_targeted=many,
            n_classes=min(classes, MOST_TARGETS + 1),
        )  # fmt: skip
        attack.set_device(network.device)
        yield _alone(network, task, rules, "fab", lambda image, label, of=attack: of(image, label))  # type: ignore[misc]


def hopskipjump_search(
    network: CountedNetwork, tasks: Iterator[SearchTask], rules: PGD | Arm, shape: ExecutionConfig
) -> Iterator[SearchResult]:
    """Foolbox's HopSkipJump from a start of ours, with probes that float32 resolves."""
    foolbox = _imported("foolbox")

    class Resolved(foolbox.attacks.HopSkipJumpAttack):  # type: ignore[misc, name-defined]
        def select_delta(self, originals: Any, distances: Any, step: int) -> Any:
            least = RESOLVED * float(np.sqrt(np.prod(originals.shape[1:])))
            return ep.maximum(super().select_delta(originals, distances, step), least * distances)

    ep = _imported("eagerpy")  # Foolbox's own
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device=network.device)
    attack = Resolved(steps=rules.steps, constraint="linf")
    for task in tasks:

        def run(image: Tensor, label: Tensor, task: SearchTask = task) -> Tensor | None:
            start = _start(network, task, rules.seed)
            if start is None:
                return None
            found: Tensor = attack.run(model, image, foolbox.criteria.Misclassification(label), starting_points=start)
            return found

        yield _alone(network, task, rules, "hopskipjump", run)


def _alone(network: CountedNetwork, task: SearchTask, rules: PGD | Arm, name: str, run: Any) -> SearchResult:
    """One image through somebody else's attack, and the nearest misclassified point of it."""
    image, label = task.image[None], torch.tensor([task.label], device=task.image.device)
    expected = UPDATE_RULES.get(name).gradient_steps(rules.steps, 1) * GRADIENT
    network.restart(task.image, task.label, ALLOWED * expected + NOISE_STARTS * 4)
    found, failure = None, ""
    with _own_generator(network.device, draw(rules.seed, name, task.image_id)):
        try:
            found = run(image.clone(), label)
            failure = "" if found is not None else "no misclassified image to begin at"
        except torch.OutOfMemoryError:
            raise
        except (AssertionError, ValueError, IndexError, RuntimeError) as problem:  # theirs: what was seen still counts
            failure = f"{type(problem).__name__}: {problem}".strip(": ")
    nearest, passes = network.nearest, (network.forward_passes, network.backward_passes)
    network.restart()
    handed = None if found is None else found.detach()[0].float()
    if handed is not None and not torch.equal(handed, task.image) and _nearer(handed, nearest, task.image):
        nearest = handed
    return result_of_nearest(task, nearest, *passes, failure)


def _nearer(point: Tensor, other: Tensor | None, image: Tensor) -> bool:
    """Whether the point handed back lies nearer than the nearest one that was seen; what is no number does not."""
    return other is None or bool((point - image).abs().max() < (other - image).abs().max())


def _start(network: CountedNetwork, task: SearchTask, seed: int) -> Tensor | None:
    """The first misclassified of: the negative, plain images, noise keyed by the image; float32 (1, …)."""
    image = task.image
    noise = torch.Generator().manual_seed(draw(seed, "hopskipjump-start", task.image_id) % 2**63)
    plain = [1 - image, *(torch.full_like(image, grey) for grey in (0.0, 1.0, 0.5))]
    random = [torch.rand(image.shape, generator=noise).to(image.device) for _ in range(NOISE_STARTS)]
    coarse = [(each > 0.5).float() for each in random]
    for start in (*plain, *random, *coarse):
        with torch.no_grad():
            logits = network(start[None])
        if is_adversarial(logits.cpu().numpy(), torch.tensor([task.label]).numpy())[0]:
            return start[None]
    return None


def _imported(name: str) -> Any:
    """The library, without the warnings of its import, which are about its own use of others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)


@contextmanager
def _own_generator(device: torch.device, seed: int) -> Iterator[None]:
    """PyTorch's global generators begin at `seed` inside, and go on afterwards as if nothing had been."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries, about PyTorch's own changes
        torch.manual_seed(seed % 2**63)
        yield
