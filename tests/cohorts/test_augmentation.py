"""Copies of a class: how many, where they go, what they keep of their parents, and what they look like."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.cohorts import open_cohort
from advassay.cohorts.augmentation import make_copy, with_copies
from advassay.cohorts.selection_counts import SelectionCounts
from advassay.cohorts.split import assign_roles
from advassay.spec.cohort_spec import AugmentationSpec, CohortSpec
from tests.cohorts.conftest import CLASSES, picture, rows

RULE = AugmentationSpec.model_validate({"class": "ill", "to": 14_000})
STILL = {"rotation_deg": 0, "shift": 0, "scale": 0, "shear_deg": 0, "intensity": 0, "elastic": 0}


def rule(**changes: object) -> AugmentationSpec:
    return AugmentationSpec.model_validate({"class": "ill", "to": 14_000} | changes)


def cohort(augmentation: AugmentationSpec | None = RULE, **changes: object) -> CohortSpec:
    fields = {"source": "s", "classes": CLASSES, "augmentation": augmentation}
    return CohortSpec.model_validate(fields | changes)


def images(ill: int, well: int, per_patient: int = 1) -> pl.DataFrame:
    number = ill + well
    return pl.DataFrame(
        {
            "image_id": [f"i{k:06d}" for k in range(number)],
            "label": [0] * ill + [1] * well,
            "class_name": ["ill"] * ill + ["well"] * well,
            "patient_id": [f"p{k // per_patient}" for k in range(number)],
            "age": [k % 90 for k in range(number)],
        }
    )


def split(frame: pl.DataFrame, spec: CohortSpec) -> tuple[pl.DataFrame, SelectionCounts]:
    flow = SelectionCounts(frame.height)
    if spec.augmentation and spec.augmentation.sides == "before-split":
        return assign_roles(with_copies(frame, spec, 0, flow), spec, 0, flow), flow
    return with_copies(assign_roles(frame, spec, 0, flow), spec, 0, flow), flow


def ill(frame: pl.DataFrame) -> dict[str, int]:
    return dict(frame.filter(pl.col("class_name") == "ill")["role"].value_counts().iter_rows())


def test_both_sides_reach_the_published_numbers():
    whole, flow = split(images(1369, 2000), cohort(rule(sides="both")))
    counts = ill(whole)
    assert (counts["training"] + counts["tuning"], counts["validation"]) == (11_200, 2_800)
    assert whole.filter(pl.col("class_name") == "well").height == 2000
    assert (flow.kept, flow.steps[-1]["made"]) == (16_000, 14_000 - 1369)
    assert flow.steps[-1]["classes"] == {"ill": 14_000, "well": 2000}


def test_by_default_only_training_images_get_copies():
    plain, _ = split(images(100, 100), cohort(None))
    whole, _ = split(images(100, 100), cohort(rule(to=1000)))
    assert ill(whole) == {"training": 720, "tuning": ill(plain)["tuning"], "validation": ill(plain)["validation"]}


@settings(max_examples=25, deadline=None)
@given(st.integers(10, 60), st.integers(1, 4), st.integers(1, 300), st.sampled_from(["training", "both"]))
def test_no_copy_crosses_the_split(parents, per_patient, to, sides):
    whole, _ = split(images(parents, 20, per_patient), cohort(rule(to=to, sides=sides)))
    copies = whole.filter(pl.col("parent_image_id").is_not_null())
    both = copies.join(whole, left_on="parent_image_id", right_on="image_id", suffix="_parent")
    assert both.height == copies.height
    for name in ("role", "patient_id", "label", "age"):
        assert both[name].equals(both[f"{name}_parent"])
    assert whole["image_id"].is_unique().all()
    assert whole.group_by("patient_id").agg(pl.col("role").n_unique())["role"].max() == 1


def test_copies_are_dealt_evenly_among_parents_and_a_larger_number_keeps_those_of_a_smaller():
    few, _ = split(images(30, 30), cohort(rule(to=100)))
    many, _ = split(images(30, 30), cohort(rule(to=1000)))
    copies = many.filter(pl.col("parent_image_id").is_not_null())
    per_parent = copies["parent_image_id"].value_counts()["count"].to_numpy()
    assert per_parent.max() - per_parent.min() <= 1
    assert set(few["image_id"]) <= set(many["image_id"])


def test_row_order_does_not_matter():
    one, _ = split(images(30, 30), cohort(rule(to=100)))
    two, _ = split(images(30, 30).reverse(), cohort(rule(to=100)))
    assert one.sort("image_id").equals(two.sort("image_id"))


def test_before_split_lets_copies_cross_and_says_so():
    whole, flow = split(images(30, 100), cohort(rule(to=300, sides="before-split"), split="image"))
    sides = whole.with_columns(pl.coalesce("parent_image_id", "image_id").alias("parent"))
    crossing = sides.group_by("parent").agg(pl.col("role").n_unique()).filter(pl.col("role") > 1)
    assert crossing.height >= 25
    assert any("copies were made before the split" in text for text in flow.warnings)


def test_copies_of_one_class_in_validation_are_warned_about():
    assert any(
        "one class only" in text for text in split(images(30, 30), cohort(rule(to=100, sides="both")))[1].warnings
    )
    assert split(images(30, 30), cohort(rule(to=100)))[1].warnings == []


def test_before_split_needs_a_split_by_image():
    with pytest.raises(ValidationError, match="before-split needs `split: image`"):
        cohort(rule(sides="before-split"))


@pytest.mark.parametrize("verb", [["plan", "--no-measure"], ["prepare", "-q"]])
def test_a_choice_that_inflates_the_score_is_said_before_and_after_preparing(tmp_path, verb):
    study = tmp_path / "study.yaml"
    study.write_text("""
name: small
training: {updates: 1}
image_size_px: 80
sources: {chests: {kind: phantoms, phantom: chest, images: 60, size_px: 32, prevalence: {tuberculosis: 0.3}}}
cohorts:
  X-TB:
    source: chests
    classes: {tuberculosis: {tuberculosis: present}, norm: {norm: present}}
    augmentation: {class: tuberculosis, to: 40, sides: both}
""")
    said = CliRunner().invoke(app, [verb[0], str(study), "--store", str(tmp_path / "store"), *verb[1:]])
    assert said.exit_code == 0, said.output
    assert "X-TB: augmentation: validation images of one class only were copied" in said.stderr


def test_a_class_that_is_large_enough_gets_no_copies_and_a_warning():
    whole, flow = split(images(30, 30), cohort(rule(to=20)))
    assert whole["parent_image_id"].null_count() == 60
    assert flow.warnings == ["augmentation: no copies were made for the training side, which has 22 images."]


@pytest.mark.parametrize(("changes", "says"), [({"class": "absent"}, "augmentation.class: one of"), (STILL, "above 0")])
def test_a_wrong_augmentation_says_which_rule_it_breaks(changes, says):
    with pytest.raises(ValidationError, match=says):
        cohort(AugmentationSpec.model_validate({"class": "ill", "to": 50} | changes))


@pytest.mark.parametrize(("bits", "shape"), [(8, (40, 30)), (16, (40, 30)), (16, (31, 33, 3))])
def test_a_copy_keeps_shape_and_depth_and_depends_on_its_key_alone(bits, shape):
    pixels = picture(1, bits=bits, shape=shape)
    one = make_copy(pixels, "parent", 1, RULE, 0)
    assert (one.shape, one.dtype) == (pixels.shape, pixels.dtype)
    make_copy(pixels, "parent", 2, RULE, 0)
    assert np.array_equal(one, make_copy(pixels, "parent", 1, RULE, 0))
    for other in (("parent", 2, RULE, 0), ("other", 1, RULE, 0), ("parent", 1, RULE, 1)):
        assert not np.array_equal(one, make_copy(pixels, *other))


def test_sixteen_bits_stay_sixteen_bits():
    ramp = (np.arange(64 * 64, dtype=np.uint16) + 30_000).reshape(64, 64)
    copy = make_copy(ramp, "parent", 1, rule(**(STILL | {"shift": 0.01})), 0)
    assert len(np.unique(copy)) > 2000


def test_one_strength_changes_one_thing():
    pixels = picture(3, bits=16, shape=(32, 32)) // 2 + 8_000
    brighter = make_copy(pixels, "p", 1, rule(**(STILL | {"intensity": 0.2})), 0).astype(float)
    slope, offset = np.polyfit(pixels.ravel(), brighter.ravel(), 1)
    assert np.abs(slope * pixels + offset - brighter).max() <= 1
    assert 0.64 <= slope <= 1.44


def test_geometry_stays_within_its_strengths():
    y, x = np.mgrid[:101, :101]
    middle = (np.hypot(x - 50, y - 50) < 4).astype(np.uint8) * 255
    for number in range(20):
        moved = make_copy(middle, "p", number, rule(**(STILL | {"shift": 0.1})), 0).astype(float)
        at = np.array([(moved * x).sum(), (moved * y).sum()]) / moved.sum()
        assert np.abs(at - 50).max() <= 10.1


def test_elastic_bends_by_no_more_than_its_share():
    columns = np.tile(np.arange(200, dtype=np.uint16) * 100, (200, 1))
    bent = make_copy(columns, "p", 1, rule(**(STILL | {"elastic": 0.02})), 0).astype(float)
    shift = np.abs(bent - columns)[:, 10:-10] / 100
    assert 0.1 < shift.max() <= 4.1


@pytest.mark.parametrize("bits", [8, 16])
def test_prepared_copies_carry_their_parent_and_its_depth(write_source, prepared, tmp_path, bits):
    made = prepared(write_source(rows(), bits=bits, shape=(20, 18)), augmentation={"class": "ill", "to": 60})
    folder = open_cohort(tmp_path / "cohort")
    copies = folder.manifest.filter(pl.col("parent_image_id").is_not_null())
    assert made.bits == bits
    assert made.copies["training"] == {"ill": copies.height, "well": 0}
    assert made.counts["training"]["ill"] == round(60 * 0.8 * 0.9)
    assert (made.candidates, made.flow[-1]["made"]) == (40, copies.height)
    assert set(copies["role"]) == {"training"}
    parents = dict(folder.manifest.select("image_id", "patient_id").iter_rows())
    assert [parents[parent] for parent in copies["parent_image_id"]] == copies["patient_id"].to_list()
    chosen = copies["image_id"].to_list()
    pixels = folder.images(chosen)
    assert np.unique(pixels.reshape(len(chosen), -1), axis=0).shape[0] == len(chosen)


def test_a_cohort_with_copies_is_the_same_however_it_is_made(write_source, prepared, tmp_path):
    declared = {"class": "ill", "to": 60}
    one = prepared(write_source(rows()), folder="one", augmentation=declared)
    two = prepared(write_source(rows()[::-1]), folder="two", augmentation=declared)
    other = prepared(write_source(rows()), folder="three", augmentation=declared | {"rotation_deg": 1})
    assert one.identity == two.identity != other.identity
    for file in ("manifest.parquet", "images-00000.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_region_and_copies_go_together(write_source, prepared, tmp_path):
    region = {"box": [0.2, 0.2, 0.8, 0.8]}
    made = prepared(write_source(rows(), shape=(40, 40)), augmentation={"class": "ill", "to": 60}, region=region)
    steps = [step["step"] for step in made.flow]
    assert steps.index("region") < steps.index("augmentation")
    manifest = open_cohort(tmp_path / "cohort").manifest
    assert manifest["region_left"].null_count() == 0
