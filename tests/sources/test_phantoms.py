"""Phantoms: the truth table holds what the source promises, and an image depends on nothing but its index."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advassay.sources.kinds.phantom_images import open_phantoms
from advassay.sources.phantoms import render, table
from advassay.spec.source_spec import PhantomSource

KINDS = ["chest", "histology"]
ORGANS = ("ovary", "thyroid", "breast")
BOTH_FINDINGS = {"tuberculosis": 0.5, "aortic_rotation": 0.5}


def source(phantom: str, **fields: Any) -> PhantomSource:
    own: dict[str, Any] = {"prevalence": BOTH_FINDINGS} if phantom == "chest" else {"organs": ORGANS}
    return PhantomSource(
        **({"kind": "phantoms", "phantom": phantom, "size_px": 48, "images": 64, "seed": 5} | own | fields)
    )


@pytest.fixture(scope="module", params=KINDS)
def rendered(request: pytest.FixtureRequest) -> tuple[PhantomSource, np.ndarray]:
    spec = source(request.param)
    return spec, render(spec, range(spec.images))


def test_pixels_have_the_promised_shape_type_and_use_their_range() -> None:
    chest, tile = render(source("chest"), range(8)), render(source("histology"), range(8))
    assert chest.shape == (8, 48, 48)
    assert chest.dtype == np.uint16
    assert tile.shape == (8, 48, 48, 3)
    assert tile.dtype == np.uint8
    assert not (chest % 16).any(), "12-bit steps in the upper bits"
    for images in (chest, tile):
        spread = np.ptp(images.reshape(8, -1).astype(np.int64), axis=1)
        assert (spread > 0.3 * np.iinfo(images.dtype).max).all(), "no image is flat"
    assert len(np.unique(chest)) > 256, "more grey levels than 8 bits hold"


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_an_image_does_not_depend_on_what_is_rendered_with_it(
    rendered: tuple[PhantomSource, np.ndarray], data: st.DataObject
) -> None:
    spec, every = rendered
    chosen = data.draw(st.lists(st.integers(0, spec.images - 1), min_size=1, max_size=9))
    np.testing.assert_array_equal(render(spec, chosen), every[chosen])


@pytest.mark.parametrize("size", [33, 50])
@pytest.mark.parametrize("phantom", KINDS)
def test_batches_do_not_matter_at_sizes_that_fill_no_vector_register(phantom: str, size: int) -> None:
    spec = source(phantom, size_px=size)
    np.testing.assert_array_equal(render(spec, range(5))[3], render(spec, [3])[0])


@pytest.mark.parametrize("phantom", KINDS)
def test_a_larger_source_begins_with_the_smaller_one(phantom: str) -> None:
    small, large = source(phantom), source(phantom, images=200)
    assert table(small).equals(table(large).head(64))
    np.testing.assert_array_equal(render(small, [0, 41, 63]), render(large, [0, 41, 63]))


def test_all_images_differ_and_change_with_the_seed(rendered: tuple[PhantomSource, np.ndarray]) -> None:
    spec, every = rendered
    assert len({image.tobytes() for image in every}) == spec.images
    other = render(spec.model_copy(update={"seed": 6}), [0, 1])
    assert (other != every[:2]).mean() > 0.5


def test_at_signal_0_a_radiograph_ignores_age_and_findings() -> None:
    one = source("chest", signal=0.0, prevalence={}, ages=(20.0, 20.0))
    two = source("chest", signal=0.0, ages=(70.0, 70.0))
    assert (table(one)["norm"] != table(two)["norm"]).any()
    np.testing.assert_array_equal(render(one, range(12)), render(two, range(12)))


@pytest.mark.parametrize(("column", "values"), [("tissue", ["tumour", "normal"]), ("organ", list(ORGANS))])
def test_at_signal_0_a_tile_ignores_tissue_and_organ(
    column: str, values: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from advassay.sources.phantoms.histology import tile

    spec, truth_of = source("histology", signal=0.0), tile.truth_of
    seen = []
    for value in values:
        monkeypatch.setattr(tile, "truth_of", lambda s, i, v=value: truth_of(s, i) | {column: np.full(len(i), v)})
        seen.append(render(spec, range(8)))
    for other in seen[1:]:
        np.testing.assert_array_equal(seen[0], other)


@pytest.mark.parametrize("finding", ["tuberculosis", "aortic_rotation"])
def test_a_finding_shows_in_patients_who_have_it_and_in_no_others(finding: str) -> None:
    without = source("chest", prevalence={})
    with_it = source("chest", prevalence={finding: 0.5})
    present = (table(with_it)[finding] == "present").to_numpy()
    same = (render(without, range(64)) == render(with_it, range(64))).all(axis=(1, 2))
    assert same[~present].all()
    assert same[present].mean() < 0.2, "only the mildest disease stays unseen"


@pytest.mark.parametrize("phantom", KINDS)
def test_images_of_one_patient_look_more_alike_than_images_of_two(phantom: str) -> None:
    organ = {} if phantom == "chest" else {"organs": ("breast",)}
    spec = source(phantom, images=90, images_per_patient=3, signal=0.0, **organ)
    patient = table(spec)["patient"].to_numpy()
    summary = _summary(render(spec, range(90)))
    distance = np.linalg.norm(summary[:, None] - summary[None], axis=-1)
    kin = patient[:, None] == patient[None]
    np.fill_diagonal(kin, False)
    strangers = patient[:, None] != patient[None]
    assert distance[kin].mean() < 0.93 * distance[strangers].mean()


def _summary(images: np.ndarray) -> np.ndarray:
    """Chest: shape (the normalised image); histology: mean colour."""
    flat = images.reshape(len(images), -1, 3 if images.ndim == 4 else 1).astype(np.float64)
    if images.ndim == 4:
        return flat.mean(axis=1)
    return ((flat - flat.mean(axis=1, keepdims=True)) / flat.std(axis=1, keepdims=True))[..., 0]


@pytest.mark.parametrize("phantom", KINDS)
@pytest.mark.parametrize(("images", "mean"), [(1, 1.0), (7, 4.0), (500, 1.0), (500, 2.0), (501, 2.5)])
def test_the_table_has_the_images_and_patients_asked_for(phantom: str, images: int, mean: float) -> None:
    rows = table(source(phantom, images=images, images_per_patient=mean))
    sizes = rows.group_by("patient", maintain_order=True).len()["len"]
    assert rows["index"].to_list() == list(range(images))
    assert len(sizes) == pytest.approx(images / mean, abs=1.5)
    assert sizes.max() <= 2 * mean  # type: ignore[operator]


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_findings_are_as_frequent_among_patients_as_stated(share: float, seed: int) -> None:
    spec = source("chest", images=400, prevalence={"tuberculosis": share}, seed=seed)
    patients = table(spec).unique("patient")
    assert (patients["tuberculosis"] == "present").mean() == pytest.approx(share, abs=0.03)
    assert (patients["aortic_rotation"] == "absent").all()
    assert patients["norm"].eq("present").equals(patients["tuberculosis"].eq("absent"))
    assert patients["age"].is_between(17, 80).all()
    assert (patients["sex"] == "F").mean() == pytest.approx(0.5, abs=0.03)


def test_half_of_each_organs_patients_have_a_tumour_and_all_their_tiles_show_it() -> None:
    rows = table(source("histology", images=600, images_per_patient=5))
    patients = rows.unique(["patient", "organ", "tissue"])
    assert patients["patient"].is_unique().all()
    counts = patients.group_by("organ", "tissue").len()
    assert counts.height == 6
    assert np.ptp(counts["len"].to_numpy()) <= 1
    assert rows.group_by("slide_id").agg(pl.col("patient").n_unique())["patient"].max() == 1


@pytest.mark.parametrize("indices", [[-1], [64], [0, 99]])
def test_an_index_outside_the_source_is_refused(indices: list[int]) -> None:
    with pytest.raises(IndexError, match="0 … 63"):
        render(source("chest"), indices)


@pytest.mark.parametrize("phantom", KINDS)
def test_no_indices_give_no_images(phantom: str) -> None:
    assert render(source(phantom), []).shape[:3] == (0, 48, 48)


def test_an_image_that_is_looked_at_again_is_rendered_once_while_there_is_room(monkeypatch):
    spec = source("chest", images=70)
    made = []
    monkeypatch.setattr(
        "advassay.sources.phantoms.render", lambda spec, rows: made.extend(rows.tolist()) or render(spec, rows)
    )
    monkeypatch.setattr("advassay.sources.kinds.phantom_images.KEPT_BYTES", 40 * 48 * 48 * 2)
    opened = open_phantoms("p", spec)
    first, second = (dict(opened.map([5, *range(69, 0, -1)], np.copy)) for _ in range(2))
    assert set(made) == set(range(1, 70))
    assert len(made) == 69 + 29  # 40 are kept
    for row, pixels in first.items():
        np.testing.assert_array_equal(pixels, second[row])
        np.testing.assert_array_equal(pixels, render(spec, [row])[0])


def test_images_rendered_in_processes_come_in_order_and_bit_for_bit(monkeypatch):
    monkeypatch.setattr("advassay.sources.kinds.phantom_images.MANY", 1)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    spec = source("histology", images=140)
    rows = [*range(139, 3, -1), 2]
    made = list(open_phantoms("p", spec).map(rows, np.copy))
    assert [row for row, _ in made] == rows
    np.testing.assert_array_equal(np.stack([pixels for _, pixels in made]), render(spec, rows))
