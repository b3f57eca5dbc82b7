"""Which kept examples the image figures show: chosen by rule, not by eye."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from advassay.records.gallery import Example

COLUMNS = 4
PAIRS = 8


def correct(example: Example) -> bool:
    """Whether the clean image was classified correctly."""
    return example.correct


def over_epsilon(examples: Iterable[Example], cohort: str, step_size: str, wanted: float) -> list[Example]:
    """Figure 1: one image of the cohort at up to four amplitudes, rising; empty where none was kept.

    The image is the first by id, of those that fell at the smallest amplitude, among the correctly classified; the
    amplitudes are the smallest, the largest, `wanted` and an even choice between.
    """
    by_image: dict[str, list[Example]] = {}
    for example in examples:
        if example.cohort == cohort and example.step_size == step_size and correct(example) and example.epsilon > 0:
            by_image.setdefault(example.image_id, []).append(example)
    if not by_image:
        return []
    chosen = min(by_image, key=lambda image: (_first_fall(by_image[image]), image))
    attacked = sorted(by_image[chosen], key=lambda example: example.epsilon)
    kept = spaced([example.epsilon for example in attacked], wanted, COLUMNS)
    return [example for example in attacked if example.epsilon in kept]


def successful_pairs(examples: Iterable[Example], step_sizes: dict[str, str], epsilon: float) -> list[Example]:
    """Figure 2: up to eight images that fell at `epsilon`, cohorts in turn, each class transition once before repeats.

    `step_sizes`: cohort → the step size shown.
    """
    fallen = [e for e in examples if e.fallen and e.epsilon == epsilon and step_sizes.get(e.cohort) == e.step_size]
    queues = [_transitions_first([e for e in fallen if e.cohort == cohort]) for cohort in step_sizes]
    in_turn = [example for turn in zip_longest(*queues) for example in turn if example is not None]
    shown = in_turn[:PAIRS]
    place = {cohort: i for i, cohort in enumerate(step_sizes)}
    return sorted(shown, key=lambda e: (place[e.cohort], e.label, e.predicted, e.image_id))


def spaced(values: Sequence[float], wanted: float, count: int) -> list[float]:
    """`count` of the rising values: both ends, `wanted` if it is there, the rest evenly by place.

    >>> spaced([0.02, 0.04, 0.06, 0.08, 0.1, 0.2], 0.02, 4)
    [0.02, 0.06, 0.08, 0.2]
    """
    if len(values) <= count:
        return list(values)
    places = {round(i * (len(values) - 1) / (count - 1)) for i in range(count)}
    if wanted in values and (at := list(values).index(wanted)) not in places:
        nearest = min(places - {0, len(values) - 1}, key=lambda place: abs(place - at))
        places = places - {nearest} | {at}
    return [values[i] for i in sorted(places)]


def _first_fall(examples: list[Example]) -> float:
    return min((example.epsilon for example in examples if example.fallen), default=float("inf"))


def _transitions_first(examples: list[Example]) -> list[Example]:
    seen: dict[tuple[int, int], int] = {}
    ranked = []
    for example in sorted(examples, key=lambda e: (e.label, e.predicted, e.image_id)):
        transition = (example.label, example.predicted)
        ranked.append((seen.get(transition, 0), example))
        seen[transition] = seen.get(transition, 0) + 1
    return [example for _, example in sorted(ranked, key=lambda pair: pair[0])]
