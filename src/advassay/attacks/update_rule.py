"""What an update rule is: from an iterate and its gradient to the next iterate, split where amplitudes part.

`propose` goes as far as no ε is looked at, and says how far that is (`extent`). Every ε ≥ extent projects to the same
bits, so those amplitudes can go on as one trajectory: this is the prefix sharing of the scheduler, and why it is exact.
A rule may keep state beside each iterate: tensors with one entry an iterate, which its successors inherit.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from advassay.attacks.norm_balls import as_column, project_onto_ball
from advassay.spec.attack_spec import PGD, Arm

State = tuple[Tensor, ...]


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


class UpdateRule:
    """Base of all rules; `rules` of every method are the attack's."""

    shares_iterates = True
    """Whether rows of different ε and step size start as one iterate. A rule that uses ε in `propose` must say no."""
    needs_float32 = False
    """Whether its gradients must come from the unmodified network."""
    records_another_point = False
    """Whether what is recorded of an iterate is not the iterate itself (`recorded`)."""

    def initial_state(self, x: Tensor, epsilon: Tensor, classes: int) -> State:
        """State of trajectories that begin at `x`."""
        return ()

    def observe(self, visit: Visit, rules: PGD | Arm) -> State:
        """State once the logits and the gradient at `visit` are known."""
        return visit.state

    def recorded(self, visit: Visit) -> tuple[Tensor, Tensor]:
        """The point and the logits (iterate, class) that the record shows, after `observe`."""
        return visit.x, visit.logits

    def propose(self, visit: Visit, rules: PGD | Arm) -> Proposal:
        """The update from each iterate, before any ε is looked at."""
        raise NotImplementedError

    def boundary_share(self, proposal: Proposal, epsilon: Tensor, rules: PGD | Arm) -> Tensor | None:
        """What the record's boundary_share says, (iterate,); None = the share of pixel values at the boundary."""
        return None
