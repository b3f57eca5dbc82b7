"""Tiles are what the slide holds, where the manifest says, and every cell of the grid is accounted for."""

from __future__ import annotations

import stat
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from made_slides import on_glass, stained, write_png, write_slide

from advassay.errors import SourceError, SpecError
from advassay.sources.slides import SlidePaths, Tiles, make_tiles
from advassay.sources.slides.tile_writer import REASONS
from advassay.spec.tile_spec import SlideClasses, TileRules

KEY = b"a key for tests only"
ALL = TileRules(tissue="any", min_tissue=0, max_pen=1, min_sharpness=0, min_scanned=0)


def made(
    folder: Path, output: Path, rules: TileRules = ALL, classes: SlideClasses | None = None, **places: Path
) -> Tiles:
    return make_tiles(SlidePaths(folder, **places), output, rules, classes, key=KEY)


def read_png(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return pixels if pixels.ndim == 2 else pixels[:, :, ::-1]


def test_an_image_of_2048_by_1536_gives_exactly_48_tiles_that_put_together_are_the_image(tmp_path: Path) -> None:
    pixels = stained(1536, 2048)
    write_png(tmp_path / "in" / "field.png", pixels)
    tiles = made(tmp_path / "in", tmp_path / "out", TileRules()).manifest
    assert tiles.height == 48
    whole = np.zeros_like(pixels)
    for image, x, y in tiles.select("image", "x", "y").iter_rows():
        whole[y : y + 256, x : x + 256] = read_png(tmp_path / "out" / image)
    assert np.array_equal(whole, pixels)


def test_tiles_of_a_slide_equal_its_regions_and_stay_inside(tmp_path: Path) -> None:
    pixels = stained(700, 900)
    write_slide(tmp_path / "in" / "a.tif", pixels)
    tiles = made(tmp_path / "in", tmp_path / "out", ALL.model_copy(update={"size_px": 100})).manifest
    assert tiles.height == 7 * 9
    for image, x, y in tiles.select("image", "x", "y").iter_rows():
        assert 0 <= x <= 800
        assert 0 <= y <= 600
        assert np.array_equal(read_png(tmp_path / "out" / image), pixels[y : y + 100, x : x + 100])


def test_a_level_is_chosen_at_or_above_the_resolution_and_averaged_down_to_it(tmp_path: Path) -> None:
    # Blocks of 6 × 6 pixels of one grey: at a third of the resolution every pixel is exactly one block.
    blocks = np.random.default_rng(0).integers(0, 256, (100, 100), np.uint8)
    pixels = np.kron(blocks, np.ones((6, 6), np.uint8))
    write_slide(tmp_path / "in" / "a.tif", np.stack([pixels] * 3, axis=2), mpp=0.25, levels=2)
    rules = ALL.model_copy(update={"size_px": 32, "mpp": 0.75})
    out = made(tmp_path / "in", tmp_path / "out", rules)
    assert out.slides["level"].to_list() == [1]  # 0.5 µm per pixel: the coarsest that is still finer than 0.75
    fine = made(tmp_path / "in", tmp_path / "exact", ALL.model_copy(update={"size_px": 16, "mpp": 1.5}))
    for image, x, y in fine.manifest.select("image", "x", "y").iter_rows():
        expected = blocks[y // 6 : y // 6 + 16, x // 6 : x // 6 + 16]
        assert np.abs(read_png(tmp_path / "exact" / image)[:, :, 0].astype(int) - expected).max() <= 1
    assert fine.manifest["mpp"].unique().to_list() == pytest.approx([1.5])
    assert out.manifest["mpp"].unique().to_list() == pytest.approx([0.75])


def test_tiles_never_overlap_whatever_the_resolution(tmp_path: Path) -> None:
    write_slide(tmp_path / "in" / "a.tif", stained(800, 1000), mpp=0.25, levels=3)
    for number, mpp in enumerate((0.31, 0.5, 0.777, 1.3)):
        rules = ALL.model_copy(update={"size_px": 64, "mpp": mpp})
        tiles = made(tmp_path / "in", tmp_path / str(number), rules).manifest
        side = 64 * tiles["mpp"][0] / 0.25
        for axis, extent in (("x", 1000), ("y", 800)):
            edges = tiles[axis].unique().sort()
            assert (edges.diff().drop_nulls() >= side - 1e-9).all()
            assert edges[-1] + side <= extent + 1e-9


def test_without_a_stated_resolution_a_slide_is_left_out_or_assumed(tmp_path: Path) -> None:
    write_png(tmp_path / "in" / "a.png", stained(300, 300))
    rules = TileRules(size_px=64, mpp=1.0)
    row = made(tmp_path / "in", tmp_path / "out", rules).slides.row(0, named=True)
    assert (row["status"], row["reason"]) == ("left out", "no resolution stated")
    assumed = made(tmp_path / "in", tmp_path / "assumed", rules.model_copy(update={"assume_mpp": 0.5}))
    assert assumed.slides["mpp_from"].to_list() == ["assumed"]
    assert assumed.manifest.height == 4


def test_a_slide_coarser_than_asked_is_never_enlarged(tmp_path: Path) -> None:
    write_slide(tmp_path / "in" / "a.tif", stained(300, 300), mpp=1.0)
    assert made(tmp_path / "in", tmp_path / "out", TileRules(mpp=0.5)).slides["reason"].to_list() == ["too coarse"]


def test_tissue_shares_are_those_of_the_slide_and_background_is_rejected(tmp_path: Path) -> None:
    write_slide(tmp_path / "in" / "a.tif", on_glass(512, 1024, (128, 0, 1024, 256)))
    out = made(tmp_path / "in", tmp_path / "out", TileRules(size_px=256, min_tissue=0.6))
    assert out.manifest.select("x", "y").rows() == [(256, 0), (512, 0), (768, 0)]
    assert out.slides["background"].to_list() == [5]
    half = made(tmp_path / "in", tmp_path / "half", TileRules(size_px=256, min_tissue=0.4)).manifest
    assert half.filter(pl.col("x") == 0)["tissue_share"].to_list() == pytest.approx([0.5], abs=0.02)


def test_ink_blur_and_blank_tiles_are_rejected_each_under_its_name(tmp_path: Path) -> None:
    pixels = stained(256, 1280)
    pixels[60:200, 256 + 60 : 512 - 60] = (30, 60, 200)  # blue marker
    pixels[:, 512:768] = cv2.GaussianBlur(pixels[:, 512:768], (0, 0), 8)
    pixels[:, 768:1024] = (190, 90, 160)
    write_slide(tmp_path / "in" / "a.tif", pixels)
    row = made(tmp_path / "in", tmp_path / "out", TileRules()).slides.row(0, named=True)
    assert {name: row[name] for name in ("tiles", "pen_mark", "blurred", "blank")} == {
        **{"tiles": 2, "pen_mark": 1, "blurred": 1, "blank": 1}
    }


def test_every_cell_is_a_tile_or_has_one_reason(tmp_path: Path) -> None:
    write_slide(tmp_path / "in" / "a.tif", on_glass(1000, 1000, (300, 300, 900, 900)))
    row = made(tmp_path / "in", tmp_path / "out", TileRules(size_px=64, tiles_per_slide=5)).slides.row(0, named=True)
    assert row["tiles"] == 5
    assert row["cells"] == row["tiles"] + sum(row[reason.replace(" ", "_")] for reason in REASONS)


def test_the_draw_depends_on_the_slide_alone_not_on_its_neighbours_or_its_name(tmp_path: Path) -> None:
    rules = TileRules(size_px=64, tiles_per_slide=4)
    write_slide(tmp_path / "one" / "b.tif", stained(600, 600))
    write_slide(tmp_path / "two" / "a.tif", stained(600, 600, seed=1))
    write_slide(tmp_path / "two" / "renamed.tif", stained(600, 600))
    alone = made(tmp_path / "one", tmp_path / "out1", rules).manifest
    beside = made(tmp_path / "two", tmp_path / "out2", rules).manifest.filter(
        pl.col("slide_id") == alone["slide_id"][0]
    )
    assert alone.equals(beside)
    other = made(tmp_path / "one", tmp_path / "out3", rules.model_copy(update={"seed": 1})).manifest
    assert not alone.select("x", "y").equals(other.select("x", "y"))


def test_the_same_command_goes_on_and_changes_nothing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_slide(tmp_path / "in" / f"{name}.tif", stained(300, 300, seed=ord(name)))
    rules = TileRules(size_px=64)
    first = made(tmp_path / "in", tmp_path / "out", rules)
    lost = tmp_path / "out" / first.manifest["image"][0]
    kept = tmp_path / "out" / first.manifest["image"][-1]
    bytes_before, time_before = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    again = made(tmp_path / "in", tmp_path / "out", rules)
    assert again.manifest.equals(first.manifest)
    assert again.slides.equals(first.slides)
    assert lost.read_bytes() == bytes_before
    assert kept.stat().st_mtime_ns == time_before


def test_a_folder_of_other_settings_is_refused_with_the_difference(tmp_path: Path) -> None:
    write_slide(tmp_path / "in" / "a.tif", stained(300, 300))
    made(tmp_path / "in", tmp_path / "out", TileRules(size_px=64))
    with pytest.raises(SpecError, match="size_px"):
        made(tmp_path / "in", tmp_path / "out", TileRules(size_px=32))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    with pytest.raises(SpecError, match="empty folder"):
        made(tmp_path / "in", tmp_path / "full")


def test_names_of_slides_and_patients_are_in_the_private_table_only(tmp_path: Path) -> None:
    write_slide(tmp_path / "in" / "SMITH-01.tif", stained(300, 300))
    out = made(tmp_path / "in", tmp_path / "out", ALL, SlideClasses(patient_pattern="^([A-Z]+)-"))
    assert out.manifest["patient_from"].unique().to_list() == ["name"]
    private = tmp_path / "out.sources.csv"
    assert "SMITH-01.tif" in private.read_text()
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    for path in (tmp_path / "out").rglob("*"):
        assert "SMITH" not in path.name
        assert not path.is_file() or b"SMITH" not in path.read_bytes()


def test_tiles_of_one_patient_share_a_pseudonym_and_a_slide_without_one_is_its_own(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_slide(tmp_path / "in" / f"{name}.tif", stained(128, 128, seed=ord(name)))
    table = tmp_path / "slides.csv"
    table.write_text("slide,label,patient_id,organ\na.tif,tumour,P1,ovary\nb,normal,P1,thyroid\n")
    classes = SlideClasses(table=str(table))
    rules = ALL.model_copy(update={"size_px": 64})
    rows = made(tmp_path / "in", tmp_path / "out", rules, classes, table=table).manifest.group_by("slide_id").first()
    by_label = {row["label"]: row for row in rows.iter_rows(named=True)}
    assert by_label["tumour"]["patient_id"] == by_label["normal"]["patient_id"] != by_label[None]["patient_id"]
    assert [by_label[name]["patient_from"] for name in ("tumour", "normal", None)] == ["table", "table", "slide"]
    assert [by_label[name]["organ"] for name in ("tumour", "normal", None)] == ["ovary", "thyroid", None]
    assert {path.name for path in (tmp_path / "out" / "images").iterdir()} == {"tumour", "normal", "unlabelled"}


def test_the_same_slide_under_two_names_is_used_once(tmp_path: Path) -> None:
    for name in ("a.tif", "deep/b.tif"):
        write_slide(tmp_path / "in" / name, stained(128, 128))
    slides = made(tmp_path / "in", tmp_path / "out", ALL.model_copy(update={"size_px": 64})).slides
    assert slides["reason"].to_list() == [None, "same slide twice"]


def test_a_folder_without_slides_is_an_error_with_a_fix(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("x")
    with pytest.raises(SourceError) as caught:
        made(tmp_path / "in", tmp_path / "out")
    assert ".svs" in caught.value.fix
    assert not (tmp_path / "out").exists()
