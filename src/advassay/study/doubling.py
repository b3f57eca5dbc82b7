"""The doubling control: a sample of each run's images, attacked twice as long. Does the success rate still move?

Carlini et al. 2019 (arXiv 1902.06705, section 5.5, "Verify Attacks have Converged"): twice the iterations should not
raise the success of an attack that has converged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from advassay.analysis_plan import AnalysisPlan
from advassay.attack_spec import Arm, step_size_name
from advassay.documents import Controls, Doubling
from advassay.identity import canonical_float
from advassay.specs import AttackSpec
from advassay.study.counting import gradient_steps
from advassay.study.reach import unreachable
from advassay.success import attackable, fallen

if TYPE_CHECKING:
    from advassay.records import Run
    from advassay.trajectory import TrajectoryRows

SHARE = 0.15
"""Part of its run's gradient steps that the control may take for amplitudes beyond the analysed one."""


@dataclass(frozen=True)
class DoublingPlan:
    """What of a run is attacked twice as long."""

    step_size: float | str
    """The analysed step size: analysis.step_size on the deciding arm, else the arm's first."""
    epsilon: float
    """The arm's amplitude nearest to analysis.epsilon, of those its steps reach: always doubled."""
    images: int
    """At most this many images, the first ones of the run's sample."""

    def arm(self, arm: Arm, images: int) -> Arm:
        """The arm with twice the steps, at the amplitudes that are doubled in a run of `images` images.

        Besides `epsilon`, one and two thirds up the grid, each where the control then still takes at most SHARE of the
        run's gradient steps.
        """
        chosen = self._at(arm, (self.epsilon,))
        for epsilon in _thirds(arm, self.step_size):
            wider = self._at(arm, tuple(dict.fromkeys((*chosen.epsilons, epsilon))))
            if self._cost(wider, images) <= SHARE * images * gradient_steps(arm):
                chosen = wider
        return chosen

    def gradient_steps(self, arm: Arm, images: int) -> int:
        """Gradients that the control takes beside a run of `images` images: an upper bound, like the run's own."""
        return self._cost(self.arm(arm, images), images)

    def is_done(self, controls: Controls | None, arm: Arm) -> bool:
        """Do these controls hold the doubled run, as it is planned now?"""
        kept = None if controls is None else controls.doubling
        return (
            kept is not None
            and (kept.step_size, kept.steps) == (step_size_name(self.step_size), 2 * arm.steps)
            and f"{self.epsilon:.12g}" in kept.by_epsilon
        )

    def _at(self, arm: Arm, epsilons: tuple[float, ...]) -> Arm:
        longer = {"steps": 2 * arm.steps, "restarts": 1, "step_sizes": (self.step_size,)}
        return arm.model_copy(update=longer | {"epsilons": tuple(sorted(map(canonical_float, epsilons)))})

    def _cost(self, doubled: Arm, images: int) -> int:
        return min(self.images, images) * gradient_steps(doubled)


def doubling_plan(attack: AttackSpec, analysis: AnalysisPlan, name: str) -> DoublingPlan | None:
    """The doubling control of the arm `name`; `analysis` has its arm and step size named.

    None where controls are off, or the arm has no step or no amplitude above 0 to double.
    """
    arm = attack.arm(name)
    rule = analysis.step_size if name == analysis.arm else None
    rule = arm.step_sizes[0] if rule is None else rule
    epsilons = _reached(arm, rule)
    if not attack.controls or not epsilons or not arm.steps:
        return None
    nearest = min(epsilons, key=lambda epsilon: (abs(epsilon - analysis.epsilon), epsilon))
    return DoublingPlan(rule, canonical_float(nearest), attack.doubling_images)


def _reached(arm: Arm, rule: float | str) -> list[float]:
    """The amplitudes above 0 that K steps reach, in rising order, or the smallest one where they reach none.

    Beyond its reach an attack gains by going further, whether it has converged or not.
    """
    beyond, ordered = unreachable(arm, rule), sorted(epsilon for epsilon in arm.epsilons if epsilon > 0)
    return [epsilon for epsilon in ordered if epsilon not in beyond] or ordered[:1]


def _thirds(arm: Arm, rule: float | str) -> Iterator[float]:
    """The amplitudes that stand one and two thirds up the part of the grid that K steps reach."""
    ordered = _reached(arm, rule)
    yield from (ordered[round(third * (len(ordered) - 1) / 3)] for third in (1, 2))


def counted(run: Run, doubled: TrajectoryRows, arm: Arm, name: str) -> Doubling:
    """What the doubled rows say beside the run's own rows of the same images.

    `arm`: the doubled one, called `name`; K is half its steps.
    """
    step_size, logits = step_size_name(arm.step_sizes[0]), run.column("logits")
    found = {}
    for epsilon in arm.epsilons:
        short, long = _same_images(run, doubled, (step_size, epsilon))
        found[f"{epsilon:.12g}"] = _counts(logits[short], doubled.logits[long], doubled.label[long])
    return Doubling(steps=arm.steps, step_size=step_size, arm=name, by_epsilon=found)


def _same_images(run: Run, doubled: TrajectoryRows, point: tuple[str, float]) -> tuple[list[int], list[int]]:
    """Rows of the run and of the doubled attack at one point, of the images that both have, in the same order."""
    rows = run.index.points().get(point, slice(0, 0))
    ids = run.images["image_id"].gather(run.index.image[rows]).to_list()
    recorded = dict(zip(ids, range(rows.start, rows.stop), strict=True))
    here = np.flatnonzero(doubled.epsilon == point[1]).tolist()
    pairs = [(recorded[image], row) for row in here if (image := doubled.image_id[row]) in recorded]
    return [short for short, _ in pairs], [long for _, long in pairs]


def _counts(short: np.ndarray, long: np.ndarray, label: np.ndarray) -> dict[str, int]:
    """`short` logits (image, K + 1, class) as recorded, `long` (image, 2K + 1, class), of the same images."""
    after_k, after_2k = short.swapaxes(0, 1), long.swapaxes(0, 1)
    countable = attackable(after_k, label) & attackable(after_2k, label)
    last_k, last_2k = fallen(after_k, label)[-1] & countable, fallen(after_2k, label)[-1] & countable
    found = {
        "images": countable,
        "at_k": last_k,
        "at_2k": last_2k,
        "gained": last_2k & ~last_k,
        "lost": last_k & ~last_2k,
        "any_k": fallen(after_k, label, "any")[-1] & countable,
        "any_2k": fallen(after_2k, label, "any")[-1] & countable,
    }
    return {key: int(images.sum()) for key, images in found.items()}
