"""The manifest names images by content and patients by pseudonym, and tells nobody who they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from image_files import by_opencv, by_pillow, noise, write
from PIL import Image

from advassay.errors import AdvassayWarning, SourceError
from advassay.identity import image_id, pseudonym
from advassay.sources import Index, append_private, index, open_source, pseudonym_key
from advassay.sources.pseudonyms import PRIVATE
from advassay.spec.source_spec import PhantomSource, TableSource

KEY = b"a key of 16 bytes"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Six rows: two equal images in different files, a 16-bit one, a blank, a text file, an RGB one."""
    for name, pixels in {
        "Smith_1.png": noise(8, 8),
        "deep.png": noise(8, 9, dtype=np.uint16),
        "blank.png": np.full((8, 8), 7, np.uint8),
        "colour.png": noise(8, 8, 3),
    }.items():
        write(tmp_path / name, by_opencv(pixels))
    write(tmp_path / "twin.tif", by_pillow(Image.fromarray(noise(8, 8)), "TIFF"))
    write(tmp_path / "text.png", b"Mrs Jones")
    write(
        tmp_path / "t.csv",
        b"image,patient_id,slide_id,age,name,birth_date,original_file,label,width\n"
        b"Smith_1.png,P1,P1-a,45,Smith,1980-01-01,Smith_1.png,tb,999\n"
        b"twin.tif,,P1-a,45,,1980-01-01,,tb,999\n"
        b"deep.png,P2,P2-a,50,Jones,1970-01-01,x.dcm,normal,999\n"
        b"blank.png,P3,P3-a,50,Brown,1970-01-01,,normal,999\n"
        b"text.png,P4,P4-a,50,Green,1970-01-01,,normal,999\n"
        b"colour.png,,,50,Green,1970-01-01,,normal,999\n",
    )
    return tmp_path


def indexed(study: Path, **options: str | None) -> Index:
    opened = open_source("films", TableSource(kind="table", path="t.csv", image_type="X-ray"), study)
    return index(opened, None, key=KEY, **options)


def test_the_manifest_has_the_facts_of_the_pixels_not_the_claims_of_the_table(study: Path) -> None:
    manifest = indexed(study).manifest
    assert manifest.columns[:9] == [
        *("image_id", "row", "patient_id", "has_patient", "image_type", "bits", "channels", "height", "width")
    ]
    assert manifest.select("row", "bits", "channels", "height", "width", "label", "age").rows() == [
        (0, 8, 1, 8, 8, "tb", 45),
        (1, 8, 1, 8, 8, "tb", 45),
        (2, 16, 1, 8, 9, "normal", 50),
        (5, 8, 3, 8, 8, "normal", 50),
    ]
    assert manifest["image_id"][2] == image_id(noise(8, 9, dtype=np.uint16))


def test_equal_pixels_have_one_identity_whatever_the_file(study: Path) -> None:
    ids = indexed(study).manifest["image_id"]
    assert ids[0] == ids[1]
    assert ids.n_unique() == 3


def test_bad_and_blank_images_are_left_out_with_the_reason(study: Path) -> None:
    assert indexed(study).left_out.rows() == [
        (3, "blank", "8 × 8 equal pixels"),
        (4, "unreadable: not an image", "no PNG, JPEG or TIFF signature"),
    ]


def test_nothing_that_may_leave_names_a_patient_or_a_file(study: Path) -> None:
    result = indexed(study)
    open_text = result.manifest.write_csv() + result.left_out.write_csv() + str(result.manifest.columns)
    for secret in ("Smith", "Jones", "P1", "P2", "1980", ".png", ".dcm", ".tif", str(study)):
        assert secret not in open_text
    slides = result.manifest["slide_id"]
    assert slides.to_list() == [pseudonym(KEY, "P1-a"), pseudonym(KEY, "P1-a"), pseudonym(KEY, "P2-a"), None]


def test_a_row_without_patient_is_its_own_patient(study: Path) -> None:
    manifest = indexed(study).manifest
    assert manifest["has_patient"].to_list() == [True, False, True, False]
    assert manifest["patient_id"].n_unique() == 4
    assert manifest["patient_id"][0] == pseudonym(KEY, "P1")


def test_any_column_can_be_the_cluster(study: Path) -> None:
    manifest = indexed(study, patient_column="slide_id").manifest
    assert manifest["has_patient"].to_list() == [True, True, True, False]
    assert manifest["patient_id"][0] == manifest["patient_id"][1] == pseudonym(KEY, "P1-a")
    assert "slide_id" not in manifest.columns
    with pytest.raises(SourceError, match="There are"):
        indexed(study, patient_column="group")


def test_a_subset_in_any_order_gives_the_same_rows(study: Path) -> None:
    opened = open_source("films", TableSource(kind="table", path="t.csv", image_type="X-ray"), study)
    some = index(opened, [5, 2, 0], key=KEY).manifest
    assert some["row"].to_list() == [5, 2, 0]
    assert some.sort("row").equals(indexed(study).manifest.filter(pl.col("row").is_in([0, 2, 5])))
    nothing = index(opened, [], key=KEY).manifest
    assert nothing.schema == some.schema
    assert nothing.is_empty()


def test_another_key_changes_every_pseudonym_and_no_image_id(study: Path) -> None:
    opened = open_source("films", TableSource(kind="table", path="t.csv"), study)
    first, other = index(opened, key=KEY).manifest, index(opened, key=b"another key of 16").manifest
    assert first["image_id"].equals(other["image_id"])
    assert not set(first["patient_id"]) & set(other["patient_id"])


def test_progress_counts_every_image(study: Path) -> None:
    told: list[tuple[object, ...]] = []

    class Teller:
        def start(self, task: str, total: float | None, unit: str) -> None:
            told.append((task, total, unit))

        def advance(self, task: str, amount: float = 1) -> None:
            told.append((task, amount))

        def finish(self, task: str) -> None:
            told.append((task,))

    opened = open_source("films", TableSource(kind="table", path="t.csv"), study)
    index(opened, key=KEY, progress=Teller())
    assert told == [("read films", 6, "images"), *[("read films", 1)] * 6, ("read films",)]


def test_phantoms_are_indexed_like_files() -> None:
    source = PhantomSource(kind="phantoms", phantom="chest", images=6, size_px=32)
    result = index(open_source("p", source, None), key=KEY)
    assert result.manifest["image_id"].n_unique() == 6
    assert result.manifest["has_patient"].all()
    assert not result.manifest["patient_id"].str.contains("phantom").any()
    assert result.private["path"].null_count() == 6


# --- the private table ----------------------------------------------------------------------------------------------


def test_the_private_table_is_for_its_owner_only_and_grows_without_doubles(study: Path) -> None:
    private = indexed(study).private
    path = study / "store.sources.parquet"
    append_private(path, private.head(2))
    append_private(path, private)
    kept = pl.read_parquet(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert kept.schema == PRIVATE
    assert kept.rows()[0] == (image_id(noise(8, 8)), "films", f"{study}/Smith_1.png", "P1", None, None, None)
    assert kept.height == 4


def test_the_default_key_is_stable_and_warned_about() -> None:
    with pytest.warns(AdvassayWarning, match="--key-file"):
        first = pseudonym_key(None, "a")
    with pytest.warns(AdvassayWarning):
        assert first != pseudonym_key(None, "b")


def test_a_key_file_must_exist_and_be_long_enough(tmp_path: Path) -> None:
    assert pseudonym_key(write(tmp_path / "key", KEY + b"\n"), "a") == KEY
    with pytest.raises(SourceError, match="at least 16 bytes"):
        pseudonym_key(write(tmp_path / "short", b"short"), "a")
    with pytest.raises(SourceError, match="readable file"):
        pseudonym_key(tmp_path / "none", "a")
