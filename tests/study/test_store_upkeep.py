"""Taking a person out of a store, joining stores, removing what is superseded; one run, one network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tiny_study import TINY, assert_equal_records, cpu, recorded
from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.cohorts import open_cohort
from advassay.errors import AdvassayWarning, StoreError
from advassay.records import Run, open_records, read_gallery, read_header
from advassay.report.output.outdated import mark_outdated
from advassay.sources.pseudonyms import read_private
from advassay.spec.study_spec import Study
from advassay.store_layout import HEADER, Store
from advassay.study import parse_study
from advassay.study.run.runner import run
from advassay.study.upkeep.forget_patient import forget
from advassay.study.upkeep.merge_stores import merge
from advassay.study.upkeep.superseded_runs import prune


@pytest.fixture
def private(copied: Path, finished: Path) -> Path:
    """The copied store with its private table."""
    shutil.copy(Store(finished).private_sources, Store(copied).private_sources)
    return copied


def everything(store: Path) -> bytes:
    """All that the store and its private table say, decoded."""
    found = [path.read_bytes() for path in store.rglob("*") if path.suffix in (".json", ".yaml")]
    tables = [pl.read_parquet(path).drop("image", strict=False) for path in store.rglob("*.parquet")]
    tables.append(read_private(Store(store).private_sources))
    return b"".join(found) + "".join(str(table.to_dicts()) for table in tables).encode()


def test_nothing_of_a_patient_who_was_taken_out_is_left_in_the_store(private: Path, tiny: Study) -> None:
    store = Store(private)
    records = open_records(private)
    patient = records.runs[0].images["patient_id"][0]
    before = everything(private)
    cohort = open_cohort(store.cohort(records.headers[0].cohort))
    ids = cohort.manifest.filter(pl.col("patient_id") == patient)["image_id"].to_list()
    assert patient.encode() in before
    assert all(image.encode() in before for image in ids)
    done = forget(store, patient)
    after = everything(private)
    assert patient.encode() not in after
    assert not any(image.encode() in after for image in ids)
    assert done.images[cohort.preparation.cohort] == len(ids)
    assert done.rows > 0
    assert done.private_rows >= len(ids)
    for header in open_records(private).headers:
        counted = Run(store.run(header.run_id))
        assert (header.rows, header.images) == (len(counted.index), np.unique(counted.index.image).size)
        assert not (header.cohort == cohort.preparation.cohort and set(ids) & set(counted.images["image_id"]))
    with pytest.raises(StoreError, match="a pseudonym that the store knows"):
        forget(store, patient)
    run(tiny, cpu(private))  # and the study goes on without the person
    assert patient.encode() not in everything(private)


def test_the_gallery_keeps_no_picture_of_a_patient_who_was_taken_out(private: Path) -> None:
    store = Store(private)
    [example, *_] = read_gallery(store.gallery)
    images = open_cohort(store.cohort(example.cohort)).manifest
    patient = images.filter(pl.col("image_id") == example.image_id)["patient_id"][0]
    done = forget(store, patient)
    assert done.examples > 0
    assert not (store.gallery / example.clean_file).exists()
    assert example.image_id not in {e.image_id for e in read_gallery(store.gallery)}


def test_reports_of_a_changed_store_say_that_they_are_outdated(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<html><body><p>x</p></body></html>")
    (tmp_path / "report.md").write_text("# x\n")
    (tmp_path / "report.json").write_text('{"x": 1}')
    (tmp_path / "figures").mkdir()
    for _ in range(2):
        assert mark_outdated(tmp_path, "A <b>.") == ["figures", "report.html", "report.json", "report.md"]
    assert (tmp_path / "report.html").read_text().count("Outdated. A &lt;b&gt;.") == 1
    assert (tmp_path / "report.md").read_text().startswith("> **Outdated.** A &lt;b&gt;.")
    assert json.loads((tmp_path / "report.json").read_text())["outdated"] == "A <b>."
    assert "report.json" in (tmp_path / "OUTDATED.txt").read_text()


def part_of(finished: Path, store: Path, keep: str) -> Path:
    """A copy of the finished store with the runs of one cohort only."""
    shutil.copytree(finished, store)
    for path in store.glob(f"records/*/{HEADER}"):
        if read_header(path.parent).cohort != keep:
            shutil.rmtree(path.parent)
    shutil.rmtree(store / "gallery")
    return store


def test_stores_that_were_attacked_apart_join_to_the_whole_one(finished: Path, tmp_path: Path) -> None:
    one, other = part_of(finished, tmp_path / "a", "X-TB"), part_of(finished, tmp_path / "b", "H-BR")
    shard = next(path for path in sorted(one.glob("records/*/shards/*.parquet")))
    lacking = shutil.copytree(one, tmp_path / "c")
    shard.unlink()  # a run of which each store has a part
    merge(Store(one), Store(lacking))
    done = merge(Store(one), Store(other))
    assert_equal_records(one, finished)
    wholes = {header.run_id: header for header in open_records(finished).headers}
    for header in open_records(one).headers:
        whole = wholes[header.run_id]
        assert (header.notes, header.points, header.rows, header.flag_counts, header.controls) == (
            whole.notes, whole.points, whole.rows, whole.flag_counts, whole.controls,
        )  # fmt: skip
    assert done.runs > 0
    again = merge(Store(one), Store(other))
    assert (again.runs, again.rows, again.examples) == (0, 0, 0)


def test_stores_with_other_weights_or_of_another_study_are_not_joined(
    finished: Path, copied: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(finished, tmp_path / "other")
    document = next(other.glob("classifiers/*/training.json"))
    content = json.loads(document.read_text())
    content.pop("content_sha256")
    document.write_text(json.dumps(content | {"weights_sha256": "1" * 64}))
    with pytest.raises(StoreError, match="has other weights"):
        merge(Store(copied), Store(other))
    study = other / "study.yaml"
    study.write_text(study.read_text().partition("\n")[2].replace("name: tiny", "name: another"))
    with pytest.raises(StoreError, match="stores of one study"):
        merge(Store(copied), Store(other))
    with pytest.raises(StoreError, match="twice"):
        merge(Store(copied), Store(copied))


def test_current_is_what_the_study_says_and_not_what_was_last_worked_on(copied: Path, tiny: Study) -> None:
    before = {header.run_id for header in open_records(copied).headers}
    changed = parse_study(TINY, overrides=["attack.steps=2"])
    run(changed, cpu(copied))
    assert {header.run_id for header in open_records(copied).headers} != before
    run(tiny, cpu(copied))
    for path in copied.glob(f"records/*/{HEADER}"):  # a clock that was wrong when the other version ran
        if path.parent.name not in before:
            content = json.loads(path.read_text()) | {"updated": "2999-01-01T00:00:00+00:00"}
            path.write_text(json.dumps(content))
    records = open_records(copied)
    assert {header.run_id for header in records.headers} == before
    assert records.superseded
    kept = recorded(copied)
    done = prune(Store(copied), dry=True)
    assert len(done.runs) == len({h.run_id for h in records.superseded})
    prune(Store(copied))
    assert open_records(copied).superseded == []
    assert recorded(copied).keys() == kept.keys()


def test_an_arm_that_the_study_no_longer_has_is_superseded(copied: Path) -> None:
    run(parse_study(TINY.replace("    C: {loss: margin, step_sizes: [epsilon/4], epsilons: [0.005], images: 6}", "")),
        cpu(copied))  # fmt: skip
    records = open_records(copied)
    assert records.arms == ["A"]
    assert {header.arm for header in records.superseded} == {"C"}


def test_a_run_never_holds_rows_of_two_networks(copied: Path, tiny: Study) -> None:
    header = next(h for h in open_records(copied).headers if h.arm == "A" and h.cohort == "X-TB" and h.primary)
    folder = Store(copied).run(header.run_id)
    writers = json.loads((folder / HEADER).read_text())
    writers.pop("content_sha256")
    (folder / HEADER).write_text(json.dumps(writers | {"weights_sha256": "e" * 64}))  # as another training left it
    with pytest.warns(AdvassayWarning, match="trained again to other weights"):
        run(tiny, cpu(copied))
    [aside] = (copied / "superseded").iterdir()
    assert aside.name == f"{header.run_id}-eeeeeeee"
    anew = read_header(folder)
    assert anew.weights_sha256 == header.weights_sha256
    assert (anew.rows, anew.images) == (header.rows, header.images)
    assert any("trained again to other weights" in note for note in anew.notes)
    prune(Store(copied))
    assert not list((copied / "superseded").iterdir())


def test_a_network_that_is_trained_again_is_said(copied: Path, tiny: Study, finished: Path) -> None:
    shutil.rmtree(copied / "classifiers")
    with pytest.warns(AdvassayWarning, match="trained again, its files are not in the store"):
        run(tiny, cpu(copied))
    assert_equal_records(copied, finished)


def test_the_verbs_of_upkeep_say_what_they_did_and_what_is_no_store(copied: Path, tmp_path: Path) -> None:
    verbs = {
        "prune": ["prune", str(copied), "--dry-run"],
        "forget": ["forget", str(copied), "--patient", "p0"],
        "merge": ["merge", str(copied), str(copied)],
        "nowhere": ["prune", str(tmp_path / "nowhere")],
    }
    said = {name: CliRunner().invoke(app, arguments) for name, arguments in verbs.items()}
    assert "To remove: 0 superseded runs" in said["prune"].stderr
    assert said["prune"].exit_code == 0
    assert "a pseudonym that the store knows" in said["forget"].stderr
    assert "expected two stores" in said["merge"].stderr
    assert {said[name].exit_code for name in ("forget", "merge", "nowhere")} == {6}
    assert not (tmp_path / "nowhere").exists()
