"""Grey is grey: noise is no colour, a tint among X-rays makes no channel, and a mix is said per class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest

from advassay.cohorts import prepare
from advassay.sources.image_decoder import decode, is_coloured
from advassay.spec.cohort_spec import CohortSpec
from advassay.spec.source_spec import FolderSource
from advassay.store_documents import Preparation

NOISE, TINT = 3, 40


def film(number: int, *, colour: int = 0) -> np.ndarray:
    """uint8 (40, 40, 3): a grey picture whose channels differ by up to `colour` levels."""
    rng = np.random.default_rng(number)
    grey = rng.integers(40, 200, (40, 40, 1)).repeat(3, axis=2)
    shift = np.array([0, 0, colour]) if colour > 10 else rng.integers(-colour, colour + 1, (40, 40, 3))
    return (grey + shift).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[dict[str, list[int]]], None]:
    """Write films: class → colour of each."""

    def write(classes: dict[str, list[int]]) -> None:
        for name, colours in classes.items():
            (tmp_path / "films" / name).mkdir(parents=True)
            for number, colour in enumerate(colours):
                path = tmp_path / "films" / name / f"{number}.png"
                cv2.imwrite(str(path), film(1000 * len(name) + number, colour=colour))

    return write


def made(tmp_path: Path, **spec: object) -> Preparation:
    cohort = {"source": "films", "classes": {"ill": {"label": "ill"}, "well": {"label": "well"}}} | spec
    return prepare(
        "films",
        CohortSpec.model_validate(cohort),
        FolderSource(kind="folder", path="films"),
        size_px=16,
        seed=0,
        folder=tmp_path / "cohort",
        data=tmp_path,
        key=b"k" * 16,
        private=tmp_path / "private.parquet",
    )


def colour_warnings(found: Preparation) -> list[str]:
    return [warning for warning in found.warnings if "in colour" in warning]


@pytest.mark.parametrize("image_type", ["X-ray", "histology", None])
def test_films_whose_channels_differ_by_noise_are_grey(tmp_path, folder, image_type):
    folder({"ill": [NOISE] * 12, "well": [0] * 6 + [NOISE] * 6})
    found = made(tmp_path, image_type=image_type)
    assert (found.channels, colour_warnings(found)) == (1, [])
    assert pl.read_parquet(tmp_path / "cohort" / "manifest.parquet")["channels"].n_unique() == 2  # as stored


def test_a_few_tinted_films_do_not_make_an_x_ray_cohort_coloured_and_are_counted_per_class(tmp_path, folder):
    folder({"ill": [TINT] * 4 + [0] * 8, "well": [0] * 12})
    found = made(tmp_path, image_type="Chest X-ray")
    assert found.channels == 1
    assert colour_warnings(found) == [
        "4 of 24 images are in colour (ill 4 of 12, well 0 of 12): all are prepared grey (channels: 1)."
    ]


def test_a_mix_of_other_images_keeps_its_colour_and_warns(tmp_path, folder):
    folder({"ill": [TINT] * 12, "well": [0] * 12})
    found = made(tmp_path, image_type="microscopy")
    assert found.channels == 3
    (warning,) = colour_warnings(found)
    assert "ill 12 of 12, well 0 of 12" in warning
    assert "may tell classes by colour" in warning


def test_colour_images_called_x_rays_are_doubted(tmp_path, folder):
    folder({"ill": [TINT] * 12, "well": [TINT] * 12})
    found = made(tmp_path, image_type="X-ray")
    assert found.channels == 1
    assert "correct image_type" in colour_warnings(found)[0]
    assert made(tmp_path, image_type="X-ray", channels=3).channels == 3


def test_images_all_in_colour_are_no_mix(tmp_path, folder):
    folder({"ill": [TINT] * 12, "well": [TINT] * 12})
    found = made(tmp_path, image_type="histology")
    assert (found.channels, colour_warnings(found)) == (3, [])


@pytest.mark.parametrize("quality", [20, 60, 95])
def test_the_noise_of_a_scanner_and_of_jpeg_is_no_colour_and_stain_is(quality):
    rng = np.random.default_rng(0)
    grey = cv2.resize(rng.integers(20, 230, (12, 12), np.uint8), (160, 200), interpolation=cv2.INTER_CUBIC)
    scanned = np.clip(np.stack([grey] * 3, axis=2) + rng.normal(0, 5, (200, 160, 3)), 0, 255).astype(np.uint8)
    pale = (np.full((200, 160, 3), 240) - (grey[:, :, None] > 200) * np.array([10, 70, 20])).astype(np.uint8)
    for pixels, coloured in ((scanned, False), (pale, True)):
        encoded = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        assert is_coloured(decode(encoded)) is coloured
