"""Stains are normalised as another library does it, only when asked; sparse nuclei are tissue."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from made_slides import stained, write_png

from advassay.sources.slides import SlidePaths, make_tiles
from advassay.sources.slides.stain_normalisation import fit_stains, normalise
from advassay.sources.slides.tile_quality import share_of_boxes, tissue_mask
from advassay.spec.tile_spec import TileRules

STAIN = Path(__file__).parent / "stain"


def rgb(path: Path) -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:, :, ::-1])


def test_normalised_colours_are_those_of_torchstain() -> None:
    """stain/torchstain-1.4.1.png was made from stain/tile.png by torchstain 1.4.1, NumPy backend, Macenko."""
    tile, expected = rgb(STAIN / "tile.png"), rgb(STAIN / "torchstain-1.4.1.png")
    stains = fit_stains(tile)
    assert stains is not None
    found = normalise(tile, stains)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert np.abs(found.astype(int) - tile).mean() > 20


def test_what_has_no_two_stains_is_not_normalised() -> None:
    assert fit_stains(np.full((64, 64, 3), 245, np.uint8)) is None
    assert fit_stains(np.zeros((4, 4, 3), np.uint8)) is None


def test_normalisation_is_off_unless_asked_and_a_grey_slide_is_then_left_out(tmp_path: Path) -> None:
    tile = cv2.resize(rgb(STAIN / "tile.png"), (256, 256), interpolation=cv2.INTER_CUBIC)
    write_png(tmp_path / "in" / "a.png", tile)
    write_png(tmp_path / "in" / "grey.png", np.random.default_rng(0).integers(20, 120, (256, 256), np.uint8))
    rules = {"size_px": 128, "min_tissue": 0, "min_sharpness": 0, "tissue": "any"}
    plain = make_tiles(SlidePaths(tmp_path / "in"), tmp_path / "plain", TileRules(**rules), key=b"k")
    asked = TileRules(**rules, stain_normalisation="macenko")
    changed = make_tiles(SlidePaths(tmp_path / "in"), tmp_path / "changed", asked, key=b"k")
    assert plain.manifest.height == 8
    assert changed.manifest.height == 4
    assert changed.slides["reason"].drop_nulls().to_list() == ["no two stains found"]
    stains = fit_stains(tile)
    assert stains is not None
    whole = normalise(tile, stains)
    for image, x, y in changed.manifest.select("image", "x", "y").iter_rows():
        written = rgb(tmp_path / "changed" / image)
        assert np.array_equal(written, whole[y : y + 128, x : x + 128])
    again = make_tiles(SlidePaths(tmp_path / "in"), tmp_path / "changed", asked, key=b"k")
    assert again.manifest.equals(changed.manifest)


def nuclei(spacing: int, seed: int = 0) -> np.ndarray:
    """uint8 (600, 600, 3): nuclei of 8 px, about `spacing` apart, in the left two thirds of a dark field."""
    rng = np.random.default_rng(seed)
    field = rng.normal(3, 1, (600, 600)).clip(0)
    for y in range(spacing // 2, 600, spacing):
        for x in range(spacing // 2, 400, spacing):
            centre = (int(x + rng.integers(-4, 5)), int(y + rng.integers(-4, 5)))
            cv2.circle(field, centre, 4, float(rng.integers(80, 250)), -1)
    blue = field.astype(np.uint8)
    return np.stack([np.zeros_like(blue), np.zeros_like(blue), blue], axis=2)


@pytest.mark.parametrize("spacing", [16, 30, 50])
def test_tiles_of_sparse_nuclei_are_tissue_and_the_dark_field_is_not(spacing: int) -> None:
    boxes = np.array([[x, y, x + 100, y + 100] for y in range(0, 600, 100) for x in range(0, 600, 100)], float)
    shares = share_of_boxes(tissue_mask(nuclei(spacing), "fluorescence", 100.0**2), boxes, (1.0, 1.0))
    of_tissue = boxes[:, 2] <= 400
    assert (shares[of_tissue] >= 0.5).all()
    assert (shares[boxes[:, 0] >= 500] < 0.1).all()


def test_noise_alone_is_no_tissue() -> None:
    noise = np.random.default_rng(0).normal(4, 2, (400, 400, 3)).clip(0, 255).astype(np.uint8)
    assert not tissue_mask(noise, "fluorescence", 100.0**2).any()
    assert not tissue_mask(np.zeros((50, 50, 3), np.uint8), "fluorescence", 100.0).any()


def test_brightfield_tissue_is_found_as_before() -> None:
    assert tissue_mask(stained(100, 100), "brightfield", 100.0).all()
