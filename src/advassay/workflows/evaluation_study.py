"""The study that an evaluation is: one cohort, the model's way of taking images, and a preset's arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from advassay.errors import CohortError, SpecError
from advassay.identity import canonical_float
from advassay.spec.study_spec import AUTO, Study
from advassay.study.config.load_study import parse_study
from advassay.study.config.study_templates import positive_class
from advassay.study.config.yaml_tree import yaml_text
from advassay.workflows.evaluated_model import EvaluatedModel
from advassay.workflows.image_source import EvaluatedImages
from advassay.workflows.presets import DECIDING, GREY_LEVELS, SHOWN_EPSILON, Preset, arms_for

EVALUATION = "evaluation"
"""Name of the study that such a store holds."""
SAME_DOSE = 1.15
"""Ratio of two amplitudes below which one of them is left out: between them nothing more can be seen."""


def evaluation_study(
    model: EvaluatedModel,
    images: EvaluatedImages,
    preset: Preset,
    side: int,
    fields: Mapping[str, Any],
    positive: str,
    limit: int | None,
) -> Study:
    """A study of one cohort. An arm whose grid the preset does not state is given the deciding arm's, once found."""
    classes = tuple(images.classes)
    found = preset.epsilons is None
    grid = list(GREY_LEVELS if preset.epsilons is None else preset.epsilons)
    arms = {name: {"epsilons": grid} | arm for name, arm in arms_for(preset, len(classes)).items()}
    if found:
        arms[DECIDING]["epsilons"] = AUTO
    most = [number for number in (preset.images, limit) if number is not None]
    declared = {
        "name": EVALUATION,
        "title": f"{model.architecture} on {images.name}",
        "image_size_px": side,
        "sources": {images.name: images.source},
        "cohorts": {
            images.name: {
                "source": images.name,
                "title": f"{images.name}, {model.architecture} ({model.sha256[:8]})",
                "classes": images.classes,
                "positive": positive,
                "split": "tuning" if found else "none",
                "tuning_fraction": preset.range_share,
                **fields,
            }
        },
        "training": {"architecture": model.architecture, "updates": 1},
        "attack": {
            "steps": preset.steps,
            "images": min(most) if most else None,
            "precision": preset.precision,
            "control_images": preset.control_images,
            "doubling_images": preset.doubling_images,
            "doubling": preset.doubling,
            "range_images": preset.range_images,
            "range_points": preset.range_points,
            "arms": arms,
        },
        "analysis": {"arm": DECIDING, "epsilon": SHOWN_EPSILON},
        "figures": {"epsilon": SHOWN_EPSILON},
    }
    return parse_study(yaml_text(declared), name="evaluate")


PositiveBy = Literal["given", "checkpoint", "name", "last"]


def positive_class_of(
    classes: Sequence[str], given: str | None, checkpoint: str | None = None
) -> tuple[str, PositiveBy]:
    """(the class whose detection is sensitivity, what says so). Raises SpecError for a name that is none of `classes`.

    Without a word of the caller or the checkpoint: the one class beside those such as normal, benign or negative; where
    names do not say it, the last class, as 1 is the positive one of labels 0 and 1.

    >>> positive_class_of(["normal", "pneumonia"], None), positive_class_of(["0", "1"], None)
    (('pneumonia', 'name'), ('1', 'last'))
    """
    if given is not None:
        if given not in classes:
            raise SpecError(
                f"positive: expected one of the classes {', '.join(classes)}, got {given!r}.",
                "It is the class whose detection is sensitivity.",
            )
        return given, "given"
    if checkpoint in classes:
        return str(checkpoint), "checkpoint"
    by_name = positive_class(classes)
    return (classes[-1], "last") if by_name is None else (str(by_name), "name")


def cohort_fields(model: EvaluatedModel, images: EvaluatedImages, image_type: str | None) -> dict[str, Any]:
    """How images are prepared: as the model takes them. A grey image stays grey for a model of three channels."""
    fields: dict[str, Any] = {"resize": model.resize, "scaling": model.scaling}
    channels = 1 if model.classifier.channels == 1 else images.columns.get("channels")
    if channels is not None:
        fields["channels"] = channels
    if kind := image_type or model.image_type:
        fields["image_type"] = kind
    if "where" in images.columns:
        fields["where"] = images.columns["where"]
    return fields


def prepared_side(model: EvaluatedModel, images: EvaluatedImages) -> int:
    """Side of the prepared images. Raises CohortError where neither the model nor the images say it."""
    side = model.size_px or images.side_px
    if side is None:
        raise CohortError(
            "size_px: expected the side of the square images that the model takes; the model does not say it, and the "
            "images are not squares of one size.",
            "Say it: --size 224, or size_px=224.",
        )
    return side


def numbered_classes(model: EvaluatedModel, images: EvaluatedImages, side: int) -> tuple[str, ...]:
    """Class 0, class 1, … as many as the model has logits."""
    channels = model.classifier.channels or images.columns.get("channels") or 3
    logits = model.logits(np.zeros((1, channels, side, side), np.float32))
    return tuple(f"class {number}" for number in range(logits.shape[1]))


def join_amplitudes(grid: Sequence[float], asked: Sequence[float]) -> list[float]:
    """Both in rising order, without amplitudes of the grid that nearly are asked ones.

    >>> join_amplitudes([0.001, 0.004, 0.016], [1 / 255, 0.02])
    [0.001, 0.00392156862745, 0.016, 0.02]
    """
    wanted = [canonical_float(epsilon) for epsilon in asked]
    near = {e for e in grid for other in wanted if e / SAME_DOSE < other < e * SAME_DOSE}
    return sorted({*wanted, *(canonical_float(epsilon) for epsilon in grid if epsilon not in near)})
