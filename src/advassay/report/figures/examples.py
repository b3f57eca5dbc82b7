"""Figure 1: one image per cohort, original, adversarial over ε, and what was added, magnified by a stated factor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from advassay.records.gallery import Example
from advassay.report.figures.gallery_picks import over_epsilon
from advassay.report.figures.pictures import difference, display, magnification, pair
from advassay.report.figures.plates import Cell, Picture, Row
from advassay.report.theme import Style
from advassay.report.wording import grey_levels, percent


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
