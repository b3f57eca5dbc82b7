"""Public images as they are: everything decodes, and the counts are the ones their source states."""

from __future__ import annotations

from pathlib import Path

import pytest

from advassay.sources import index, open_source
from advassay.spec.source_spec import NpzSource, TableSource


@pytest.mark.parametrize(
    ("path", "patient_id", "images", "patients", "channels"),
    [
        ("xray/shenzhen_montgomery_tb_128/manifest.csv", "patient_id", 620, 620, 1),
        ("xray/nih_chestxray14_64/manifest.csv", "patient_id", 1000, 264, 1),
        ("histology/lc25000/manifest.csv", "group_id", 1923, 983, 3),
    ],
)
def test_every_image_of_a_public_table_is_read(
    data: Path, path: str, patient_id: str, images: int, patients: int, channels: int
) -> None:
    opened = open_source("real", TableSource(kind="table", path=path, patient_id=patient_id), data)
    some = opened.rows["row"].to_list()[::10]
    result = index(opened, some, key=b"a key of 16 bytes")
    assert opened.rows.height == images
    assert opened.rows["original_patient"].n_unique() == patients
    assert result.left_out.is_empty()
    assert result.manifest["image_id"].n_unique() == len(some)
    assert result.manifest["channels"].unique().to_list() == [channels]


def test_pneumoniamnist_has_its_official_parts_and_29_repeated_images(data: Path) -> None:
    opened = open_source("real", NpzSource(kind="npz", path="xray/pneumoniamnist_28/pneumoniamnist.npz"), data)
    manifest = index(opened, key=b"a key of 16 bytes").manifest
    parts = dict(manifest.group_by("split").len().rows())
    assert parts == {"training": 4708, "tuning": 524, "validation": 624}
    assert manifest.height - manifest["image_id"].n_unique() == 29
