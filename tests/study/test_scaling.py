"""--scale and --source phantoms change how many images there are and where they come from, nothing else."""

from __future__ import annotations

import pytest
from tiny_study import TINY

from advassay.errors import SpecError
from advassay.specs import Study, TrainingSpec
from advassay.study import parse_study
from advassay.study.scaling import on_phantoms, scaled

LARGE = """
name: large
sources:
  table: {kind: table, path: t.csv}
  chest: {kind: phantoms, phantom: chest, images: 100000}
cohorts:
  A:
    source: table
    classes: {a: {x: 1}, b: {x: 2}, c: {x: 3}}
    per_class: {a: 50000, b: 10, c: 3000}
    train_sizes: [1000, 20000, 0.5]
    split: declared
    patient_id: group
    phantom: {kind: phantoms, phantom: chest, images: 5000}
  B: {source: chest, classes: {a: {x: 1}, b: {x: 2}}, per_class: 100000}
training: {updates: 10}
attack: {images: 1000, arms: {A: {}, C: {images: 4, loss: margin}}}
"""


@pytest.fixture
def large() -> Study:
    return parse_study(LARGE)


def test_scale_multiplies_every_number_of_images_down_to_its_floor(large: Study) -> None:
    small = scaled(large, 0.01)
    assert small.cohorts["A"].per_class == {"a": 500, "b": 10, "c": 30}
    assert small.cohorts["A"].train_sizes == (16, 200, 0.5)
    assert small.cohorts["B"].per_class == 1000
    assert small.sources["chest"].images == 1000
    assert small.cohorts["A"].phantom.images == 3 * 80
    assert (small.attack.images, small.attack.arm("C").images, small.attack.control_images) == (10, 4, 2)
    assert small.training == large.training


def test_a_smaller_study_is_scored_at_most_once_an_epoch(large: Study) -> None:
    epochs = large.model_copy(update={"training": TrainingSpec(epochs=2, evaluations=5)})
    assert scaled(epochs, 0.5).training.evaluations == 2
    assert scaled(epochs, 2.0).training.evaluations == 5
    assert scaled(large, 0.5).training.evaluations == large.training.evaluations


def test_scale_one_is_the_study_itself(large: Study) -> None:
    assert scaled(large, 1.0) is large


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_scale_that_is_no_size_is_refused(large: Study, scale: float) -> None:
    with pytest.raises(SpecError, match="--scale: a number above 0"):
        scaled(large, scale)


def test_phantoms_take_the_place_of_a_source_and_of_what_belongs_to_it(large: Study) -> None:
    study = on_phantoms(large)
    a, b = study.cohorts["A"], study.cohorts["B"]
    assert study.sources[a.source] == a.phantom
    assert (a.split, a.patient_id) == ("patient", None)
    assert b == large.cohorts["B"]
    assert "table" not in study.sources


def test_cohorts_without_phantoms_are_named() -> None:
    text = TINY.replace(
        "{kind: phantoms, phantom: histology, images: 100, size_px: 40, signal: 3}", "{kind: folder, path: p}"
    )
    with pytest.raises(SpecError, match=r"needs a `phantom` block, missing in H-BR\."):
        on_phantoms(parse_study(text))
