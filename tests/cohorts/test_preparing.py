"""prepare(): what it writes, what it hides, and when it does nothing."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from advassay.cohorts import open_cohort
from advassay.errors import CohortError, StoreError
from advassay.identity import pseudonym
from advassay.spec.cohort_spec import CohortSpec
from advassay.spec.source_spec import PhantomSource
from tests.cohorts.conftest import CLASSES, KEY, picture, rows


def test_counts_flow_and_shares_add_up(write_source, prepared):
    p = prepared(write_source([*rows(), {"picture": 99, "finding": "unclear", "patient_id": None}]))
    assert p.candidates == 41
    assert sum(sum(counts.values()) for counts in p.counts.values()) == 40
    assert [(item.reason, item.count) for item in p.left_out] == [("in no class", 1)]
    assert p.patients == {"training": 14, "tuning": 2, "validation": 4}


def test_the_pseudonym_key_enters_neither_identity_nor_split(write_source, prepared, tmp_path):
    source = write_source(rows())
    one, two = prepared(source, folder="one"), prepared(source, folder="two", key=b"another key of some length")
    assert one.identity == two.identity
    first, second = (open_cohort(tmp_path / name).manifest for name in ("one", "two"))
    assert first.drop("patient_id").equals(second.drop("patient_id"))
    assert not set(first["patient_id"]) & set(second["patient_id"])


def test_row_order_of_the_source_does_not_matter(write_source, prepared, tmp_path):
    repeated = [row | {"age": 90} for row in rows()[:4]]
    one = prepared(write_source(rows() + repeated), folder="one", per_class=15)
    two = prepared(write_source((rows() + repeated)[::-1]), folder="two", per_class=15)
    assert one.identity == two.identity
    assert open_cohort(tmp_path / "one").manifest.equals(open_cohort(tmp_path / "two").manifest)


def test_no_path_and_no_original_id_is_in_the_cohort_folder(write_source, prepared, tmp_path):
    table = [
        row | {"patient": row["patient_id"], "hospital_number": f"KH SMITH {row['picture']}", "group_id": "SMITH-group",
               "slide": f"SMITH-{row['picture']}-a", "slide_id": "SMITH-3-slide", "StudyDate": "2019-SMITH-01",
               "operator": "Dr SMITH", "physician_name": "Dr SMITH", "birth_year": 1950, "view": row["patient_id"],
               "label": row["finding"], "role": "SMITH",
               "diagnosis": f"seen by SMITH {row['picture']}"}
        for row in rows(50, 1)
    ]  # fmt: skip
    p = prepared(write_source(table), where={"operator": {"not_in": ["x"]}})
    for file in (tmp_path / "cohort").iterdir():
        assert b"SMITH" not in file.read_bytes(), file.name
    manifest = open_cohort(tmp_path / "cohort").manifest
    assert set(manifest.columns[13:]) == {"finding", "age", "sex", "slide_id"}
    assert "StudyDate, birth_year, diagnosis, group_id, hospital_number" in p.warnings[-1]
    kept = pl.read_parquet(tmp_path / "private.parquet")
    assert set(kept["image_id"]) == set(manifest["image_id"])
    assert set(manifest["patient_id"]) == {pseudonym(KEY, f"SMITH-{i}") for i in range(50)}


def test_a_column_travels_where_it_is_asked_for_or_a_rule_names_it(write_source, prepared, tmp_path):
    table = [row | {"ward": "A", "scanner": "S1", "group_id": "G7", "copy": row["patient_id"]} for row in rows()]
    p = prepared(write_source(table), where={"ward": "A"}, carry=["scanner", "group_id", "copy", "patient_id"])
    manifest = open_cohort(tmp_path / "cohort").manifest
    assert set(manifest["ward"]) == {"A"}
    assert set(manifest["scanner"]) == {"S1"}
    assert set(manifest["group_id"]) == {pseudonym(KEY, "G7")}
    assert "copy" not in manifest.columns
    assert not any(text.startswith("SMITH") for text in manifest["patient_id"])
    assert "carry: asked for, but not carried: copy (repeats an original patient id)" in p.warnings[-1]
    with pytest.raises(CohortError, match="carry: a column of the source, got 'no such'"):
        prepared(write_source(table), carry=["no such"])


def test_what_says_who_somebody_is_does_not_travel_even_when_asked_for(write_source, prepared, tmp_path):
    telling = {
        "PatientName": "SMITH",
        "mrn": "SMITH-1",
        "geburtsdatum": "SMITH-2",
        "Фамилия": "SMITH",
        "seen": "1950-01-02",
    }
    long = {"befund": "SMITH was seen; " + 60 * "x"}
    table = [row | telling | long | {"scanner": "S1"} for row in rows()]
    where = {"seen": {"not_in": ["x"]}}
    p = prepared(
        write_source(table), where=where, carry=["PatientName", "mrn", "geburtsdatum", "Фамилия", "befund", "scanner"]
    )
    manifest = open_cohort(tmp_path / "cohort").manifest
    assert set(manifest["scanner"]) == {"S1"}
    assert not {*telling, *long} & set(manifest.columns)
    for file in (tmp_path / "cohort").iterdir():
        assert b"SMITH" not in file.read_bytes(), file.name
    assert "befund (texts of more than 60 characters)" in p.warnings[-1]


def test_another_key_on_a_prepared_cohort_is_refused(write_source, prepared, tmp_path):
    source = write_source([*rows(), {"picture": 99, "finding": "ill", "patient_id": None}])
    first = prepared(source)
    with pytest.raises(CohortError, match=r"--key-file: .*demo.*another --store"):
        prepared(source, key=b"another key of some length")
    (tmp_path / "private.parquet").unlink()  # images without a patient still tell
    with pytest.raises(CohortError, match="--key-file"):
        prepared(source, key=b"another key of some length")
    assert prepared(source) == first


def test_what_was_left_out_can_be_found_in_the_private_table(write_source, prepared, tmp_path):
    source = write_source([*rows(), {"picture": 3, "finding": "well", "patient_id": "SMITH-1"}])
    (tmp_path / "data/files/SMITH_0.png").write_bytes(b"no picture")
    for _ in range(2):
        prepared(source, folder="again")
        out = pl.read_parquet(tmp_path / "private.parquet").filter(pl.col("left_out").is_not_null()).sort("row")
        assert out["row"].to_list() == [0, 3, 40]
        assert out["path"].str.split("/").list.last().to_list() == ["SMITH_0.png", "SMITH_3.png", "SMITH_3.png"]
        assert out["left_out"][0] == "unreadable: not an image"
        assert out["left_out"][1:].to_list() == ["same pixels in different classes"] * 2
        assert set(out["cohort"]) == {"demo"}
        (tmp_path / "again/preparation.json").unlink()


def test_left_out_rows_are_told_even_where_no_cohort_can_be_formed(write_source, prepared, tmp_path):
    source = write_source(rows(4))
    for file in (tmp_path / "data/files").iterdir():
        file.write_bytes(b"no picture")
    with pytest.raises(CohortError, match="unreadable"):
        prepared(source)
    assert pl.read_parquet(tmp_path / "private.parquet")["path"].n_unique() == 8


def test_twelve_bits_in_sixteen_bit_files_are_warned_about(write_source, prepared, tmp_path):
    source = write_source(rows())
    for number in range(40):
        cv2.imwrite(str(tmp_path / f"data/files/SMITH_{number}.png"), picture(number, bits=16) >> 4)
    assert any("12 bits only" in text and "percentile" in text for text in prepared(source).warnings)
    assert not any("bits only" in text for text in prepared(source, scaling="percentile").warnings)


def test_a_listed_value_that_never_occurs_is_warned_about(write_source, prepared):
    classes = {"ill": {"finding": ["ill", "tuberculosys"]}, "well": {"finding": "well"}}
    p = prepared(write_source(rows()), classes=classes, where={"sex": ["F", "M"]})
    assert [text for text in p.warnings if "no row" in text] == [
        "classes.ill.finding: no row of the source has 'tuberculosys'."
    ]


def test_the_same_request_is_not_prepared_twice(write_source, prepared, tmp_path):
    source = write_source(rows())
    first = prepared(source)
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "cohort").iterdir()}
    assert prepared(source) == first
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "cohort").iterdir()} == times


def test_a_changed_table_is_noticed_and_a_missing_one_is_not_needed(write_source, prepared, tmp_path):
    source = write_source(rows())
    first = prepared(source)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert prepared(source) == first
    (tmp_path / "elsewhere").rename(tmp_path / "data")
    assert prepared(write_source(rows(30))).candidates == 60


def test_a_new_title_or_size_series_renews_the_document_only(write_source, prepared, tmp_path):
    source = write_source(rows())
    first = prepared(source)
    (images,) = (tmp_path / "cohort").glob("images-*.parquet")
    written = images.stat().st_mtime_ns
    renewed = prepared(source, title="Another", train_sizes=[0.5], positive="well")
    assert (renewed.title, renewed.positive, renewed.identity) == ("Another", "well", first.identity)
    assert images.stat().st_mtime_ns == written


def test_another_seed_prepares_anew(write_source, prepared, tmp_path):
    source = write_source(rows())
    assert prepared(source).identity != prepared(source, seed=1).identity
    assert len(list((tmp_path / "cohort").glob("images-*.parquet"))) == 1


def test_a_preparation_stopped_half_way_is_not_taken_for_a_cohort(write_source, prepared, tmp_path, monkeypatch):
    source = write_source(rows())
    prepared(source)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("advassay.cohorts.cohort_preparation.write_shards", stop)
        with pytest.raises(KeyboardInterrupt):
            prepared(source, seed=1)
    with pytest.raises(StoreError, match="found none"):
        open_cohort(tmp_path / "cohort")
    assert prepared(source).counts["validation"] == {"ill": 4, "well": 4}


def test_a_bad_image_is_a_row_with_a_reason(write_source, prepared, tmp_path):
    source = write_source(rows())
    (tmp_path / "data/files/SMITH_0.png").write_bytes(b"no picture")
    p = prepared(source)
    assert sum(sum(counts.values()) for counts in p.counts.values()) == 39
    assert p.left_out[0].reason.startswith("unreadable")


def test_too_few_images_say_how_many_there_are_and_what_to_do(write_source, prepared):
    source = write_source(rows())
    with pytest.raises(CohortError, match=r"classes.a.finding: .* got 'x'.*'well' \(20\), 'ill' \(20\)"):
        prepared(source, classes={"a": {"finding": "x"}, "b": {"finding": "y"}})
    nobody = {"finding": "well", "age": {"range": [118, 119]}}
    with pytest.raises(CohortError, match=r"none is left of 40 candidates \(in no class: 40\).*Compare the rules"):
        prepared(source, classes={"a": nobody, "b": nobody | {"finding": "ill"}})
    with pytest.raises(CohortError, match=r"40 candidates → 2 per_class.*Loosen the rules"):
        prepared(source, per_class=1)


def test_rows_without_a_patient_are_patients_of_their_own(write_source, prepared):
    p = prepared(write_source([row | {"patient_id": None} for row in rows()]))
    assert (p.without_patient, p.patients_known, sum(p.patients.values())) == (40, False, 40)


def test_any_column_can_be_the_cluster(write_source, prepared, tmp_path):
    p = prepared(write_source([row | {"ward": f"w{row['picture'] // 8}"} for row in rows()]), patient_id="ward")
    assert (p.cluster, sum(p.patients.values())) == ("ward", 5)
    assert "ward" not in open_cohort(tmp_path / "cohort").manifest.columns


def test_prepared_images_keep_sixteen_bits_and_one_channel(write_source, prepared, tmp_path):
    p = prepared(write_source(rows(), bits=16, shape=(16, 16)))
    assert (p.bits, p.channels) == (16, 1)
    cohort = open_cohort(tmp_path / "cohort")
    chosen = cohort.ids("validation")
    originals = {float(picture(row["picture"], bits=16, shape=(16, 16)).sum()) for row in rows()}
    sums = np.rint(cohort.images(chosen).astype(np.float64) * 65535).sum(axis=(1, 2, 3))
    assert set(sums) <= originals


def test_the_shards_tell_datasets_what_is_image_and_what_is_label(write_source, prepared, tmp_path):
    prepared(write_source(rows()))
    schema = pq.read_schema(tmp_path / "cohort/images-00000.parquet")
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"names": list(CLASSES), "_type": "ClassLabel"}
    assert features["age"] == {"dtype": "int64", "_type": "Value"}
    assert set(features) == set(schema.names)
    image = pq.read_table(tmp_path / "cohort/images-00000.parquet")["image"][0].as_py()
    assert image["bytes"].startswith(b"\x89PNG")


def test_phantoms_are_a_source_like_any_other(tmp_path):
    from advassay.cohorts import prepare

    spec = CohortSpec.model_validate(
        {"source": "p", "classes": {"tumour": {"tissue": "tumour"}, "normal": {"tissue": "normal"}}}
    )
    source = PhantomSource(kind="phantoms", phantom="histology", images=48, size_px=32)
    made: dict[str, object] = {"size_px": 32, "seed": 0, "data": None, "key": KEY, "private": tmp_path / "p.parquet"}
    p = prepare("H", spec, source, folder=Path(tmp_path / "H"), **made)  # type: ignore[arg-type]
    assert (p.channels, p.bits, p.image_type, p.candidates) == (3, 8, "histology", 48)
    assert not np.isnan(open_cohort(tmp_path / "H").images(open_cohort(tmp_path / "H").ids("validation"))).any()
