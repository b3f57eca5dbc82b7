"""Update rules and losses: what is to be known of each without running it, and the registries that hold them.

Study files, plans, reports and old records ask for names and facts; none of that needs torch. The attack asks the very
same objects to compute (`attacks/attack_step.py`), so that facts and arithmetic of a rule or a loss stand in one file:
built-in ones in `attacks/update_rules/` and `attacks/losses/`, others in any package that declares an entry point. Such
a file may import torch in functions only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal

from advassay.registry import RegisteredName, Registry

StepMeaning = Literal["length", "gain", "unused"]
Knowledge = Literal["white box", "scores", "decisions"]
"""What an attack asks of the network: its gradients, its scores alone, or its decisions alone."""


class UpdateRuleFacts(ABC):
    """An update rule as seen from outside the attack. What has no value here, each rule must say."""

    name: str
    """As written in study files and records, such as "projected-sign"."""
    summary: str
    """What one update does, in a few words for lists."""
    description: str
    """The same in a sentence without its full stop, for the methods section of a report."""
    source: str
    """Where the rule was published, for the methods section."""
    step_meaning: StepMeaning
    """What `step_size` is: the length of a step in the attack's norm, a gain on the raw gradient, or not used."""
    shares_iterates: bool = True
    """Whether rows of different ε and step size begin as one iterate. A rule that uses ε in `propose` must say False:
    then nothing is shared, and an image costs steps × amplitudes × step sizes × restarts gradients."""
    bounds_the_image: bool = True
    """Whether ε bounds the distance from the clean image (and not, say, the gradient)."""
    restarts_at_random: bool = False
    """Whether restarts after the first begin at a random point of the ball even without `random_start`."""
    needs_float32: bool = False
    """Whether gradients must come from the unmodified network in float32, whatever precision is asked for."""
    records_another_point: bool = False
    """Whether what is recorded of an iterate is not the iterate itself, but the point that the rule has kept."""
    searches: bool = False
    """Whether the rule is no step of a trajectory but a search of its own (attacks.suite.search.SearchRule): `steps` is
    its budget, and iterates 0 and K alone are recorded, as 0 and 1."""
    needs_gradient: bool = True
    """Whether it needs the network's gradient; a rule that does not attacks networks that have none."""
    knowledge: Knowledge = "white box"
    """What the rule must know of the network."""
    ends_at_success: bool = False
    """Whether a search stops at an image's first success, so that its forward passes are queries to success."""
    norms: tuple[str, ...] = ("linf", "l2")
    """Norms that it knows."""
    least_classes: int = 2
    """Fewest classes that it makes sense for."""

    @abstractmethod
    def propose(self, visit: Any, rules: Any) -> Any:
        """One update (attacks.attack_step.UpdateRule)."""

    def recorded_steps(self, steps: int) -> int:
        """K of the record of an attack with so many steps."""
        return min(steps, 1) if self.searches else steps

    def missing_library(self) -> str:
        """What to install before it can run, in a sentence; empty where nothing is missing."""
        return ""

    def gradient_steps(self, steps: int, amplitudes: int) -> int:
        """Of a rule that searches: what one image takes at most, a forward pass counted as a third of a gradient."""
        return steps * amplitudes


class LossFacts(ABC):
    """A loss as seen from outside the attack. What has no value here, each loss must say."""

    name: str
    """As written in study files and records, such as "cross-entropy"."""
    summary: str
    """What is followed, in a few words for lists."""
    description: str
    """The same in a sentence without its full stop, for the methods section of a report."""
    source: str = ""
    """Where the loss was published, for the methods section; empty where it is common property."""
    minimum_classes: tuple[int, int] = (2, 2)
    """Classes it needs to be defined: untargeted, targeted."""
    rerun_loss: str | None
    """The loss that images whose gradient vanished under this one are attacked with again; None where this one does
    not saturate."""

    @abstractmethod
    def value(self, logits: Any, labels: Any, targets: Any) -> Any:
        """The value to ascend, float32 (image,): of logits float32 (image, class), `labels` and `targets` int64
        (image,), `targets` None where the attack has none."""


UPDATE_RULES: Registry[UpdateRuleFacts] = Registry(
    "update",
    UpdateRuleFacts,  # type: ignore[type-abstract]
    package="advassay.attacks.update_rules",
    group="advassay.update_rules",
)
LOSSES: Registry[LossFacts] = Registry(
    "loss",
    LossFacts,  # type: ignore[type-abstract]
    package="advassay.attacks.losses",
    group="advassay.losses",
)

Update = Annotated[str, RegisteredName(UPDATE_RULES)]
Loss = Annotated[str, RegisteredName(LOSSES)]


def list_components() -> dict[str, dict[str, str]]:
    """Field of an attack → name → summary of every update rule and loss there is.

    Those of other distributions are imported for it.
    """
    rules = {part.name: part.summary for part in UPDATE_RULES.parts()}
    return {"update": rules, "loss": {part.name: part.summary for part in LOSSES.parts()}}
