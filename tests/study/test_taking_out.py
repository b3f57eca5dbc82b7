"""People who were taken out of a store stay out, and what is stopped halfway is finished; copies and other seeds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from test_store_upkeep import everything
from tiny_study import assert_equal_records, cpu

from advassay import store_layout
from advassay.checked_files import stamped, write_document
from advassay.cohorts import open_cohort
from advassay.cohorts.preparation_json import document_in
from advassay.errors import AdvassayWarning, DamagedError, StoreError
from advassay.records import Run, RunHeader, RunWriter, compact, open_records, read_gallery, read_header
from advassay.records.gallery import INDEX
from advassay.records.image_removal import remove_images
from advassay.records.row_shards import account_of, read_rows, write_shard
from advassay.records.run_header import sum_accounts
from advassay.sources.pseudonyms import read_private
from advassay.spec.study_spec import Study
from advassay.store_layout import HEADER, PREPARATION, Store
from advassay.study import prepare
from advassay.study.upkeep import superseded_runs
from advassay.study.upkeep.forget_patient import drop_forgotten, forget
from advassay.study.upkeep.merge_stores import merge
from advassay.study.upkeep.superseded_runs import prune, set_aside_other_network


class Killed(BaseException):
    """As SIGKILL: nothing that catches exceptions catches it."""


@contextmanager
def killed_at(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Renames and removals of files are counted; before the n-th one the work is killed."""
    done = 0

    def counted(work: object) -> object:
        def operation(*arguments: object, **more: object) -> object:
            nonlocal done
            done += 1
            if done == number:
                raise Killed
            return work(*arguments, **more)  # type: ignore[operator]

        return operation

    with monkeypatch.context() as patched:
        for name in ("replace", "unlink", "rmdir"):
            patched.setattr(os, name, counted(getattr(os, name)))
        yield


@pytest.fixture
def private(copied: Path, finished: Path) -> Path:
    """The copied store with its private table."""
    shutil.copy(Store(finished).private_sources, Store(copied).private_sources)
    return copied


def main_run(store: Path) -> Path:
    """Folder of the main run of X-TB."""
    return Store(store).run(next(h.run_id for h in open_records(store).headers if h.cohort == "X-TB" and h.arm == "A"))


def a_patient(store: Path) -> str:
    return str(Run(main_run(store)).images["patient_id"][0])


def is_counted_well(store: Path, patient: str) -> None:
    """Nothing of the patient is left, and documents count what there is."""
    said = everything(store)
    assert patient.encode() not in said
    for folder in sorted((store / "cohorts").iterdir()):
        document, manifest = document_in(folder), open_cohort(folder).manifest
        assert document is not None
        assert sum(sum(by_class.values()) for by_class in document.counts.values()) == manifest.height
        known = manifest.filter((pl.col("role") == "validation") & pl.col("has_patient"))
        for name, patients in document.patients_per_class["validation"].items():
            assert patients == known.filter(pl.col("class_name") == name)["patient_id"].n_unique()
        assert sum("of one patient were removed" in note for note in document.warnings) <= 1
        assert open_cohort(folder).images(manifest["image_id"].to_list()[-1:]).shape[0] == 1
    for header in open_records(store).headers:
        run = Run(Store(store).run(header.run_id))
        assert (header.rows, header.images) == (len(run.index), np.unique(run.index.image).size)


@pytest.mark.parametrize("number", [2, 5, 9, 14, 18, 22])
def test_forgetting_that_is_killed_is_finished_by_the_same_call_or_the_next_command(
    number: int, private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = a_patient(private)
    try:
        with killed_at(number, monkeypatch):
            forget(Store(private), patient)
    except Killed:
        again = shutil.copytree(private, private.with_name("again"))
        shutil.copy(Store(private).private_sources, Store(again).private_sources)
        if patient.encode() in everything(again):
            with pytest.warns(AdvassayWarning, match="taken out of the store"):
                drop_forgotten(Store(again), "images")
        is_counted_well(again, patient)
        if patient.encode() in everything(private):
            forget(Store(private), patient)
    is_counted_well(private, patient)


def test_another_store_and_a_preparation_do_not_bring_a_person_back(private: Path, finished: Path, tiny: Study) -> None:
    store, other = Store(private), Store(shutil.copytree(finished, private.with_name("other")))
    shutil.copy(Store(finished).private_sources, other.private_sources)
    patient = a_patient(private)
    forget(store, patient)
    done = merge(store, other)
    assert (done.rows, done.examples, done.removed) == (0, 0, None)
    is_counted_well(private, patient)
    for run in private.glob("records/*"):
        shutil.rmtree(run)
    with pytest.warns(AdvassayWarning, match="other was joined, and images of people who were taken out"):
        merge(store, other)
    is_counted_well(private, patient)
    (private / "cohorts" / "X-TB" / PREPARATION).unlink()
    with pytest.warns(AdvassayWarning, match="cohort X-TB was prepared with images of people who were taken out"):
        prepare(tiny, cpu(private))
    is_counted_well(private, patient)
    with pytest.warns(AdvassayWarning, match="store was joined, and images of people"):  # and the other way round
        merge(other, store)
    is_counted_well(other.root, patient)


def test_no_picture_and_no_file_set_aside_is_left_of_a_person(private: Path) -> None:
    store = Store(private)
    example = next(e for e in read_gallery(store.gallery) if e.cohort == "X-TB")
    manifest = open_cohort(store.cohort("X-TB")).manifest
    patient = manifest.filter(pl.col("image_id") == example.image_id)["patient_id"][0]
    (store.gallery / INDEX).rename(store.gallery / f"{INDEX}.damaged")
    (store.cohort("H-BR") / "images-00000.parquet.damaged").write_bytes(b"x")
    headless = shutil.copytree(main_run(private), store.records / "stopped")
    (headless / HEADER).unlink()
    (store.superseded / "gone" / "shards").mkdir(parents=True)
    shutil.copy(next(headless.glob("shards/*")), store.superseded / "gone" / "shards")
    done = forget(store, patient)
    assert not list(store.gallery.glob("*.png"))
    assert not list(private.rglob("*.damaged"))
    assert not headless.exists()
    assert not (store.superseded / "gone").exists()
    assert {"gallery/index.json.damaged", "records/stopped", "superseded/gone"} <= set(done.unreadable)
    assert "records/stopped" in " ".join(done.told())


def split_shards(run: Path) -> None:
    """Each shard of the run as two of whole images: a small run is stored at once."""
    for path in sorted(run.glob("shards/*.parquet")):
        rows, account = read_rows(path), account_of(pq.read_schema(path))
        first = np.isin(rows.image_id, np.unique(rows.image_id)[::2])
        assert account is not None
        whole = account.model_copy(update={"replaces": (*account.replaces, path.name)})
        write_shard(path.parent, rows.take(first), whole)
        write_shard(path.parent, rows.take(~first))
        path.unlink()


def flip_in_logits(run: Path) -> Path:
    split_shards(run)
    path = sorted(run.glob("shards/*.parquet"))[0]
    group = pq.read_metadata(path).row_group(0)
    chunk = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema.startswith("logits"))
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 4
    path.write_bytes(data)
    return path


def test_a_damaged_page_stops_neither_forget_nor_merge(private: Path, finished: Path) -> None:
    store, patient = Store(private), a_patient(private)
    run_id = main_run(private).name
    shard = flip_in_logits(main_run(private))
    lacking = Store(shutil.copytree(finished, private.with_name("lacking")))
    shutil.rmtree(lacking.run(run_id))
    with pytest.warns(AdvassayWarning, match=rf"left out of .*{shard.name}"):
        merge(lacking, store)
    header = read_header(lacking.run(run_id))
    assert header.rows == len(Run(lacking.run(run_id)).index) > 0
    done = forget(store, patient)
    assert f"records/{run_id}/shards/{shard.name}" in done.unreadable
    is_counted_well(private, patient)


def test_what_rows_took_stays_when_their_images_are_forgotten(copied: Path) -> None:
    run = main_run(copied)
    spent = read_header(run).cost.gradient_evaluations
    compact(run, rows_per_shard=4)
    [carrier] = Run(run).accounts()
    gone = set(read_rows(run / "shards" / carrier).image_id.tolist())
    remove_images(run, gone, "note")
    assert read_header(run).cost.gradient_evaluations == spent
    apart = read_header(run).cost_apart
    assert apart is not None
    assert sum_accounts(Run(run).accounts()).gradient_evaluations == spent - apart.gradient_evaluations
    remove_images(run, set(Run(run).images["image_id"]), "note")
    assert len(Run(run).rows()) == 0
    assert read_header(run).cost.gradient_evaluations == spent
    reopened = RunWriter(run, read_header(run))
    assert reopened.finish().cost.gradient_evaluations == spent


def test_a_joined_run_costs_what_it_took_and_keeps_controls_and_notes_when_killed(
    copied: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = main_run(copied).name
    whole = read_header(Store(finished).run(run_id))
    shutil.rmtree(Store(copied).run(run_id))
    for number in (1, 2, 3, 4):
        with pytest.raises(Killed), killed_at(number, monkeypatch):
            merge(Store(copied), Store(finished))
    merge(Store(copied), Store(finished))
    apart = {"updated", "created"}
    assert read_header(Store(copied).run(run_id)).model_dump(exclude=apart) == whole.model_dump(exclude=apart)
    assert_equal_records(copied, finished)
    # rows of one of two shards, without controls
    part = shutil.copytree(finished, tmp_path / "part")
    run = Store(part).run(run_id)
    shards = sorted(run.glob("shards/*.parquet"))
    lost = sum_accounts({shards[0].name: Run(run).accounts()[shards[0].name]})
    shards[0].unlink()
    header = read_header(run)
    write_document(run / HEADER, header.model_copy(update={"controls": None, "notes": ()}))
    before = RunWriter(run, header).finish().cost  # counts anew
    write_document(run / HEADER, read_header(run).model_copy(update={"controls": None, "notes": ()}))

    def killed(*arguments: object, **more: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(RunWriter, "finish", killed)
        with pytest.raises(Killed):
            merge(Store(part), Store(finished))
    merge(Store(part), Store(finished))
    joint = read_header(run)
    controls_cost = (whole.cost_apart.gradient_evaluations) if whole.cost_apart else 0
    assert joint.controls == whole.controls
    assert set(whole.notes) <= set(joint.notes)
    assert joint.cost.gradient_evaluations == before.gradient_evaluations + lost.gradient_evaluations + controls_cost
    assert merge(Store(part), Store(finished)).rows == 0
    assert read_header(run).cost == joint.cost


def _without_sessions(header: RunHeader) -> dict[str, Any]:
    """What a header says but for its times and for how often a call was begun: the killed call counts there."""
    said = header.model_dump(exclude={"updated", "created"})
    for cost in (said["cost"], said["cost_apart"]):
        cost.pop("sessions_started")
    return said


def test_a_join_killed_after_its_last_rows_is_summed_up_by_the_same_call(
    copied: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = main_run(copied)
    sorted(run.glob("shards/*.parquet"))[0].unlink()
    left = shutil.copytree(copied, tmp_path / "left")
    merge(Store(left), Store(finished))
    expected = _without_sessions(read_header(Store(left).run(run.name)))

    def killed(*arguments: object, **more: object) -> None:
        raise Killed

    for name in ("finish", "append"):
        store = shutil.copytree(copied, tmp_path / name)
        with monkeypatch.context() as patched:
            if name == "append":  # the shard is there, the header does not know of it yet
                patched.setattr(RunWriter, "_write", killed)
            patched.setattr(RunWriter, "finish", killed)
            with pytest.raises(Killed):
                merge(Store(store), Store(finished))
        merge(Store(store), Store(finished))
        header = read_header(Store(store).run(run.name))
        assert _without_sessions(header) == expected
        merge(Store(store), Store(finished))
        assert read_header(Store(store).run(run.name)) == header


def test_prune_removes_nothing_by_a_study_that_is_not_as_written(copied: Path) -> None:
    study = copied / "study.yaml"
    text = study.read_text()
    study.write_text(text.replace("X-TB", "X-TC"))
    runs = set(copied.glob("records/*"))
    with (
        pytest.raises(DamagedError, match=r"study\.yaml"),
        pytest.warns(AdvassayWarning, match="not as it was written"),
    ):
        prune(Store(copied))
    assert set(copied.glob("records/*")) == runs
    study.write_text(stamped(text.partition("\n")[2].replace("X-TB", "X-TC")))
    with pytest.raises(StoreError, match="cohort X-TB"):
        prune(Store(copied))
    assert set(copied.glob("records/*")) == runs
    assert prune(Store(copied), dry=True).absent == ("cohort X-TB",)
    prune(Store(copied), yes=True)
    assert {h.cohort for h in open_records(copied).headers} == {"H-BR"}


@pytest.mark.parametrize("number", [1, 3, 6])
def test_pruning_that_is_killed_is_finished_by_the_same_call(
    number: int, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = main_run(copied)
    split_shards(run)
    (copied / "superseded").mkdir()
    shutil.copytree(run, copied / "superseded" / "earlier")
    with pytest.raises(Killed), killed_at(number, monkeypatch):
        prune(Store(copied))
    prune(Store(copied))
    assert not list((copied / "superseded").iterdir())
    assert run.exists()


@contextmanager
def moving_is_killed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def killed(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(superseded_runs, "_move", killed)
        yield


def test_a_run_of_other_weights_takes_its_pictures_along_when_killed(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(copied)
    other = read_header(main_run(copied)).model_copy(update={"weights_sha256": "0" * 64})
    with pytest.raises(Killed), moving_is_killed(monkeypatch):
        set_aside_other_network(store, other)
    assert not [e for e in read_gallery(store.gallery) if e.run_id == other.run_id]
    with pytest.warns(AdvassayWarning, match="trained again to other weights"):
        assert set_aside_other_network(store, other)
    assert not store.run(other.run_id).exists()


def test_a_copied_cohort_or_network_is_said_and_not_used(copied: Path) -> None:
    before = [header.run_id for header in open_records(copied).headers]
    folder = shutil.copytree(copied / "cohorts" / "X-TB", copied / "cohorts" / "X-TB.old")
    document = document_in(folder)
    assert document is not None
    write_document(folder / PREPARATION, document.model_copy(update={"identity": "0" * 16}))
    network = next((copied / "classifiers").iterdir())
    shutil.copytree(network, network.with_name(f"{network.name}.old"))
    with pytest.warns(AdvassayWarning, match="are not named by their") as told:
        records = open_records(copied)
    assert [header.run_id for header in records.headers] == before
    assert not records.superseded
    assert {"X-TB.old", f"{network.name}.old"} <= {word for one in told for word in str(one.message).split()}


def test_leftovers_beside_a_store_are_found_whatever_its_name(tmp_path: Path) -> None:
    store = Store(tmp_path / "a[b]*")
    store.root.mkdir()
    mine = tmp_path / ".a[b]*.sources.77-0a.writing.parquet"
    others = tmp_path / ".ab.sources.77-0a.writing.parquet"
    for path in (mine, others):
        path.write_text("half")
    store_layout.clear_leftovers(store)
    assert (mine.exists(), others.exists()) == (False, True)
    assert read_private(store.private_sources).is_empty()
