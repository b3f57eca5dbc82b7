"""Regions drawn on slides give tiles their class; a broken file is a reason, a broken outline is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from made_slides import stained, write_png, write_slide

from advassay.sources.slides import SlidePaths, Tiles, make_tiles
from advassay.sources.slides.annotation_files import Outline, RegionFile, read_regions
from advassay.sources.slides.tile_labels import merge_outlines, region_shares
from advassay.spec.tile_spec import SlideClasses, TileRules

ALL = TileRules(size_px=100, tissue="any", min_tissue=0, max_pen=1, min_sharpness=0, min_scanned=0)


def polygon(*points: tuple[float, float]) -> list[list[list[float]]]:
    return [[list(point) for point in (*points, points[0])]]


def feature(coordinates: Any, name: str = "Tumor", kind: str = "Polygon", **properties: Any) -> dict[str, Any]:
    classified = {"objectType": "annotation", "classification": {"name": name, "color": [1, 2, 3]}}
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": classified | properties,
    }


LEFT_HALF = polygon((0, 0), (250, 0), (250, 400), (0, 400))


def geojson(path: Path, *features: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))
    return path


def asap(*annotations: tuple[str, str, list[tuple[str, str]]]) -> str:
    listed = "".join(
        f'<Annotation Name="a" Type="{kind}" PartOfGroup="{group}"><Coordinates>'
        + "".join(f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>' for i, (x, y) in enumerate(points))
        + "</Coordinates></Annotation>"
        for kind, group, points in annotations
    )
    return f'<?xml version="1.0"?><ASAP_Annotations><Annotations>{listed}</Annotations></ASAP_Annotations>'


def cut(tmp_path: Path, text: str | bytes, ending: str = ".geojson", **classes: Any) -> Tiles:
    """Tiles of a slide of 500 × 400 pixels whose region file holds `text`."""
    write_slide(tmp_path / "in" / "a.tif", stained(400, 500))
    path = tmp_path / "regions" / f"a{ending}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    spec = SlideClasses(annotations=str(path.parent), **classes)
    places = SlidePaths(tmp_path / "in", annotations=path.parent)
    return make_tiles(places, tmp_path / "out", ALL, spec, key=b"k")


def test_a_tile_has_a_class_where_its_share_suffices_and_is_counted_where_not(tmp_path: Path) -> None:
    text = json.dumps([feature(LEFT_HALF)])
    made = cut(tmp_path, text, min_share=0.6, outside="normal", regions={"Tumor": "tumour"})
    assert set(made.manifest.filter(pl.col("label") == "tumour")["x"]) == {0, 100}
    assert set(made.manifest.filter(pl.col("label") == "normal")["x"]) == {300, 400}
    assert made.slides["between_classes"].to_list() == [4]
    assert made.slides["label"].to_list() == [None]


def test_without_an_outside_class_tiles_that_no_region_touches_are_left_out(tmp_path: Path) -> None:
    made = cut(tmp_path, json.dumps(feature(LEFT_HALF)), min_share=0.5)
    assert set(made.manifest["x"]) == {0, 100, 200}
    assert made.manifest.filter(pl.col("x") == 200)["label_share"].to_list() == [0.5] * 4
    assert made.slides["outside_every_region"].to_list() == [8]


def test_asap_groups_are_classes_and_a_cut_out_group_is_no_class(tmp_path: Path) -> None:
    whole = [("0", "0"), ("500", "0"), ("500", "400"), ("0", "400")]
    corner = [("0", "0"), ("100,0", "0"), ("100", "100"), ("0", "100")]
    text = asap(("Polygon", "_0", whole), ("Spline", "_2", corner), ("Dot", "_0", corner[:1]))
    made = cut(tmp_path, text, ".xml", regions={"_0": "tumour", "_2": "-"})
    assert made.manifest.height == 19
    assert (0, 0) not in made.manifest.select("x", "y").rows()
    assert made.slides["notes"].to_list() == ["skipped: no area: Dot: 1"]


def test_an_outline_that_crosses_itself_is_mended_and_counted(tmp_path: Path) -> None:
    bow = polygon((0, 0), (500, 400), (500, 0), (0, 400))
    made = cut(tmp_path, json.dumps(feature(bow)), min_share=0.99)
    assert made.slides["notes"].to_list() == ["mended: an outline that crosses itself: 1"]
    assert made.manifest.height > 0


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><ASAP_Annotations>&c;</ASAP_Annotations>'
)
OUTSIDER = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><ASAP_Annotations>&e;</ASAP_Annotations>'


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ("", ".geojson"),
        ("{", ".geojson"),
        ("[" * 100_000, ".json"),
        ('{"type": "FeatureCollection"}', ".geojson"),
        ("7", ".geojson"),
        (b"\xff\xfe{}", ".geojson"),
        ("<a><b></a>", ".xml"),
        ("<other/>", ".xml"),
        (LAUGHS, ".xml"),
        (OUTSIDER, ".xml"),
        (asap(("Polygon", "t", [("0", "0"), ("nan", "1"), ("1", "1")])), ".xml"),
        (asap(("Polygon", "t", [("0", "0"), ("1", "1")])), ".xml"),
        (json.dumps(feature(polygon((0, 0), (1e300, 0), (1, 1)))), ".geojson"),
        (json.dumps(feature(["x"])), ".geojson"),
        (json.dumps(feature([], kind="MultiPolygon")), ".geojson"),
        (json.dumps(feature([1, 2], kind="Point")), ".geojson"),
        (
            '[{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[NaN, 0], [1, 1], [2, 0]]]}}]',
            ".json",
        ),
    ],
)
def test_a_broken_region_file_is_a_slide_left_out_with_the_reason(
    tmp_path: Path, text: str | bytes, ending: str
) -> None:
    row = cut(tmp_path, text, ending).slides.row(0, named=True)
    assert (row["status"], row["reason"]) == ("left out", "unusable region file")
    assert row["detail"]
    assert "passwd" not in row["detail"]


def test_one_broken_outline_does_not_spoil_the_others(tmp_path: Path) -> None:
    features = [feature(LEFT_HALF), feature([[[0, 0], ["x", 1]]]), {"geometry": None}, 5]
    made = cut(tmp_path, json.dumps({"type": "FeatureCollection", "features": features}))
    assert made.manifest.height == 12
    assert made.slides["notes"].to_list() == ["skipped: broken outline: 1; skipped: not a feature: 2"]


def test_a_changed_region_file_moves_its_tiles(tmp_path: Path) -> None:
    before = cut(tmp_path, json.dumps(feature(LEFT_HALF, "old"))).manifest
    after = cut(tmp_path, json.dumps(feature(LEFT_HALF, "new"))).manifest
    assert set(after["label"]) == {"new"}
    assert before.height == after.height
    assert not list((tmp_path / "out" / "images").glob("old/*.png"))


def test_a_slide_without_a_region_file_has_its_row_s_class_or_is_left_out(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_slide(tmp_path / "in" / f"{name}.tif", stained(200, 200, seed=ord(name)))
    (tmp_path / "regions").mkdir()
    table = tmp_path / "t.csv"
    table.write_text("slide,label\na,normal\n")
    spec = SlideClasses(table=str(table), annotations=str(tmp_path / "regions"))
    places = SlidePaths(tmp_path / "in", table=table, annotations=tmp_path / "regions")
    made = make_tiles(places, tmp_path / "out", ALL, spec, key=b"k")
    assert made.manifest["label"].to_list() == ["normal"] * 4
    assert made.slides["reason"].to_list() == [None, "no region file"]


def test_mask_values_are_classes_by_their_share_at_any_size_of_the_mask(tmp_path: Path) -> None:
    write_slide(tmp_path / "in" / "a.tif", stained(400, 800))
    mask = np.zeros((100, 200), np.uint8)
    mask[:, :50] = 1  # the left 200 pixels of the slide
    mask[:50, 50:65] = 2  # 60 % of one tile's width, upper half
    write_png(tmp_path / "masks" / "a_mask.png", mask)
    classes = SlideClasses(masks=str(tmp_path / "masks"), regions={"0": "normal", "1": "tumour", "2": "stroma"})
    places = SlidePaths(tmp_path / "in", masks=tmp_path / "masks")
    made = make_tiles(places, tmp_path / "out", ALL, classes, key=b"k").manifest
    assert dict(made["label"].value_counts().iter_rows()) == {"tumour": 8, "stroma": 2, "normal": 22}
    assert made.filter(pl.col("label") == "stroma")["label_share"].to_list() == pytest.approx([0.6, 0.6])


def test_a_mask_of_another_shape_or_in_colour_is_refused_with_the_reason(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_slide(tmp_path / "in" / f"{name}.tif", stained(200, 400, seed=ord(name)))
    write_png(tmp_path / "masks" / "a.png", np.zeros((50, 50), np.uint8))
    write_png(tmp_path / "masks" / "b.png", stained(50, 100))
    (tmp_path / "masks" / "c.png").write_bytes(b"no image")
    places = SlidePaths(tmp_path / "in", masks=tmp_path / "masks")
    made = make_tiles(places, tmp_path / "out", ALL, SlideClasses(masks="masks"), key=b"k")
    assert made.slides["reason"].to_list() == ["unusable mask"] * 3
    assert len(set(made.slides["detail"])) == 3


boxes = st.tuples(*[st.integers(-50, 150)] * 2, *[st.integers(1, 120)] * 2)


@given(st.lists(boxes, min_size=1, max_size=5), boxes)
def test_shares_are_the_area_covered_counted_pixel_by_pixel(
    regions: list[tuple[int, ...]], tile: tuple[int, ...]
) -> None:
    outlines = [Outline("t", shapely.box(x, y, x + w, y + h)) for x, y, w, h in regions]
    x, y, w, h = tile
    _, found = region_shares(merge_outlines(outlines, {}), np.array([[x, y, x + w, y + h]], np.float64))
    grid = np.zeros((400, 400), bool)
    for left, upper, wide, high in regions:
        grid[upper + 60 : upper + high + 60, left + 60 : left + wide + 60] = True
    assert found[0, 0] == pytest.approx(grid[y + 60 : y + h + 60, x + 60 : x + w + 60].mean())


@given(st.binary(max_size=200), st.sampled_from([".geojson", ".xml"]))
def test_no_bytes_whatever_raise(tmp_path_factory: pytest.TempPathFactory, data: bytes, ending: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"regions{ending}"
    path.write_bytes(data)
    assert isinstance(read_regions(path), str | RegionFile)
