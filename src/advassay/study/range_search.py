"""Range-finding, what is tried and what follows from it: for arms that declare `epsilons: auto`.

As in a dose–response assay, a coarse search comes first. The smallest amplitude that misclassifies each tuning image is
found by bisection on a ladder of doublings; the grid then runs, in equal steps of ln ε, from where at most 2 % of a
cohort's images are misclassified to where at least 98 % are, over all cohorts of the study.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advassay.checked_files import write_document
from advassay.errors import AdvassayWarning, CohortError, StoreError
from advassay.identity import canonical_float, content_hash
from advassay.records import attack_rules, read_range_finding
from advassay.spec.attack_spec import Arm, log_grid, step_size_name
from advassay.spec.study_spec import Study
from advassay.store_documents import ArmRange, CohortRange, RangeFinding
from advassay.store_layout import Store
from advassay.study.gradient_counts import largest_reachable_epsilon
from advassay.study.store_locks import document_lock
from advassay.success import Reading

if TYPE_CHECKING:
    from advassay.cohorts import PreparedCohort

LOW, HIGH = 0.02, 0.98
"""Shares of misclassified images that the grid spans."""
RUNGS = 15
"""Amplitudes of the ladder: one less than a power of 2, so that bisection ends after the same number of rounds."""
ROUNDS = (RUNGS + 1).bit_length() - 1
"""Attacks that each image takes."""
ENOUGH = 25
"""With fewer images than this, the first and the last to fall are too far from 2 and 98 %: expected at more than
1 / (ENOUGH + 1) and less than its complement. The range then begins and ends one rung further out."""


@dataclass(frozen=True)
class Search:
    """What is tried for one arm."""

    name: str
    arm: Arm
    """The arm at the analysed step size, without restarts, at the ladder's amplitudes."""
    success: Reading
    points: int
    """Amplitudes that the grid has."""
    images: int
    """Tuning images of each cohort, at most."""

    @property
    def gradient_steps(self) -> int:
        """Gradients that one image takes at most."""
        return ROUNDS * self.arm.steps

    def request(self, cohort_identity: str, classifier: str) -> str:
        """Hash of all that a cohort's result follows from."""
        rules = {"attack": attack_rules(self.arm), "step_size": step_size_name(self.arm.step_sizes[0])}
        asked = {"success": self.success, "ladder": list(self.arm.epsilons), "images": self.images}
        return content_hash({"cohort": cohort_identity, "classifier": classifier, **rules, **asked})

    def sample(self, cohort: PreparedCohort) -> list[str]:
        """The tuning images that are attacked: the first of the content-drawn order."""
        return cohort.ids("tuning")[: self.images]


def searches(study: Study) -> list[Search]:
    """One for each arm whose amplitudes are to be found."""
    plan = study.resolved_analysis()
    found = []
    for name in study.attack.auto_arms:
        arm = study.attack.arm(name)
        rule = plan.step_size if name == plan.arm and plan.step_size is not None else arm.step_sizes[0]
        tried = {"step_sizes": (rule,), "epsilons": ladder(study, arm), "restarts": 1, "images": None}
        arm = arm.model_copy(update=tried)
        found.append(Search(name, arm, plan.success, study.attack.range_points, study.attack.range_images))
    return found


def ladder(study: Study, arm: Arm) -> tuple[float, ...]:
    """The amplitudes tried, each twice the one before.

    The largest makes any image grey: 0.5 of the range for linf, the length of that change for l2 (three channels of the
    study's largest images).
    """
    side = max(study.size_of(name) for name in study.cohorts)
    top = 0.5 if arm.norm == "linf" else 0.5 * math.sqrt(3) * side
    return tuple(canonical_float(top * 2.0**-halvings) for halvings in reversed(range(RUNGS)))


def check_tuning_images(arm: str, tuning: Mapping[str, int]) -> None:
    """Raise CohortError where a cohort has no tuning images to find an arm's amplitudes on.

    `tuning`: cohort → number of its tuning images, of the cohorts that could be formed.
    """
    lacking = [name for name, images in tuning.items() if not images]
    if lacking:
        raise CohortError(
            f"attack.arms.{arm}.epsilons: auto needs tuning images in every cohort, "
            f"{', '.join(lacking)} {'has' if len(lacking) == 1 else 'have'} none.",
            "Give the arm its epsilons, or the cohorts a tuning_fraction above 0.",
        )


def check_tuning_parts(study: Study, tuning: Mapping[str, int]) -> None:
    """As `check_tuning_images`, for the first of the study's arms whose amplitudes are to be found; nothing where
    there is none."""
    for arm in study.attack.auto_arms[:1]:
        check_tuning_images(arm, tuning)


def with_stored_grids(study: Study, store: Store) -> Study:
    """The study with the amplitudes that the store last found for its arms, whatever they were found for."""
    if not study.attack.auto_arms:
        return study
    kept = read_ranges(store).arms
    return study.with_epsilons({n: kept[n].epsilons for n in study.attack.auto_arms if n in kept and kept[n].epsilons})


def with_found_grids(
    study: Study, store: Store, cohorts: Sequence[str], classifiers: Mapping[str, tuple[str, str]]
) -> Study:
    """The study with the amplitudes that the store holds for these very cohorts and networks.

    `cohorts`: those that can be formed; `classifiers`: cohort → (its identity, its main network's), of the
    cohorts that are prepared. An arm stays `auto` where anything is still to be found.
    """
    kept, grids = read_ranges(store), {}
    for search in searches(study):
        found = kept.arms.get(search.name, ArmRange()).cohorts
        if all(name in classifiers and is_found(search, found, name, *classifiers[name]) for name in cohorts):
            grids[search.name] = grid(search, {name: found[name] for name in cohorts})
    return study.with_epsilons(grids)


def is_found(
    search: Search, found: Mapping[str, CohortRange], name: str, cohort_identity: str, classifier: str
) -> bool:
    """Does the store hold the range of this cohort's images, as it is now?"""
    return name in found and found[name].request == search.request(cohort_identity, classifier)


def read_ranges(store: Store) -> RangeFinding:
    """What the store holds of range-finding; empty where it has none."""
    return read_range_finding(store.root) or RangeFinding()


def keep_range(store: Store, search: Search, cohort: str, found: CohortRange) -> None:
    """Add what was found of a cohort to what the store holds."""
    with document_lock(store, "ranges"):
        kept = read_ranges(store).arms.get(search.name, ArmRange())
        _keep(store, search, {**kept.cohorts, cohort: found}, kept.epsilons)


def keep_grids(study: Study, store: Store, classifiers: Mapping[str, tuple[str, str]]) -> Study:
    """The study with the amplitudes that follow from the ranges of its cohorts, which the store then holds.

    `classifiers`: cohort → (its identity, its main network's), of every cohort that could be formed; their ranges must
    have been found. Says so where a grid is not the one that the store held before.
    """
    grids = {}
    with document_lock(store, "ranges"):
        for search in searches(study):
            kept = read_ranges(store).arms.get(search.name, ArmRange())
            if lacking := [n for n, at in classifiers.items() if not is_found(search, kept.cohorts, n, *at)]:
                raise StoreError(
                    f"range-finding of arm {search.name}: the range of {', '.join(lacking)} is needed, found none.",
                    "Run the study again: it is found first.",
                )
            found = {name: kept.cohorts[name] for name in classifiers}
            grids[search.name] = grid(search, found)
            if kept.epsilons and kept.epsilons != grids[search.name]:
                warnings.warn(
                    f"arm {search.name}: its amplitudes were found anew, because the study or its networks have "
                    f"changed: {_listed(grids[search.name])} instead of {_listed(kept.epsilons)}.",
                    AdvassayWarning,
                    stacklevel=2,
                )
            _keep(store, search, found, grids[search.name])
    return study.with_epsilons(grids)


def grid(search: Search, cohorts: Mapping[str, CohortRange]) -> tuple[float, ...]:
    """The arm's amplitudes: equal steps of ln ε over the ranges of all cohorts, up to what its steps reach.

    Raises CohortError where the arm hardly misclassifies an image of any cohort at any amplitude.
    """
    ranges = [found for found in cohorts.values() if found.upper is not None]
    if not ranges:
        raise CohortError(
            f"attack.arms.{search.name}.epsilons: auto found no amplitude, up to {search.arm.epsilons[-1]:g}, at which "
            f"the arm misclassifies more than {LOW:.0%} of the tuning images.",
            "Give the arm its epsilons, or rules under which it succeeds (steps, step_sizes, loss).",
        )
    lower = min(found.lower for found in ranges if found.lower is not None)
    upper = max(found.upper for found in ranges if found.upper is not None)
    most = largest_reachable_epsilon(search.arm, search.arm.step_sizes[0])
    return log_grid(lower, min(upper, most) if most is not None and most > lower else upper, search.points)


def range_of(
    search: Search, counts: Sequence[int], attacked: int, cohort_identity: str, classifier: str
) -> CohortRange:
    """What was found of a cohort; `counts`: of `attacked` images, those misclassified at or below each rung."""
    ladder = search.arm.epsilons
    ends = bracket(counts, attacked)
    return CohortRange(
        request=search.request(cohort_identity, classifier),
        cohort_identity=cohort_identity,
        classifier=classifier,
        images=attacked,
        misclassified={f"{epsilon:.12g}": count for epsilon, count in zip(ladder, counts, strict=True)},
        lower=None if ends is None else ladder[ends[0]],
        upper=None if ends is None else ladder[ends[1]],
        notes=tuple(_remarks(search.arm, counts, attacked)),
    )


def bracket(counts: Sequence[int], images: int) -> tuple[int, int] | None:
    """(largest rung with at most LOW of the images fallen, smallest with at least HIGH); None where LOW never fall.

    `counts`: images fallen at or below each rung. Where fewer than HIGH ever fall, the upper end is where the share
    levels off; one rung further out at both ends where there are fewer than ENOUGH images.

    >>> bracket([0, 0, 1, 30, 60, 99, 100, 100, 100, 100, 100, 100, 100, 100, 100], 100)
    (2, 5)
    >>> bracket([0, 0, 1, 6, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9], 10)
    (0, 5)
    """
    if counts[-1] <= LOW * images:
        return None
    most = min(HIGH * images, max(1.0, counts[-1] - LOW * images))
    low = max((rung for rung, count in enumerate(counts) if count <= LOW * images), default=0)
    high = next(rung for rung, count in enumerate(counts) if count >= most)
    if images < ENOUGH:
        low, high = max(0, low - 1), min(RUNGS - 1, high + 1)
    return low, max(high, low + 1)


def _remarks(arm: Arm, counts: Sequence[int], images: int) -> Iterator[str]:
    if images < ENOUGH:
        yield f"{images} images are too few to find {LOW:.0%}: the range is widened by a factor of 2 at both ends."
    if bracket(counts, images) is None:
        yield f"At most {LOW:.0%} are misclassified at any amplitude tried: this cohort does not enter the grid."
    elif counts[-1] < HIGH * images:
        yield f"Success levels off at {counts[-1] / images:.0%}."
    if counts[0] > LOW * images:
        yield f"{counts[0] / images:.0%} are misclassified at the smallest amplitude tried, {arm.epsilons[0]:g}."


def _keep(store: Store, search: Search, cohorts: Mapping[str, CohortRange], epsilons: tuple[float, ...]) -> None:
    arm = ArmRange(
        step_size=step_size_name(search.arm.step_sizes[0]),
        success=search.success,
        cohorts=dict(cohorts),
        epsilons=epsilons,
    )
    kept = read_ranges(store)
    if kept.arms.get(search.name) == arm:
        return
    write_document(store.range_finding, kept.model_copy(update={"arms": {**kept.arms, search.name: arm}}))


def _listed(epsilons: Sequence[float]) -> str:
    return ", ".join(f"{epsilon:g}" for epsilon in epsilons)
