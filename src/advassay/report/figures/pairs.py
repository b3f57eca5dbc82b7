"""Figure 2: successful attacks: original | adversarial | magnified difference, with class and confidence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from advassay.records.gallery import Example
from advassay.report.figures.gallery_picks import successful_pairs
from advassay.report.figures.pictures import difference, display, magnification, pair
from advassay.report.figures.plates import Cell, Picture, Row
from advassay.report.theme import Style
from advassay.report.wording import percent


def pair_rows(
    gallery: Path, examples: list[Example], step_sizes: Mapping[str, str], styles: Mapping[str, Style], epsilon: float
) -> list[Row]:
    """One row per cohort that has a fallen kept image at `epsilon`. `step_sizes`: cohort → the step size shown."""
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
