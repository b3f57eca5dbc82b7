"""Slides scanned in part: tiles lie in that part; QuPath counts coordinates from its corner, ASAP does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_slides import stained

from advassay.sources.read_failures import Unreadable
from advassay.sources.slides.discover_slides import SlideFile
from advassay.sources.slides.slide import Region
from advassay.sources.slides.slide_readers import ImageSlide, _on_white
from advassay.sources.slides.tile_grid import Grid, lay_grid, read_tile
from advassay.sources.slides.tile_labels import Labelled, Labels
from advassay.sources.slides.tile_quality import rejected
from advassay.spec.tile_spec import SlideClasses, TileRules

RULES = TileRules(size_px=100)


@pytest.fixture
def slide() -> ImageSlide:
    """800 × 600 pixels, of which 400 × 300 from (250, 150) are scanned."""
    made = ImageSlide(stained(600, 800), "made")
    made.bounds = (250, 150, 400, 300)
    return made


def grid_of(slide: ImageSlide) -> Grid:
    grid = lay_grid(slide, RULES)
    assert isinstance(grid, Grid)
    return grid


def test_tiles_start_at_the_scanned_part_and_stay_in_it(slide: ImageSlide) -> None:
    grid = grid_of(slide)
    assert sorted(set(grid.x.tolist())) == [250, 350, 450, 550]
    assert sorted(set(grid.y.tolist())) == [150, 250, 350]


def test_qupath_counts_from_the_scanned_part_and_asap_from_the_slide(slide: ImageSlide, tmp_path: Path) -> None:
    ring = [[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]
    drawn = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {"name": "t"}}
    (tmp_path / "q.geojson").write_text(json.dumps(drawn))
    points = "".join(f'<Coordinate Order="{i}" X="{x + 250}" Y="{y + 150}"/>' for i, (x, y) in enumerate(ring))
    (tmp_path / "a.xml").write_text(
        f'<ASAP_Annotations><Annotations><Annotation Type="Polygon" PartOfGroup="t"><Coordinates>{points}'
        "</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )
    for name in ("q.svs", "a.svs"):
        labels = Labels(SlideClasses(), tmp_path, None)
        found = labels.classify(slide, SlideFile(name, tmp_path), None, grid_of(slide).boxes())
        assert isinstance(found, Labelled)
        assert [tile.label for tile in found.tiles] == ["t"] + [None] * 11


def test_what_the_scanner_did_not_cover_is_white_counted_and_rejected() -> None:
    rgba = np.full((10, 10, 4), 200, np.uint8)
    rgba[:, :3, 3] = 0
    region = _on_white(rgba)
    assert region.scanned == pytest.approx(0.7)
    assert (region.pixels[:, :3] == 255).all()
    assert (region.pixels[:, 3:] == 200).all()
    found = rejected(region, TileRules(min_sharpness=0))
    assert isinstance(found, Unreadable)
    assert found.reason == "not scanned"
    assert rejected(region, TileRules(min_sharpness=0, min_scanned=0.7)) is None


def test_a_tile_beyond_an_image_is_white_there(slide: ImageSlide) -> None:
    region = slide.region(750, 550, 0, 100, 100)
    assert isinstance(region, Region)
    assert region.scanned == 0.25
    assert (region.pixels[50:] == 255).all()
    assert read_tile(slide, grid_of(slide), 0) is not None
