"""Figures 1 and 2: original, adversarial and magnified difference of images chosen by rule, not by eye."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from advassay.records.gallery import Example
from advassay.report.data import stored_counts
from advassay.report.data.findings import Findings
from advassay.report.figures.figure import FIGURES, Figure, figure
from advassay.report.figures.image_panels import Cell, Picture, Row, difference, display, magnification, pair, plate
from advassay.report.figures.theme import Style, styles
from advassay.report.text import captions
from advassay.report.text.number_format import amplitude, grey_levels, listed, percent
from advassay.store_layout import Store

COLUMNS = 4
PAIRS = 8


def correct(example: Example) -> bool:
    """Whether the clean image was classified correctly."""
    return example.correct


def over_epsilon(examples: Iterable[Example], cohort: str, step_size: str, wanted: float) -> list[Example]:
    """Figure 1: one image of the cohort at up to four amplitudes, rising; empty where none was kept.

    The image is the first by id, of those misclassified at the smallest amplitude, among the correctly classified; the
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
    """Figure 2: up to eight images misclassified at `epsilon`, cohorts in turn, each class transition before repeats.

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


def example_rows(
    gallery: Path, examples: list[Example], step_sizes: Mapping[str, str], styles: Mapping[str, Style], epsilon: float
) -> list[Row]:
    """One row per cohort with a kept image. `step_sizes`: cohort → the step size shown."""
    picked = {name: over_epsilon(examples, name, step, epsilon) for name, step in step_sizes.items()}
    return [_row(gallery, name, shown, styles[name].colour) for name, shown in picked.items() if shown]


UNDECIDED = "no decision (NaN)"


def _row(gallery: Path, cohort: str, shown: list[Example], colour: str) -> Row:
    first = shown[0]
    name = first.class_names[first.label]
    original, _ = pair(gallery, first)
    clean = Picture(
        display(original),
        f"{cohort}: original image of class {name}",
        below=(_told(name, first.before),),
    )
    cells = [Cell((clean,), "original"), *(_attacked(gallery, cohort, example) for example in shown)]
    return Row(cohort, tuple(cells), colour)


def _told(name: str, share: float | None) -> str:
    return name if share is None else f"{name} {percent(share, 0)}"


def _attacked(gallery: Path, cohort: str, example: Example) -> Cell:
    original, adversarial = pair(gallery, example)
    factor = magnification(example.epsilon)
    told = UNDECIDED if example.predicted < 0 else _told(example.class_names[example.predicted], example.after)
    at = f"ε = {example.epsilon:g}"
    image = Picture(
        display(adversarial),
        f"{cohort}: adversarial image at {at}, seen as {told}",
        below=(told,),
        fallen=example.fallen,
    )
    added = Picture(
        difference(original, adversarial, factor),
        f"{cohort}: difference at {at}, magnified {factor:g} times around mid-grey",
        below=(f"difference × {factor:g}",),
    )
    return Cell((image, added), f"{at} ({grey_levels(example.epsilon)}/255)")


def pair_rows(
    gallery: Path, examples: list[Example], step_sizes: Mapping[str, str], styles: Mapping[str, Style], epsilon: float
) -> list[Row]:
    """One row per cohort with a kept image misclassified at `epsilon`. `step_sizes`: cohort → the step size shown."""
    shown = successful_pairs(examples, dict(step_sizes), epsilon)
    cohorts = dict.fromkeys(example.cohort for example in shown)
    return [
        Row(name, tuple(_cell(gallery, example) for example in shown if example.cohort == name), styles[name].colour)
        for name in cohorts
    ]


def _cell(gallery: Path, example: Example) -> Cell:
    native = pair(gallery, example)
    original, adversarial = (display(image) for image in native)
    was, now = example.class_names[example.label], example.class_names[example.predicted]
    before, after = ("–" if share is None else percent(share, 0) for share in (example.before, example.after))
    factor = magnification(example.epsilon)
    left = Picture(original, f"{example.cohort}: original, {was}, confidence {before}", below=(was, before))
    right = Picture(
        adversarial,
        f"{example.cohort}: adversarial, seen as {now}, confidence {after}",
        below=(f"→ {now}", after),
        fallen=True,
    )
    added = Picture(
        difference(*native, factor),
        f"{example.cohort}: difference, magnified {factor:g} times around mid-grey",
        below=(f"difference × {factor:g}",),
    )
    return Cell((left, right, added))


def pictured_arm(findings: Findings) -> str:
    """The arm of the image figures: the main one, or the first of which images were kept where it has none."""
    kept = {example.arm for example in findings.examples}
    arms = [findings.main_arm, *findings.records.arms]
    return next((arm for arm in arms if arm in kept), findings.main_arm)


def picture_epsilon(findings: Findings) -> float:
    """Amplitude of figure 2: the figures' own, or the one nearest to it in the grid of another arm."""
    arm = pictured_arm(findings)
    grid = stored_counts.shared_epsilons(findings.headers(arm), findings.step_size(arm))
    return stored_counts.nearest_available(findings.epsilon, grid) or findings.epsilon


def image_rows(findings: Findings, make: Callable[..., list[Row]]) -> list[Row]:
    """Rows of an image figure, made by `make` from the kept images of the main networks under `pictured_arm`."""
    arm = pictured_arm(findings)
    runs = {header.run_id for header in findings.headers(arm)}
    kept = [example for example in findings.examples if example.run_id in runs]
    gallery, drawn = Store(findings.records.root).gallery, styles(findings.cohorts)
    return make(gallery, kept, findings.shown_step_sizes(arm), drawn, picture_epsilon(findings))


def pictured_attack(findings: Findings) -> str:
    """The attack of the image figures in words, and whether it is another one than that of the verdicts."""
    arm = pictured_arm(findings)
    if arm == findings.main_arm:
        return captions.main_attack(findings)
    return (
        f"{captions.attack(findings.headers(arm), findings.step_size(arm))}; the verdicts rest on arm "
        f"{findings.main_arm}, of which no images were kept"
    )


def _scaling(findings: Findings) -> str:
    """How pixel values became [0, 1], by cohort: the window of what the image figures show."""
    known = [p for name, p in findings.records.preparations.items() if name in findings.cohorts]
    ways: dict[str, list[str]] = {}
    for p in known:
        ways.setdefault(f"{p.scaling}, {p.bits} bit", []).append(p.cohort)
    told = [f"{way} ({', '.join(names)})" for way, names in ways.items()]
    return f" Grey scale as prepared for the network: {listed(told)}." if told else ""


def bit_depth_note(findings: Findings) -> str:
    """Over which values pictures are shown, where some are deeper than 8 bits."""
    bits = {p.bits for name, p in findings.records.preparations.items() if name in findings.cohorts}
    deep = "" if 16 not in bits else " from 0 to 65\u202f535" if bits == {16} else ", 16-bit ones from 0 to 65\u202f535"
    return f"shown over their full range of values{deep}"


@FIGURES.register
@figure("fig-1", section="results", order=10, number="1")
def fig1(findings: Findings) -> Figure | None:
    """One image of each cohort at rising ε, with the difference."""
    rows = image_rows(findings, example_rows)
    if not rows:
        return None
    return Figure(
        "Example images and their adversarial versions over ε",
        "One image per cohort: the original, and below each adversarial image what the attack added. "
        f"{pictured_attack(findings)}. Under each image: the predicted class with its probability, in bold where it "
        f"is no "
        "longer the true class. Differences are magnified by the stated factor around mid-grey. Images are enlarged by "
        f"whole factors (nearest neighbour) and {bit_depth_note(findings)}.{_scaling(findings)} Of the kept images "
        "that were classified correctly, the one that was misclassified at the smallest ε is shown; of several, the "
        "first by id.",
        f"Images of {listed([row.title for row in rows])}: original, adversarial at rising ε, magnified differences.",
        lambda width: plate(rows, stacked=True, columns=5 if width > 500 else 2),
        rows=tuple(rows),
    )


@FIGURES.register
@figure("fig-2", section="results", order=20, number="2")
def fig2(findings: Findings) -> Figure | None:
    """Images of successful attacks at one ε, with the difference."""
    rows = image_rows(findings, pair_rows)
    if not rows:
        return None
    at = amplitude(picture_epsilon(findings))
    return Figure(
        f"Successful attacks at {at}",
        "Original, adversarial image and what the attack added, of images that are misclassified after the last "
        f"iteration at {at}. {pictured_attack(findings)}. Under each image: the predicted class and the network's "
        f"confidence "
        f"in it. Under the difference: its magnification around mid-grey.{_scaling(findings)} Only kept images are "
        "shown: a few of each class, drawn before any result was known. Each class transition is shown once before one "
        "is repeated.",
        "Original, adversarial image and magnified difference, by cohort: "
        + listed([f"{row.title} ({len(row.cells)})" for row in rows])
        + ".",
        lambda width: plate(rows, stacked=False, columns=2 if width > 500 else 1),
        rows=tuple(rows),
        layout="beside",
    )
