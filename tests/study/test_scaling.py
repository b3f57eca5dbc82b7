"""--scale and --source phantoms change how many images there are and where they come from, nothing else."""

from __future__ import annotations

import pytest
from tiny_study import TINY

from advassay.errors import AdvassayWarning, SpecError
from advassay.spec.study_spec import Study, TrainingSpec
from advassay.study import make_environment, parse_study, select_cohorts
from advassay.study.config.scaling import on_phantoms, scaled

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
  B: {source: chest, classes: {a: {sex: F}, b: {sex: M}}, per_class: 100000}
training: {updates: 10}
attack: {images: 1000, arms: {A: {}, C: {images: 4, loss: margin}}}
"""

RULED = """
name: ruled
sources:
  chest: {kind: phantoms, phantom: chest, images: 1500, ages: [17, 80]}
  breast: {kind: phantoms, phantom: histology, images: 900, images_per_patient: 4}
cohorts:
  X-NR3:
    source: chest
    where: {norm: present}
    classes: {young: {age: {range: [17, 24]}}, middle: {age: {range: [25, 41]}}, old: {age: {range: [42, 80]}}}
    balance: [sex]
    equal_classes: true
  H-BR: {source: breast, classes: {tumour: {tissue: tumour}, normal: {tissue: normal}}}
training: {updates: 10}
attack: {arms: {A: {}}}
"""


@pytest.fixture
def large() -> Study:
    return parse_study(LARGE)


def test_scale_multiplies_every_number_of_images_down_to_its_floor(large: Study) -> None:
    with pytest.warns(AdvassayWarning, match=r"larger than asked for: A\."):
        small = scaled(large, 0.01)
    assert small.cohorts["A"].per_class == {"a": 500, "b": 10, "c": 30}
    assert small.cohorts["A"].train_sizes == (16, 200, 0.5)
    assert small.cohorts["B"].per_class == 1000
    assert small.sources["chest"].images == 1000
    assert small.cohorts["A"].phantom.images == 3 * 20
    assert (small.attack.images, small.attack.arm("C").images, small.attack.control_images) == (10, 4, 2)
    assert small.training == large.training


def test_every_cohort_keeps_twenty_images_a_class_in_every_part_whatever_its_rules_leave_out() -> None:
    """X-NR3's rules keep a fifth of its phantoms, H-BR's all: both end up just above the floor, and are named."""
    with pytest.warns(AdvassayWarning, match=r"--scale 0\.01: .* at least 20 images.*: X-NR3, H-BR\."):
        small = scaled(parse_study(RULED), 0.01)
    for name, cohort in small.cohorts.items():
        counts = select_cohorts(small, make_environment("absent", device="cpu"))[name].counts()
        of_class = [sum(counts[role][c] for role in counts) for c in cohort.classes]
        assert all(images > 0 for classes in counts.values() for images in classes.values())
        assert 20 <= min(of_class) <= max(of_class) < 40


def test_a_smaller_study_is_scored_at_most_once_an_epoch(large: Study) -> None:
    epochs = large.model_copy(
        update={"training": TrainingSpec(epochs=2, evaluations=5), "cohorts": {"B": large.cohorts["B"]}}
    )
    assert scaled(epochs, 0.5).training.evaluations == 2
    assert scaled(epochs, 2.0).training.evaluations == 5
    assert scaled(epochs.model_copy(update={"training": large.training}), 0.5).training == large.training


def test_scale_one_is_the_study_itself(large: Study) -> None:
    assert scaled(large, 1.0) is large


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_scale_that_is_no_size_is_refused(large: Study, scale: float) -> None:
    with pytest.raises(SpecError, match="--scale: expected a number above 0"):
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
