"""Broken slides are rows with a reason, damaged places are counted; nothing crashes, leaves its folder or grows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from made_slides import on_glass, stained, write_png, write_slide

from advassay.sources.slides import Slide, SlidePaths, Tiles, make_tiles, open_slide
from advassay.spec.tile_spec import TileRules

ALL = TileRules(size_px=64, tissue="any", min_tissue=0, max_pen=1, min_sharpness=0, min_scanned=0)


def made(tmp_path: Path, rules: TileRules = ALL) -> Tiles:
    return make_tiles(SlidePaths(tmp_path / "in"), tmp_path / "out", rules, key=b"k")


def reasons(tmp_path: Path) -> list[str | None]:
    return made(tmp_path).slides["reason"].to_list()


def test_each_kind_of_broken_slide_is_a_row_with_its_reason(tmp_path: Path) -> None:
    whole = write_slide(tmp_path / "in" / "a-good.tif", stained(300, 300)).read_bytes()
    for name, data in {
        "b-empty.svs": b"",
        "c-text.svs": b"this is a report, not a slide",
        "d-cut.tif": whole[: len(whole) // 2],
        "e-head.ndpi": whole[:9],
        "f-text.dcm": b"\0" * 128 + b"DICM" + b"junk" * 10,
        "g-zeros.mrxs": bytes(4096),
    }.items():
        (tmp_path / "in" / name).write_bytes(data)
    (tmp_path / "in" / "h-gone.svs").symlink_to(tmp_path / "nowhere.svs")
    write_slide(tmp_path / "elsewhere.tif", stained(100, 100))
    (tmp_path / "in" / "i-outside.tif").symlink_to(tmp_path / "elsewhere.tif")
    (tmp_path / "in" / "j-folder.svs").mkdir()
    os.mkfifo(tmp_path / "in" / "k-pipe.svs")
    slides = made(tmp_path).slides
    assert slides["status"].to_list() == ["read"] + ["left out"] * 9
    found = slides["reason"].to_list()
    assert found[1:3] == ["empty file", "not an image"]
    assert found[3] in ("damaged", "unsupported slide")
    assert found[7:] == ["missing", "outside the folder", "not a file"]
    assert slides["slide_id"].n_unique() == slides.height
    for detail in slides["detail"].drop_nulls():
        assert str(tmp_path) not in detail


def test_a_file_is_what_its_content_says_not_its_name(tmp_path: Path) -> None:
    write_png(tmp_path / "in" / "a.png", stained(100, 100)).rename(tmp_path / "in" / "a.svs")
    slides = made(tmp_path).slides
    assert slides.select("status", "format", "tiles").rows() == [("read", "png", 1)]


def test_a_slide_without_permission_is_a_row(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "in" / "a.tif", stained(100, 100))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert reasons(tmp_path) == ["no permission"]


def test_a_damaged_place_costs_its_tiles_only(tmp_path: Path) -> None:
    pixels = stained(256, 512)
    path = tmp_path / "in" / "a.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", compression="zlib")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[5]
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = b"\xff" * 40
    path.write_bytes(data)
    for attempt in range(10):  # two threads read: the error of one must not become the other's
        again = make_tiles(SlidePaths(tmp_path / "in"), tmp_path / f"out{attempt}", ALL, key=b"k").slides
        assert again.select("tiles", "damaged").rows() == [(31, 1)]


def test_a_slide_that_vanishes_while_it_is_read_is_damaged_no_error(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stained(64, 128), tile=(64, 64), photometric="rgb", compression="zlib")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[1]
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = b"\xff" * 40
    path.write_bytes(data)
    slide = open_slide(path, tmp_path)
    assert isinstance(slide, Slide)
    path.unlink()
    assert slide.region(64, 0, 0, 64, 64) is None
    assert slide.region(0, 0, 0, 64, 64) is None


def test_sixteen_bits_stay_sixteen(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (128, 128), np.uint16)
    path = write_slide(tmp_path / "in" / "a.tif", pixels, tile=64)
    assert path.exists()
    manifest = made(tmp_path).manifest
    for image, x, y in manifest.select("image", "x", "y").iter_rows():
        tile = cv2.imread(str(tmp_path / "out" / image), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(tile, pixels[y : y + 64, x : x + 64])


def test_a_fluorescence_slide_is_named_as_such_and_read_by_its_own_rule(tmp_path: Path) -> None:
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[:128, :128, 2] = stained(128, 128)[:, :, 0]
    write_slide(tmp_path / "in" / "a.tif", pixels)
    assert made(tmp_path, TileRules(size_px=64)).slides["reason"].to_list() == ["dark ground"]
    rules = TileRules(size_px=64, tissue="fluorescence")
    tiles = make_tiles(SlidePaths(tmp_path / "in"), tmp_path / "lit", rules, key=b"k").manifest
    assert sorted(tiles.select("x", "y").rows()) == [(0, 0), (0, 64), (64, 0), (64, 64)]
    write_slide(tmp_path / "bright" / "a.tif", stained(256, 256))
    bright = make_tiles(SlidePaths(tmp_path / "bright"), tmp_path / "not", rules, key=b"k").slides
    assert bright["reason"].to_list() == ["bright ground"]


def test_glass_alone_gives_no_tile(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-2, 3, (512, 512, 3))
    write_slide(tmp_path / "in" / "a.tif", (on_glass(512, 512, (0, 0, 0, 0)).astype(int) + noise).astype(np.uint8))
    row = made(tmp_path, TileRules(size_px=64)).slides.row(0, named=True)
    assert (row["tiles"], row["background"]) == (0, 64)


_MEASURE = """
import sys
from pathlib import Path
from advassay.spec.tile_spec import TileRules
from advassay.sources.slides import SlidePaths, make_tiles
make_tiles(SlidePaths(Path(sys.argv[1])), Path(sys.argv[2]), TileRules(tiles_per_slide=3), key=b"k")
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""  # the peak of this process alone; getrusage would count what the test itself held when it started it


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see a process's peak memory")
def test_memory_does_not_grow_with_the_slide(tmp_path: Path) -> None:
    # One level only, so that the overview must be streamed too: 20 MB of pixels against 79 MB.
    peak = {}
    for times in (5, 10):
        folder = tmp_path / str(times)
        write_slide(folder / "a.tif", np.tile(stained(512, 512), (times, times, 1)))
        command = [sys.executable, "-c", _MEASURE, str(folder), str(tmp_path / f"out{times}")]
        peak[times] = 1024 * int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert peak[10] - peak[5] < 25e6
