"""A study may name a folder of slides: its rows are candidate tiles, its pixels those that the verb writes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from made_slides import on_glass, stained, write_png, write_slide

from advassay.cohorts import prepare
from advassay.errors import SourceError
from advassay.identity import image_id
from advassay.sources import index, open_source
from advassay.sources.slides import SlidePaths, make_tiles, slides_state
from advassay.spec.cohort_spec import CohortSpec
from advassay.spec.source_spec import SlideSource
from advassay.spec.study_spec import Study
from advassay.spec.tile_spec import SlideClasses, TileRules
from advassay.study.path_privacy import redact_paths

KEY = b"a key for tests only"


def slides(tmp_path: Path) -> SlideSource:
    """Two patients: one with two tumour slides, one with a normal slide."""
    for seed, name in enumerate(("a", "b", "c")):
        write_slide(tmp_path / "in" / f"{name}.tif", on_glass(400, 400, (100, 0, 400, 400), seed))
    (tmp_path / "t.csv").write_text("slide,label,patient_id\na,tumour,P1\nb,tumour,P1\nc,normal,P2\n")
    return SlideSource(kind="slides", path="in", tiles=TileRules(size_px=100), classes=SlideClasses(table="t.csv"))


def test_the_source_and_the_verb_give_the_same_tiles(tmp_path: Path) -> None:
    source = slides(tmp_path)
    opened = open_source("slides", source, tmp_path)
    places = SlidePaths(tmp_path / "in", table=tmp_path / "t.csv")
    made = make_tiles(places, tmp_path / "out", source.tiles, source.classes, key=KEY)
    written = [cv2.imread(str(tmp_path / "out" / name))[:, :, ::-1] for name in made.manifest["image"]]
    read = [pixels for _, pixels in opened.read(opened.rows["row"].to_list())]
    assert [image_id(a) for a in read] == [image_id(np.ascontiguousarray(b)) for b in written]
    assert opened.rows.select("x", "y", "label").equals(made.manifest.select("x", "y", "label"))


def test_rows_may_be_read_in_any_order_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    opened = open_source("slides", slides(tmp_path), tmp_path)
    last = opened.rows.height - 1
    forwards = dict(opened.read([0, 5, last]))
    backwards = dict(opened.read([last, 5, 0]))
    assert all(np.array_equal(forwards[row], backwards[row]) for row in forwards)
    with pytest.raises(KeyError):
        list(opened.read([last + 1]))


def test_a_manifest_of_slides_holds_pseudonyms_and_no_names(tmp_path: Path) -> None:
    opened = open_source("slides", slides(tmp_path), tmp_path)
    manifest = index(opened, key=KEY).manifest
    assert manifest["patient_id"].n_unique() == 2
    assert manifest["slide_id"].n_unique() == 3
    assert not set(manifest["slide_id"]) & set(opened.rows["slide_id"])
    assert "path" not in manifest.columns


def test_what_turns_out_blurred_or_cannot_be_opened_is_counted(tmp_path: Path) -> None:
    pixels = stained(200, 400)
    pixels[:, 200:] = cv2.GaussianBlur(pixels[:, 200:], (0, 0), 8)
    write_slide(tmp_path / "in" / "a.tif", pixels)
    (tmp_path / "in" / "b.svs").write_bytes(b"no slide")
    source = SlideSource(kind="slides", path="in", tiles=TileRules(size_px=100))
    opened = open_source("slides", source, tmp_path)
    assert opened.left_out["reason"].to_list() == ["slide: not an image"]
    assert set(index(opened, key=KEY).left_out["reason"]) == {"unreadable: blurred"}


def test_tiles_per_slide_holds_for_each_class(tmp_path: Path) -> None:
    source = slides(tmp_path)
    few = source.model_copy(update={"tiles": TileRules(size_px=100, tiles_per_slide=2)})
    rows = open_source("slides", few, tmp_path).rows
    assert rows.group_by("slide_id").len()["len"].to_list() == [2, 2, 2]


def test_a_cohort_is_prepared_from_slides_with_patients_on_one_side(tmp_path: Path) -> None:
    source = slides(tmp_path)
    spec = CohortSpec(
        source="slides", classes={"tumour": {"label": "tumour"}, "normal": {"label": "normal"}}, split="none"
    )  # type: ignore[arg-type]
    document = prepare(
        "H",
        spec,
        source,
        size_px=32,
        seed=0,
        folder=tmp_path / "H",
        data=tmp_path,
        key=KEY,
        private=tmp_path / "p.parquet",
    )
    assert document.counts["validation"] == {"tumour": 24, "normal": 12}
    assert document.patients["validation"] == 2


def test_a_changed_slide_table_or_region_is_noticed(tmp_path: Path) -> None:
    slides(tmp_path)
    places = SlidePaths(tmp_path / "in", table=tmp_path / "t.csv")
    before = slides_state(places)
    assert slides_state(places) == before
    (tmp_path / "t.csv").write_text("slide,label\na,normal\n")
    changed = slides_state(places)
    write_png(tmp_path / "in" / "d.png", stained(100, 100))
    assert len({before, changed, slides_state(places)}) == 3


def test_a_store_keeps_no_folder_of_slides_and_their_tables(tmp_path: Path) -> None:
    source = SlideSource(kind="slides", path="/a/slides", classes=SlideClasses(table="/b/t.csv", annotations="/c/d"))
    spec = CohortSpec(source="s", classes={"a": {"label": "a"}, "b": {"label": "b"}})  # type: ignore[arg-type]
    study = Study(name="n", sources={"s": source}, cohorts={"c": spec}, training={"epochs": 1})  # type: ignore[arg-type]
    kept = redact_paths(study).sources["s"]
    assert isinstance(kept, SlideSource)
    assert (kept.path, kept.classes.table, kept.classes.annotations) == ("slides", "t.csv", "d")


def test_a_folder_without_one_usable_slide_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    write_slide(tmp_path / "in" / "a.tif", stained(50, 50))
    with pytest.raises(SourceError, match="smaller than a tile"):
        open_source("slides", SlideSource(kind="slides", path="in"), tmp_path)
