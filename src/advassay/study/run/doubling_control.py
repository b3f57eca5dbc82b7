"""The doubling control: a sample of each run's images, attacked twice as long. Does the success rate still move?

Carlini et al. 2019 (arXiv 1902.06705, section 5.5, "Verify Attacks have Converged"): twice the iterations should not
raise the success of an attack that has converged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from advassay.identity import canonical_float
from advassay.spec.analysis_plan import AnalysisPlan
from advassay.spec.attack_components import UPDATE_RULES
from advassay.spec.attack_spec import Arm, step_size_name
from advassay.spec.study_spec import AttackSpec
from advassay.store_documents import Controls, Doubling
from advassay.study.gradient_counts import gradient_steps, unreachable_epsilons
from advassay.success import correct_on_clean, has_succeeded

if TYPE_CHECKING:
    from advassay.records import Run
    from advassay.trajectory import TrajectoryRows

SHARE = 0.15
"""Part of its run's gradient steps that a control which cannot decide may take beyond the analysed amplitude."""
COUNTED = 0.75
"""Share of a sample that is expected to count: images classified correctly, each of its own patient."""
MOST = 100_000
"""Images a run, beyond which more are not looked for."""
STANDARD_ERROR = 1.5
"""Standard error, in images, of a share of which none was seen: the rule of three, as in the analysis."""


@dataclass(frozen=True)
class DoublingPlan:
    """What of a run is attacked twice as long."""

    step_size: float | str
    """The analysed step size: analysis.step_size on the deciding arm, else the arm's first."""
    epsilon: float
    """The arm's amplitude nearest to analysis.epsilon, of those its steps reach: always doubled."""
    images: int
    """At least this many images, the first ones of the run's sample, where the run has as many."""
    cohorts: int | None = None
    """Cohorts over which question 3 pools the control; None: the arm does not decide it."""
    margin: float = 0.02
    """The change of success that counts as none (analysis.margins.iterations)."""
    level: float = 0.95

    def arm(self, arm: Arm, images: int) -> Arm:
        """The arm with twice the steps, at the amplitudes that are doubled in a run of `images` images.

        Where the control can decide, all amplitudes that K steps reach. Else, besides `epsilon`, one and two thirds up
        the grid, each where the control then still takes at most SHARE of the run's gradient steps.
        """
        if self.enough(arm, images) is not None:
            return self._at(arm, tuple(_reached(arm, self.step_size)))
        chosen = self._at(arm, (self.epsilon,))
        for epsilon in _thirds(arm, self.step_size):
            wider = self._at(arm, tuple(dict.fromkeys((*chosen.epsilons, epsilon))))
            if min(self.images, images) * gradient_steps(wider) <= SHARE * images * gradient_steps(arm):
                chosen = wider
        return chosen

    def sample(self, arm: Arm, images: int) -> int:
        """How many images of a run of `images` are doubled."""
        return min(images, max(self.images, self.enough(arm, images) or 0))

    def enough(self, arm: Arm, images: int) -> int | None:
        """Images of a run of `images` with which the control can show that twice the iterations change nothing.

        So many that the pooled interval has half of the margin on either side where no image changes, or all images
        where only they bring it within the margin. None: not even they do, or the arm does not decide.
        """
        if self.cohorts is None or self.half_width(arm, images) >= self.margin:
            return None
        low, high = 0, images
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.half_width(arm, middle) > self.margin / 2 else (low, middle)
        return high

    def needed(self, arm: Arm) -> int | None:
        """The fewest images a run with which the control can decide; None beyond MOST."""
        low, high = 0, 64
        while self.enough(arm, high) is None:
            low, high = high, 2 * high
            if low > MOST:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.enough(arm, middle) is None else (low, middle)
        return high

    def half_width(self, arm: Arm, images: int) -> float:
        """Half of the pooled interval of the change of success where no image of any cohort changes."""
        from scipy import stats

        counted, cohorts = COUNTED * images * len(_reached(arm, self.step_size)), self.cohorts or 1
        freedom = cohorts - 1 if cohorts > 1 else COUNTED * images - 1
        if counted <= 0 or freedom < 1:
            return float("inf")
        return float(stats.t.ppf(0.5 + self.level / 2, freedom)) * STANDARD_ERROR / (counted * sqrt(cohorts))

    def gradient_steps(self, arm: Arm, images: int) -> int:
        """Gradients that the control takes beside a run of `images` images: an upper bound, like the run's own."""
        return self.sample(arm, images) * gradient_steps(self.arm(arm, images))

    def is_done(self, controls: Controls | None, arm: Arm, images: int) -> bool:
        """Do these controls hold the doubled run, as it is planned now for a run of `images` images?

        A control with counts alone, from before it was kept which images change, is made anew.
        """
        kept = None if controls is None else controls.doubling
        planned = {f"{epsilon:.12g}" for epsilon in self.arm(arm, images).epsilons}
        return (
            kept is not None
            and (kept.step_size, kept.steps) == (step_size_name(self.step_size), 2 * arm.steps)
            and planned <= kept.changes.keys()
            and len(kept.image_ids) >= self.sample(arm, images)
        )

    def note(self, name: str, arm: Arm, images: int) -> str:
        """What the plan says of a deciding arm whose control cannot decide; empty where it can.

        `images`: of the smallest run.
        """
        if self.cohorts is None or self.enough(arm, images) is not None:
            return ""
        needed = self.needed(arm)
        more = f"about {needed} images a cohort can" if needed else "more cohorts are needed"
        cohorts = "1 cohort" if self.cohorts == 1 else f"{self.cohorts} cohorts"
        return (
            f"Arm {name}: the control with twice the iterations cannot show a plateau (question 3) with {images} "
            f"images in {cohorts}, even if no image changes: {more}."
        )

    def _at(self, arm: Arm, epsilons: tuple[float, ...]) -> Arm:
        longer = {"steps": 2 * arm.steps, "restarts": 1, "step_sizes": (self.step_size,)}
        return arm.model_copy(update=longer | {"epsilons": tuple(sorted(map(canonical_float, epsilons)))})


def doubling_plan(attack: AttackSpec, analysis: AnalysisPlan, name: str, cohorts: int) -> DoublingPlan | None:
    """The doubling control of the arm `name` in a study of `cohorts`; `analysis` has its arm and step size named.

    None where controls are off, or the arm has no step or no amplitude above 0 to double, or is a search.
    """
    arm = attack.arm(name)
    rule = analysis.step_size if name == analysis.arm else None
    rule = arm.step_sizes[0] if rule is None else rule
    epsilons = _reached(arm, rule)
    if not attack.controls or not epsilons or not arm.steps or UPDATE_RULES.get(arm.update).searches:
        return None
    nearest = min(epsilons, key=lambda epsilon: (abs(epsilon - analysis.epsilon), epsilon))
    pooled = cohorts if name == analysis.arm and attack.doubling is None else None
    margin = analysis.margins.iterations
    return DoublingPlan(rule, canonical_float(nearest), attack.doubling_images, pooled, margin, analysis.level)


def _reached(arm: Arm, rule: float | str) -> list[float]:
    """The amplitudes above 0 that K steps reach, in rising order, or the smallest one where they reach none.

    Beyond its reach an attack gains by going further, whether it has converged or not.
    """
    beyond, ordered = unreachable_epsilons(arm, rule), sorted(epsilon for epsilon in arm.epsilons if epsilon > 0)
    return [epsilon for epsilon in ordered if epsilon not in beyond] or ordered[:1]


def _thirds(arm: Arm, rule: float | str) -> Iterator[float]:
    """The amplitudes that stand one and two thirds up the part of the grid that K steps reach."""
    ordered = _reached(arm, rule)
    yield from (ordered[round(third * (len(ordered) - 1) / 3)] for third in (1, 2))


def count_doubling(run: Run, doubled: TrajectoryRows, arm: Arm, name: str) -> Doubling:
    """What the doubled rows say beside the run's own rows of the same images.

    `arm`: the doubled one, called `name`; K is half its steps.
    """
    step_size, logits = step_size_name(arm.step_sizes[0]), run.column("logits")
    sample = tuple(dict.fromkeys(doubled.image_id))
    places = {image: place for place, image in enumerate(sample)}
    counts, changes = {}, {}
    for epsilon in arm.epsilons:
        short, long = _same_images(run, doubled, (step_size, epsilon))
        found = _outcomes(logits[short], doubled.logits[long], doubled.label[long])
        here = np.array([places[doubled.image_id[row]] for row in long], dtype=np.int64)
        text = f"{epsilon:.12g}"
        counts[text] = {key: int(found[key].sum()) for key in COUNTS}
        changes[text] = {key: tuple(here[found[key]].tolist()) for key in CHANGES}
        absent = set(range(len(sample))) - set(here[found["images"]].tolist())
        changes[text]["left_out"] = tuple(sorted(absent))
    return Doubling(
        steps=arm.steps, step_size=step_size, arm=name, by_epsilon=counts, image_ids=sample, changes=changes
    )


COUNTS = ("images", "at_k", "at_2k", "gained", "lost", "any_k", "any_2k")
CHANGES = ("gained", "lost", "any_gained", "any_lost")


def _same_images(run: Run, doubled: TrajectoryRows, point: tuple[str, float]) -> tuple[list[int], list[int]]:
    """Rows of the run and of the doubled attack at one point, of the images that both have, in the same order."""
    rows = run.index.points().get(point, slice(0, 0))
    ids = run.images["image_id"].gather(run.index.image[rows]).to_list()
    recorded = dict(zip(ids, range(rows.start, rows.stop), strict=True))
    here = np.flatnonzero(doubled.epsilon == point[1]).tolist()
    pairs = [(recorded[image], row) for row in here if (image := doubled.image_id[row]) in recorded]
    return [short for short, _ in pairs], [long for _, long in pairs]


def _outcomes(short: np.ndarray, long: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
    """Which images count, fall and change, (image,) bool each.

    `short` logits (image, K + 1, class) as recorded, `long` (image, 2K + 1, class), of the same images.
    """
    after_k, after_2k = short.swapaxes(0, 1), long.swapaxes(0, 1)
    countable = correct_on_clean(after_k, label) & correct_on_clean(after_2k, label)
    at_k, at_2k = (has_succeeded(of, label)[-1] & countable for of in (after_k, after_2k))
    any_k, any_2k = (has_succeeded(of, label, "any")[-1] & countable for of in (after_k, after_2k))
    return {
        "images": countable,
        "at_k": at_k,
        "at_2k": at_2k,
        "gained": at_2k & ~at_k,
        "lost": at_k & ~at_2k,
        "any_k": any_k,
        "any_2k": any_2k,
        "any_gained": any_2k & ~any_k,
        "any_lost": any_k & ~any_2k,
    }
