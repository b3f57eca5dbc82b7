"""Regions: what is found, what is left out and why, and what a person decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advassay.cohorts import open_cohort, prepare
from advassay.cohorts.regions.region_finders import Box, around_mask, chest_region, confidence
from advassay.cohorts.regions.region_review import export_review
from advassay.cohorts.regions.thorax_finder import Thorax, find_thorax
from advassay.errors import CohortError, SourceError
from advassay.sources.phantoms import landmarks, render
from advassay.spec.cohort_spec import CohortSpec, RegionSpec
from advassay.spec.source_spec import PhantomSource, TableSource
from advassay.store_documents import Preparation
from tests.cohorts.conftest import CLASSES, KEY, rows

CHESTS = PhantomSource(kind="phantoms", phantom="chest", images=24, prevalence={"aortic_rotation": 0.5}, size_px=96)
AORTA = RegionSpec(find="aorta")
ROTATION = {"rotation": {"aortic_rotation": "present"}, "norm": {"norm": "present"}}
THORAX = Thorax(left=10, top=10, width=80, height=84, fit=0.8, lead=0.2)


@pytest.fixture(scope="module")
def found() -> list[tuple[np.ndarray, Thorax, np.ndarray]]:
    """(image, thorax, the knob's x, y and radius in pixels) of each phantom."""
    images = render(CHESTS, range(CHESTS.images))
    truth = landmarks(CHESTS).select("knob_x", "knob_y", "knob_radius").to_numpy() * CHESTS.size_px
    thoraces = [find_thorax(image) for image in images]
    assert None not in thoraces
    return list(zip(images, thoraces, truth, strict=True))  # type: ignore[arg-type]


def test_the_crop_holds_the_aortic_knob_of_every_phantom(found):
    for _, thorax, (x, y, _) in found:
        region = chest_region(thorax, (96, 96), AORTA, None)
        assert region.confidence > 0.5
        assert region.box is not None
        assert region.box.left < x < region.box.right
        assert region.box.top < y < region.box.bottom


@pytest.mark.parametrize("change", ["gamma", "depth", "size", "margin"])
def test_exposure_depth_size_and_black_margins_do_not_move_the_thorax(found, change):
    image, thorax, _ = found[0]
    changed, offset, factor = image, np.zeros(4), 1.0
    if change == "gamma":
        changed = (65535 * (image / 65535) ** 0.8).astype(np.uint16)
    elif change == "depth":
        changed = (image >> 8).astype(np.uint8)
    elif change == "size":
        changed, factor = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC), 3.0
    else:
        changed, offset = np.pad(image, ((0, 0), (12, 12))), np.array([12, 0, 0, 0])
    again = find_thorax(changed)
    assert again is not None
    assert np.abs(np.array(again[:4]) / factor - offset - np.array(thorax[:4])).max() < 0.07 * 96


@pytest.mark.parametrize(
    "turn", [np.flipud, np.rot90, lambda image: image.max() - image], ids=["180", "90", "inverted"]
)
def test_turned_and_inverted_films_are_not_surely_found(found, turn):
    for image, _, _ in found[:4]:
        thorax = find_thorax(np.ascontiguousarray(turn(image)))
        assert thorax is None or confidence(thorax, (96, 96)) < AORTA.least_confidence


@pytest.mark.parametrize(
    "change", [{"height": 48}, {"closed": 0.1}, {"left": -2}, {"top": 18}, {"fit": 0.5}, {"lead": -0.05}]
)
def test_every_doubt_lowers_the_confidence(change):
    assert confidence(THORAX, (100, 100)) == 1.0
    assert confidence(THORAX._replace(**change), (100, 100)) < 0.9


def test_an_outline_that_ends_in_the_middle_of_the_lungs_is_doubted():
    cut_short = CHESTS.model_copy(update={"images": 100, "prevalence": {"aortic_rotation": 0.41}, "seed": 3})
    image = render(cut_short, [96])[0]
    thorax = find_thorax(image)
    assert thorax is not None
    assert thorax.height < 0.75 * thorax.width  # its lower lungs are bright
    assert confidence(thorax, (96, 96)) < 0.6


def test_noise_and_blank_images_are_not_surely_found():
    rng = np.random.default_rng(0)
    for size in (24, 96, 200):
        thorax = find_thorax(rng.normal(size=(size, size)))
        assert thorax is None or confidence(thorax, (96, 96)) < AORTA.least_confidence
    assert find_thorax(np.full((96, 96), 7, np.uint8)) is None


def test_pixel_spacing_sets_the_scale_and_unequal_spacing_the_shape():
    region = chest_region(THORAX, (100, 100), RegionSpec(find="aorta", side_mm=60), (3.0, 4.0))
    assert region.box is not None
    assert region.box.sides == (15, 20)
    by_thorax = chest_region(THORAX, (100, 100), RegionSpec(find="aorta", side_mm=70), None)
    assert by_thorax.box is not None
    assert by_thorax.box.sides == (20, 20)


@pytest.mark.parametrize(
    ("thorax", "spacing", "reason"),
    [
        (None, None, "no thorax"),
        (THORAX, (0.1, 0.1), "implausible size of the thorax in mm"),
        (THORAX._replace(top=-40.0), None, "reaches beyond the image"),
        (Thorax(40, 40, 12, 12, 0.9, 0.2), None, "smaller than 8 pixels"),
    ],
)
def test_implausible_geometry_is_a_reason(thorax, spacing, reason):
    region = chest_region(thorax, (100, 100), AORTA, spacing)
    assert (region.box, region.reason) == (None, f"region: {reason}")


def test_the_left_lung_is_on_the_right_of_the_image():
    left, right, both = (
        chest_region(THORAX, (100, 100), RegionSpec(find=name), None).box or Box(0, 0, 0, 0)
        for name in ("left-lung", "right-lung", "lungs")
    )
    assert right.left < left.left
    assert right.right < left.right
    assert (both.left, both.right) == (right.left - 2, left.right + 2)  # a wider box has a wider margin


@given(st.integers(0, 30), st.integers(0, 30), st.integers(8, 30), st.integers(8, 30))
def test_a_mask_gives_the_box_around_it(tmp_path_factory, left, top, width, height):
    folder = tmp_path_factory.mktemp("mask")
    mask = np.zeros((64, 60), np.uint8)
    mask[top : top + height, left : left + width] = 1
    cv2.imwrite(str(folder / "m.png"), mask)
    region = around_mask("m.png", folder, (60, 64), 0.0)
    assert region.box == Box(left, top, min(60, left + width), min(64, top + height))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (None, "no mask stated"),
        ("absent.png", "mask missing"),
        ("../m.png", "mask outside the folder"),
        ("text.png", "mask not an image"),
        ("empty.png", "empty mask"),
        ("small.png", "mask of another size than its image"),
    ],
)
def test_a_broken_mask_is_a_reason(tmp_path, path, reason):
    folder = tmp_path / "masks"
    folder.mkdir()
    (folder / "text.png").write_text("no picture")
    cv2.imwrite(str(tmp_path / "m.png"), np.ones((10, 10), np.uint8))
    cv2.imwrite(str(folder / "empty.png"), np.zeros((10, 10), np.uint8))
    cv2.imwrite(str(folder / "small.png"), np.ones((9, 10), np.uint8))
    assert around_mask(path, folder, (10, 10), 0.0).reason == f"region: {reason}"


@pytest.mark.parametrize(
    ("region", "says"),
    [
        ({}, "one of them, got none"),
        ({"find": "aorta", "mask": "m"}, "got find and mask"),
        ({"box": [0, 0, 2, 1]}, "within"),
    ],
)
def test_a_wrong_region_says_which_rule_it_breaks(region, says):
    with pytest.raises(ValueError, match=says):
        RegionSpec.model_validate(region)


@pytest.fixture
def chests(tmp_path: Path) -> Callable[..., Preparation]:
    """Prepare X-AO of the phantoms; `tmp_path` is the data folder."""

    def run(folder: str = "cohort", **region: object) -> Preparation:
        spec = CohortSpec.model_validate({"source": "p", "classes": ROTATION, "region": {"find": "aorta"} | region})
        return prepare(
            "X-AO", spec, CHESTS, size_px=32, seed=0, folder=tmp_path / folder, data=tmp_path, key=KEY,
            private=tmp_path / "private.parquet",
        )  # fmt: skip

    return run


def test_prepared_images_show_the_region_alone(chests, tmp_path):
    made = chests()
    cohort = open_cohort(tmp_path / "cohort")
    row = cohort.manifest.row(0, named=True)
    assert made.flow[-1]["step"] == "region"
    assert row["region_right"] - row["region_left"] < 40
    whole = open_cohort(tmp_path / "whole") if chests("whole", box=[0, 0, 1, 1], find=None) else None
    assert whole is not None
    assert not np.array_equal(cohort.images([row["image_id"]]), whole.images([row["image_id"]]))


def test_lists_win_over_what_was_found_and_change_the_identity(chests, tmp_path):
    first = chests()
    manifest = open_cohort(tmp_path / "cohort").manifest
    out, moved = manifest["image_id"][0], manifest["image_id"][1]
    (tmp_path / "reject.csv").write_text(f"image_id\n{out}\nstranger\n")
    rejected = chests(reject="reject.csv")
    assert [(item.reason, item.count) for item in rejected.left_out] == [("region: rejected by hand", 1)]
    assert "region: 1 image_ids of the lists are no images of this cohort." in rejected.warnings
    (tmp_path / "accept.csv").write_text(f"image_id,left,top,right,bottom\n{moved},10,20,40,50\n{out},,,,\n")
    both = chests(reject="reject.csv", accept="accept.csv")
    again = open_cohort(tmp_path / "cohort").manifest
    row = again.row(by_predicate=pl.col("image_id") == moved, named=True)
    assert [row[f"region_{edge}"] for edge in ("left", "top", "right", "bottom")] == [10, 20, 40, 50]
    assert out not in again["image_id"]
    assert len({first.identity, rejected.identity, both.identity}) == 3


def test_an_edited_list_is_honoured_and_an_unchanged_one_is_not_prepared_twice(chests, tmp_path):
    (tmp_path / "reject.csv").write_text("image_id\n")
    first = chests(reject="reject.csv")
    written = (tmp_path / "cohort/manifest.parquet").stat().st_mtime_ns
    assert chests(reject="reject.csv") == first
    assert (tmp_path / "cohort/manifest.parquet").stat().st_mtime_ns == written
    out = open_cohort(tmp_path / "cohort").manifest["image_id"][0]
    (tmp_path / "reject.csv").write_text(f"image_id\n{out}\n")
    assert sum(item.count for item in chests(reject="reject.csv").left_out) == 1


def test_doubtful_regions_are_left_out_unless_accepted(chests, tmp_path):
    chests("sure")
    manifest = open_cohort(tmp_path / "sure").manifest.sort("region_confidence")
    least = float(manifest["region_confidence"][4])
    (tmp_path / "accept.csv").write_text(f"image_id\n{manifest['image_id'][0]}\n")
    some = chests(least_confidence=least, accept="accept.csv")
    doubtful = int((manifest["region_confidence"] < least).sum())
    assert {item.reason: item.count for item in some.left_out} == {"region: not surely found": doubtful - 1}
    assert manifest["image_id"][0] in open_cohort(tmp_path / "cohort").manifest["image_id"]


def test_a_list_that_cannot_be_used_says_what_to_do(chests, tmp_path):
    with pytest.raises(SourceError, match="no such table"):
        chests(accept="absent.csv")
    (tmp_path / "accept.csv").write_text("image\nx\n")
    with pytest.raises(CohortError, match=r"region.accept: expected a column image_id.*found.csv"):
        chests(accept="accept.csv")


def test_odd_boxes_of_a_list_are_warned_about_and_no_path_is_kept(chests, tmp_path):
    chests("first")
    image = open_cohort(tmp_path / "first").manifest["image_id"][0]
    (tmp_path / "accept.csv").write_text(f"image_id,left,top,right,bottom\n{image},50,20,40,50\n")
    made = chests(accept=str(tmp_path / "accept.csv"))
    assert any("1 lines without a box that can be" in text for text in made.warnings)
    assert str(tmp_path) not in made.model_dump_json()
    assert made.spec["region"]["accept"] == "accept.csv"


def test_mask_files_of_a_table_crop_its_images(write_source, prepared, tmp_path):
    source: TableSource = write_source(rows(), shape=(40, 30))
    for number in range(40):
        mask = np.zeros((40, 30), np.uint8)
        mask[10:30, 5:25] = 255 * (number != 7)
        cv2.imwrite(str(tmp_path / f"data/files/mask_{number}.png"), mask)
    table = pl.read_csv(tmp_path / "data/table.csv").with_columns(mask=pl.col("image").str.replace("SMITH", "mask"))
    table.write_csv(tmp_path / "data/table.csv")
    made = prepared(source, region={"mask": "mask", "margin": 0})
    assert {item.reason: item.count for item in made.left_out} == {"region: empty mask": 1}
    manifest = open_cohort(tmp_path / "cohort").manifest
    assert manifest.select("region_left", "region_top", "region_right", "region_bottom").unique().rows() == [
        (5, 10, 25, 30)
    ]
    assert made.identity != prepared(source, folder="wide", region={"mask": "mask", "margin": 0.2}).identity


def test_a_box_by_shares_needs_no_look_at_the_image(write_source, prepared, tmp_path):
    prepared(write_source(rows(), shape=(40, 30)), region={"box": [0, 0.5, 1, 1]}, classes=CLASSES)
    row = open_cohort(tmp_path / "cohort").manifest.row(0, named=True)
    assert [row[f"region_{edge}"] for edge in ("left", "top", "right", "bottom")] == [0, 20, 30, 40]


def test_looking_over_writes_sheets_a_table_and_lists_that_stay(tmp_path):
    spec = CohortSpec.model_validate({"source": "p", "classes": ROTATION, "region": "aorta"})
    out = tmp_path / "sheets"
    table = export_review("X-AO", spec, CHESTS, data=None, out=out, most=5)
    assert table.height == CHESTS.images
    assert table["confidence"].is_sorted()
    assert table["sheet"].drop_nulls().to_list() == [1] * 5
    sheet = cv2.imread(str(out / "sheet-001.png"))
    assert len(list(out.glob("sheet-*.png"))) == 1
    assert np.all(sheet == np.array([90, 220, 60]), axis=2).sum() > 500  # the boxes
    image = table["image_id"][0]
    with (out / "reject.csv").open("a") as file:
        file.write(f"{image}\n")
    listed = RegionSpec(find="aorta", reject=str(out / "reject.csv"), accept=str(tmp_path / "yet to come.csv"))
    again = export_review("X-AO", spec.model_copy(update={"region": listed}), CHESTS, data=None, out=out, most=1)
    assert again.filter(~pl.col("kept"))["image_id"].to_list() == [image]
    assert (out / "reject.csv").read_text().count("\n") == 2
    assert pl.read_csv(out / "found.csv").height == CHESTS.images


def test_only_a_cohort_with_a_region_can_be_looked_over(tmp_path):
    spec = CohortSpec.model_validate({"source": "p", "classes": ROTATION})
    with pytest.raises(CohortError, match="expected a cohort with a region"):
        export_review("X-AO", spec, CHESTS, data=None, out=tmp_path)
