"""One step of an attack, in its order: gradient, update, projection and clip, and how far that has led.

`GradientModel` gives logits and the gradient at an iterate (a `Visit`), an `UpdateRule` makes a `Proposal` of them,
whose `next_iterate` projects and clips it. `propose` goes as far as no ε is looked at, and says how far that is
(`extent`). Every ε ≥ extent projects to the same bits, so those amplitudes can go on as one trajectory: this is the
prefix sharing of the scheduler, and why it is exact. A rule may keep state beside each iterate: tensors with one entry
an iterate, which its successors inherit.

Rules are looked up where nobody has torch (study files, old records), so this file and theirs import it inside
functions only. Tensors are float32, images (iterate, channel, height, width), ε (iterate,).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from advassay.errors import ExtensionError
from advassay.record_columns import columns_of
from advassay.spec.attack_components import LOSSES, UPDATE_RULES, UpdateRuleFacts

if TYPE_CHECKING:
    from torch import Tensor, nn

    from advassay.spec.attack_spec import PGD, Arm, Norm

State = tuple["Tensor", ...]


class GradientModel:
    """The network as the engine sees it: logits alone, or logits and the gradient of one loss.

    Images are float32 in [0, 1]; logits and gradients float32.
    """

    def __init__(self, module: nn.Module, loss: str, *, channels_last: bool = False) -> None:
        import torch

        self.module, self._loss = module, LOSSES.get(loss)
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    def score(self, images: Tensor) -> Tensor:
        """Logits (image, class)."""
        import torch

        with torch.no_grad():
            logits: Tensor = self.module(images.contiguous(memory_format=self._format)).float()
        return logits

    def gradient(self, images: Tensor, labels: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor]:
        """Logits (image, class) and the gradient of each image's own loss, shaped like `images`."""
        import torch

        x = images.contiguous(memory_format=self._format).detach().requires_grad_()
        with torch.enable_grad():
            logits = self.module(x).float()
            # The sum: each image's loss depends on its own logits alone, so every image gets its own gradient.
            (gradient,) = torch.autograd.grad(self._loss.value(logits, labels, targets).sum(), x)
        return logits.detach(), gradient.float().contiguous()


@dataclass
class Visit:
    """Iterates at which logits and gradients have just been computed; one entry an iterate, tensors on its device."""

    x: Tensor
    """float32 (iterate, channel, height, width) in [0, 1], like `clean` and `gradient`."""
    clean: Tensor
    gradient: Tensor | None
    """None at the last iterate, from which no step is taken."""
    logits: Tensor
    """float32 (iterate, class)."""
    labels: Tensor
    targets: Tensor | None
    step_size: Tensor
    """float32 (iterate,); ε-relative ones are resolved."""
    epsilon: Tensor
    """float32 (iterate,): the smallest ε of the rows that share it."""
    step: Tensor
    """int64 (iterate,): updates behind it."""
    state: State

    def at(self, index: Tensor) -> Visit:
        """The entries at `index` (int64)."""
        return Visit(
            self.x[index],
            self.clean[index],
            None if self.gradient is None else self.gradient[index],
            self.logits[index],
            self.labels[index],
            None if self.targets is None else self.targets[index],
            self.step_size[index],
            self.epsilon[index],
            self.step[index],
            tuple(each[index] for each in self.state),
        )


@dataclass
class Proposal:
    """An update as far as no ε is looked at: the next iterate is origin + gain · (offset within ε), clipped to [0, 1].

    One entry an iterate, like `Visit`.
    """

    origin: Tensor
    offset: Tensor | None
    """None: the origin is the next iterate as it is."""
    gain: Tensor | None
    """float32 (iterate,); None = 1."""
    extent: Tensor
    """float32 (iterate,): the size of the offset. Every ε from there on gives the same bits."""
    state: State
    """What the next iterate inherits."""

    def at(self, index: Tensor) -> Proposal:
        """The entries at `index` (int64)."""
        offset, gain = (None if each is None else each[index] for each in (self.offset, self.gain))
        state = tuple(each[index] for each in self.state)
        return Proposal(self.origin[index], offset, gain, self.extent[index], state)

    def next_iterate(self, epsilon: Tensor, rules: PGD | Arm) -> Tensor:
        """The iterate at ε (iterate,), in the order of torchattacks' operations."""
        if self.offset is None:
            return self.origin
        within = project_onto_ball(self.offset, epsilon, rules.norm)
        return (self.origin + (within if self.gain is None else as_column(self.gain) * within)).clamp_(0, 1)


class UpdateRule(UpdateRuleFacts):
    """Base of all rules; `rules` of every method are the attack's, with its norm, loss and number of steps."""

    def initial_state(self, x: Tensor, epsilon: Tensor, classes: int) -> State:
        """State of trajectories that begin at `x`."""
        return ()

    def observe(self, visit: Visit, rules: PGD | Arm) -> State:
        """State once the logits and the gradient at `visit` are known."""
        return visit.state

    def recorded(self, visit: Visit) -> tuple[Tensor, Tensor]:
        """The point and the logits (iterate, class) that the record shows, after `observe`."""
        return visit.x, visit.logits

    @abstractmethod
    def propose(self, visit: Visit, rules: PGD | Arm) -> Proposal:
        """The update from each iterate, before any ε is looked at."""

    def boundary_share(self, proposal: Proposal, epsilon: Tensor, rules: PGD | Arm) -> Tensor | None:
        """What the record's boundary_share says, (iterate,); None = the share of pixel values at the boundary."""
        return None


class NoUpdate(UpdateRule):
    """The rule of attacks without a step: whatever they are called, nothing is updated and everything is shared."""

    name = summary = description = source = "no update"
    step_meaning = "unused"

    def propose(self, visit: Visit, rules: PGD | Arm) -> Proposal:
        raise AssertionError("an attack without a step asked for one")


def get_update_rule(rules: PGD | Arm) -> UpdateRule:
    """The registered rule that an attack runs; `NoUpdate` where it has no step.

    Raises ExtensionError for a registered rule that is not derived from UpdateRule.
    """
    if not rules.steps:
        return NoUpdate()
    rule = UPDATE_RULES.get(rules.update)
    if not isinstance(rule, UpdateRule):
        raise ExtensionError(
            f"update: expected an instance of {UpdateRule.__module__}.UpdateRule, got {type(rule).__qualname__}.",
            "Derive the rule from that class.",
        )
    return rule


# ---- the two norms of a perturbation --------------------------------------------------------------------------------

_EPS_FOR_DIVISION = 1e-10  # torchattacks PGDL2: keeps a zero gradient a zero step


def as_column(per_row: Tensor) -> Tensor:
    """(row,) → (row, 1, 1, 1), to broadcast over images."""
    return per_row.view(-1, 1, 1, 1)


def norm_of(values: Tensor, norm: Norm) -> Tensor:
    """Largest absolute value (L∞) or Euclidean length (L2) of each row, float32 (row,)."""
    if norm == "linf":
        return values.abs().flatten(1).amax(dim=1)
    if norm == "l2":
        return _length(values)
    assert_never(norm)


def steepest_direction(gradient: Tensor, norm: Norm) -> Tensor:
    """The gradient's sign (L∞), or the gradient over its L2 norm (L2)."""
    if norm == "linf":
        return gradient.sign()
    if norm == "l2":
        return gradient / as_column(_length(gradient) + _EPS_FOR_DIVISION)
    assert_never(norm)


def project_onto_ball(values: Tensor, epsilon: Tensor, norm: Norm) -> Tensor:
    """The nearest point of the ε-ball: elementwise clamp (L∞), or scaled down where longer than ε (L2)."""
    if norm == "linf":
        return values.clamp(-as_column(epsilon), as_column(epsilon))
    if norm == "l2":
        length = _length(values)
        return values * as_column((epsilon / length).where(length > epsilon, 1.0))
    assert_never(norm)


def clipped_share(values: Tensor, epsilon: Tensor, norm: Norm) -> Tensor:
    """Share of values with |value| ≥ ε (L∞), or 1 where the whole is at least ε long, else 0 (L2); float32 (row,)."""
    if norm == "linf":
        return (values.abs().flatten(1) >= epsilon[:, None]).double().mean(dim=1).float()
    if norm == "l2":
        return (norm_of(values, norm) >= epsilon).float()
    assert_never(norm)


def _length(values: Tensor) -> Tensor:
    import torch

    # In float64, because it is a long sum: in float32 its last bits would depend on how the kernel splits it.
    return torch.linalg.vector_norm(values.flatten(1), dim=1, dtype=torch.float64).float()


# ---- what is measured of a step, for the record ---------------------------------------------------------------------

ON_BOUNDARY = 1 - 1e-5
"""|δ| this close to ε, as a ratio, counts as on it …"""
ROUNDING = 2.0**-24
"""… and this close in pixel values: clean + δ is rounded to float32, by up to half this much just below 1."""
GRADIENT_COLUMNS, PERTURBATION_COLUMNS = columns_of("gradient"), columns_of("perturbation")
"""Columns of the record that are measured here, in the order in which they stand in a table."""


def measure_gradient(gradient: Tensor) -> Tensor:
    """A column for each of GRADIENT_COLUMNS, float32 (row, column); NaN where the gradient is not a number."""
    return _table({"gradient_norm": _length(gradient)}, GRADIENT_COLUMNS)


def measure_perturbation(x: Tensor, clean: Tensor, epsilon: Tensor, norm: Norm) -> Tensor:
    """A column for each of PERTURBATION_COLUMNS, float32 (row, column), by float64 arithmetic apart from the attack's.

    The boundary share is of pixel values with |δ| ≥ ε (L∞), or 1 where ‖δ‖₂ ≥ ε, else 0 (L2).
    """
    import torch

    delta = x.double().sub_(clean).abs_().flatten(1)
    edge = epsilon.double() * ON_BOUNDARY - ROUNDING
    linf, l2 = delta.amax(dim=1), torch.linalg.vector_norm(delta, dim=1)
    if norm == "linf":
        share = (delta >= edge[:, None]).sum(dim=1) / delta.shape[1]
    elif norm == "l2":
        share = (l2 >= edge).double()
    else:
        assert_never(norm)
    return _table({"boundary_share": share, "linf": linf, "l2": l2}, PERTURBATION_COLUMNS)


def _table(measured: dict[str, Tensor], columns: tuple[str, ...]) -> Tensor:
    """What was measured, in the order of the columns. Raises NotImplementedError for one that was not, or is none."""
    if odd := measured.keys() ^ columns:
        raise NotImplementedError(f"record columns: declared or measured in one place only: {', '.join(sorted(odd))}")
    import torch

    return torch.stack([measured[name].float() for name in columns], dim=1)
