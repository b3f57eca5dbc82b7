"""Every real slide of the data folder (skipped where absent): read as its README says, or a row with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import polars as pl
import pytest

from advassay.sources.read_failures import Unreadable
from advassay.sources.slides import Slide, SlidePaths, Tiles, make_tiles, open_slide
from advassay.sources.slides.tile_grid import Grid, lay_grid, read_tile
from advassay.spec.tile_spec import TileRules


@pytest.fixture(scope="module")
def wsi(data: Path) -> Path:
    folder = data / "wsi"
    if not folder.is_dir():
        pytest.skip(f"needs real slides: {folder} is not there")
    return folder


@pytest.fixture(scope="module")
def tiles(wsi: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiles:
    out = tmp_path_factory.mktemp("tiles")
    return make_tiles(SlidePaths(wsi), out / "tiles", TileRules(size_px=256, mpp=0.5, tiles_per_slide=5), key=b"k")


STATED = {  # file: OpenSlide vendor, level-0 size, levels, µm per pixel (None: none that can be believed)
    "aperio/CMU-1-Small-Region.svs": ("aperio", (2220, 2967), 1, 0.499),
    "aperio/TCGA-CR-7395-01A-01-TS1.svs": ("aperio", (4443, 3567), 2, None),
    "aperio/openslide-python-small.svs": ("aperio", (16, 16), 1, 0.499),
    "hamamatsu/test3-DAPI-2-(387).ndpi": ("hamamatsu", (3968, 4864), 7, 0.228),
    "hamamatsu/test3-TRITC-2-(560).ndpi": ("hamamatsu", (3968, 4864), 7, 0.228),
    "dicom/camelyon-jpeg/multi_frame_jpeg_camelyon_challenge_image.dcm": ("dicom", (1152, 700), 1, 28.97),
    "dicom/camelyon-jpeg2000/multi_frame_jpeg2000_camelyon_challenge_image.dcm": ("dicom", (1696, 812), 1, 28.97),
    "generic-tiff/CMU-1-Small-Region_derived_pyramid.tiff": ("generic-tiff", (2220, 2967), 4, 0.499),
    "generic-tiff/boxes-synthetic.tiff": ("generic-tiff", (300, 250), 4, None),
    "not-openslide/kidney-48-5.tif": ("tiff", (1493, 901), 1, None),
}
"""What the folder's README.md says of each."""


@pytest.mark.parametrize("name", STATED)
def test_a_slide_is_what_its_readme_says(wsi: Path, name: str) -> None:
    if not (wsi / name).exists():
        pytest.skip(f"{name} is not among the data")
    slide = open_slide(wsi / name, wsi)
    assert isinstance(slide, Slide)
    vendor, size, levels, mpp = STATED[name]
    assert (slide.format, slide.sizes[0], len(slide.sizes)) == (vendor, size, levels)
    assert slide.mpp == (None if mpp is None else pytest.approx(mpp, rel=2e-3))


def test_a_region_is_what_openslide_reads(wsi: Path) -> None:
    path = wsi / "generic-tiff/CMU-1-Small-Region_derived_pyramid.tiff"
    slide = open_slide(path, wsi)
    assert isinstance(slide, Slide)
    region = slide.region(512, 1024, 1, 100, 80)
    with openslide.OpenSlide(path) as reference:
        expected = np.asarray(reference.read_region((512, 1024), 1, (100, 80)).convert("RGB"))
    assert region is not None
    assert region.scanned == 1
    assert np.array_equal(region.pixels, expected)


def test_what_is_no_slide_is_unreadable_without_its_path(wsi: Path) -> None:
    found = open_slide(wsi / "not-openslide/small_dicom.dcm", wsi)
    assert isinstance(found, Unreadable)
    assert found.reason == "unsupported slide"
    assert "/" not in found.detail


def test_every_real_slide_is_a_row_read_or_with_a_reason(tiles: Tiles, wsi: Path) -> None:
    files = [path for path in wsi.rglob("*") if path.is_file() and path.suffix not in (".md", ".qptiff")]
    assert tiles.slides.height == len(files)
    lost = tiles.slides.filter(pl.col("status") == "left out")
    assert lost["reason"].null_count() == 0
    expected = {"no resolution stated", "smaller than a tile", "too coarse", "unsupported slide", "dark ground"}
    assert set(lost["reason"]) <= expected
    assert tiles.manifest["slide_id"].n_unique() == tiles.slides.filter(pl.col("tiles") > 0).height >= 2


def test_resampling_from_level_0_and_reading_a_stored_level_agree(wsi: Path, tmp_path: Path) -> None:
    # One section twice: the SVS has level 0 only; the pyramid stores about 1 µm per pixel as its level 1.
    means = []
    for name in ("aperio/CMU-1-Small-Region.svs", "generic-tiff/CMU-1-Small-Region_derived_pyramid.tiff"):
        slide = open_slide(wsi / name, wsi)
        assert isinstance(slide, Slide)
        grid = lay_grid(slide, TileRules(mpp=1.0))
        assert isinstance(grid, Grid)
        region = read_tile(slide, grid, 6)
        assert region is not None
        means.append(region.pixels.astype(float))
        slide.close()
    # 513 pixels are averaged into 256 here, 512 there: half a pixel of shift in places, on sharp tissue.
    shifted = np.abs(means[0] - np.roll(means[1], 3, axis=0)).mean()
    assert np.abs(means[0] - means[1]).mean() < min(10, shifted / 2)
