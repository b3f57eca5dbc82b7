"""Is steering by a cheaper copy of the network faster than by the network itself? Timed on the images at hand.

Rewriting is not always a gain: a small network is slower in bfloat16, and float32 passes that judge come on top of
every surrogate's. So `fast32` and `fast` are upper bounds of what is done to a network: what loses is set aside.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor, nn

from advassay.attacks.attack_step import GradientModel
from advassay.attacks.surrogate.build import Surrogate
from advassay.classifier import Classifier

VERIFIED_SHARE = 0.15
"""Share of a surrogate's iterates that the unmodified network scores besides (docs/performance.md: 14 to 15%) …"""
FORWARD_SHARE = 1 / 3
"""… at this part of the cost of its gradient."""
CLEARLY_FASTER = 0.6
"""A surrogate in bfloat16 that takes at most this share of the network's own time wins over one in float32 untimed:
building that one as well would cost more than the choice could gain."""
ROUNDS = 2
"""Timed passes of each candidate, after one that warms up; they take turns, so that a busy moment hits all."""
BUDGET_SHARE, SMALL_BUDGET_S, SMALL_BUDGET_SHARE = 0.02, 1.0, 0.25
"""What the trial may take: a share of the estimated run; of a small run a larger share, but at most so many seconds."""
KEPT = 256
"""Choices remembered in a process."""
_CHOSEN: OrderedDict[Hashable, tuple[str, ...]] = OrderedDict()


def chosen_once(about: Hashable, choose: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    """What `choose()` gives at the first call `about` the same in this process.

    Timing differs from call to call and the choice moves last bits, so networks built alike are not timed twice: what
    a call gives is then the same alone, again, and beside other threads.
    """
    if about in _CHOSEN:
        _CHOSEN.move_to_end(about)
        return _CHOSEN[about]
    chosen = _CHOSEN[about] = choose()
    while len(_CHOSEN) > KEPT:
        _CHOSEN.popitem(last=False)
    return chosen


def architecture(network: nn.Module) -> Hashable:
    """What a network's speed follows from: its modules' classes and settings, shapes and types of what they hold."""
    modules = tuple(
        (name, type(part).__module__, type(part).__qualname__, part.extra_repr() if _is_pytorchs(part) else "")
        for name, part in network.named_modules()
    )
    held = [*network.named_parameters(), *network.named_buffers()]
    return modules, tuple((name, tuple(value.shape), value.dtype, value.device) for name, value in held)


def _is_pytorchs(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.")


class SpeedTrial:
    """Candidates for steering one network, timed against it.

    `images` float32 (image, channel, height, width) in [0, 1], `labels` (and `targets`) int64 (image,): a few, which
    are repeated up to `batch_size`. `gradients`: about how many the attack will take. The classifier is in attack mode.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        targets: Tensor | None,
        *,
        loss: str,
        batch_size: int,
        gradients: float,
    ) -> None:
        self.classifier, self.loss = classifier, loss
        self._given = images, labels, targets
        own = GradientModel(classifier, loss)
        n = min(len(images), batch_size)
        self._batch(n)
        seconds_per_pass(own, *self._inputs)  # the first pass compiles kernels
        each = seconds_per_pass(own, *self._inputs) / n
        run = gradients * each
        self._left = max(BUDGET_SHARE * run, min(SMALL_BUDGET_S, SMALL_BUDGET_SHARE * run))
        # The batch in use if the budget is enough for that: kernels for a few images may rank otherwise.
        while 2 * n <= batch_size and 2 * n * each * 2 * (1 + ROUNDS) <= self._left:
            n *= 2
        self.affordable = n * each * (1 + ROUNDS) <= self._left
        self._batch(n)
        self._own = own

    def choose(self, wanted: Sequence[str], build: Callable[[tuple[str, ...]], Surrogate]) -> tuple[str, ...]:
        """The part of the rewrites `wanted` that ends the attack soonest; all of them where timing costs too much.

        `build` gives the surrogate with some of them, as far as they hold.
        """
        whole = build(tuple(wanted))
        if not self.affordable or not whole.rewrites:
            return whole.rewrites
        candidates = {whole.rewrites: whole}
        cost = self._costs(candidates)
        if "bfloat16" in whole.rewrites and cost[whole.rewrites] > CLEARLY_FASTER * cost[()]:
            simpler = build(tuple(name for name in whole.rewrites if name != "bfloat16"))
            if simpler.rewrites:
                cost = self._costs(candidates | {simpler.rewrites: simpler})
        return min(cost, key=lambda names: cost[names])

    def _costs(self, surrogates: dict[tuple[str, ...], Surrogate]) -> dict[tuple[str, ...], float]:
        """Rewrites → seconds a batch, float32 verdicts counted in; () = the network itself."""
        models = {
            names: GradientModel(each.module, self.loss, channels_last="channels-last" in names)
            for names, each in surrogates.items()
        }
        models[()] = self._own
        best = dict.fromkeys(models, float("inf"))
        for number in range(1 + ROUNDS):
            for names, model in models.items():
                took = seconds_per_pass(model, *self._inputs)
                best[names] = min(best[names], took) if number else best[names]
        verdicts = VERIFIED_SHARE * FORWARD_SHARE * best[()]
        return {names: seconds + (verdicts if names else 0.0) for names, seconds in best.items()}

    def _batch(self, n: int) -> None:
        images, labels, targets = self._given
        index = torch.arange(n, device=images.device) % len(images)
        self._inputs = images[index], labels[index], None if targets is None else targets[index]


def seconds_per_pass(model: GradientModel, images: Tensor, labels: Tensor, targets: Tensor | None) -> float:
    """Seconds that one gradient of the batch takes."""
    began = time.perf_counter()
    model.gradient(images, labels, targets)
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return time.perf_counter() - began


def set_aside_note(names: Sequence[str]) -> str:
    """The note about rewrites that were not worth their time."""
    return (
        f"set aside: {', '.join(names)}: gradients of this network are no faster with them at this image size, float32 "
        "verdicts counted in"
    )
