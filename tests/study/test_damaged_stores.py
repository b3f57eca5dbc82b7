"""A power cut, a bad disk, an editor: every kind of file of a store, damaged in every way, heals or is named."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tiny_study import assert_equal_records, cpu

from advassay.errors import AdvassayError, AdvassayWarning, DamagedError
from advassay.records import open_records, read_gallery, read_header
from advassay.report import write_report
from advassay.spec.study_spec import Study
from advassay.store_layout import Store
from advassay.study import stored_study
from advassay.study.plan.study_plan import plan
from advassay.study.run.runner import run

KINDS = {
    "header": "records/*/header.json",
    "images": "records/*/images.parquet",
    "shard": "records/*/shards/*.parquet",
    "preparation": "cohorts/*/preparation.json",
    "manifest": "cohorts/*/manifest.parquet",
    "prepared images": "cohorts/*/images-*.parquet",
    "training": "classifiers/*/training.json",
    "model": "classifiers/*/model.safetensors",
    "gallery index": "gallery/index.json",
    "gallery image": "gallery/*.png",
    "compute": "compute.json",
    "study": "study.yaml",
    "lock": ".lock",
    "sources": "../store.sources.parquet",
}


def emptied(data: bytes) -> bytes:
    return b""


def cut_off(data: bytes) -> bytes:
    return data[: len(data) // 2]


def zeroed(data: bytes) -> bytes:
    """The right size, no content: what a file system leaves whose journal knew the size only."""
    return bytes(len(data))


def flipped(data: bytes) -> bytes:
    at = len(data) * 3 // 7
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


DAMAGES = (emptied, cut_off, zeroed, flipped)


def damage(store: Path, kind: str, how: Callable[[bytes], bytes]) -> Path:
    path = sorted(store.glob(KINDS[kind]))[0] if ".." not in KINDS[kind] else store / KINDS[kind]
    path.write_bytes(how(path.read_bytes()))
    return path


def told(work: Callable[[], object]) -> str:
    """Warnings and the error of some work; any other exception is a traceback and fails the test."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AdvassayWarning)
        try:
            work()
            error = ""
        except AdvassayError as problem:
            error = f"Error: {problem}"
    return "\n".join([str(one.message) for one in caught if issubclass(one.category, AdvassayWarning)] + [error])


@pytest.mark.parametrize("how", DAMAGES, ids=lambda how: how.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_named_by_readers_and_healed_or_named_by_the_same_command(
    kind: str, how: Callable[[bytes], bytes], finished: Path, copied: Path, tiny: Study
) -> None:
    shutil.copy(Store(finished).private_sources, Store(copied).private_sources)
    path = damage(copied, kind, how)
    told(lambda: open_records(copied).outcomes().collect())
    told(lambda: plan(stored_study(Store(copied)), cpu(copied), timed=False))
    again = told(lambda: run(tiny, cpu(copied)))
    if "Error" in again:
        assert path.name in again
        assert "Delete" in again  # what to do
        return
    assert_equal_records(copied, finished)
    assert told(lambda: open_records(copied)) == ""
    assert len(read_gallery(copied / "gallery")) == len(read_gallery(finished / "gallery"))
    for header in open_records(copied).headers:
        whole = read_header(Store(finished).run(header.run_id))
        assert (header.rows, header.images, header.points, header.flag_counts) == (
            whole.rows, whole.images, whole.points, whole.flag_counts,
        )  # fmt: skip


@pytest.mark.parametrize("kind", ["header", "images", "preparation", "training", "study"])
@pytest.mark.parametrize("how", DAMAGES[:3], ids=lambda how: how.__name__)
def test_a_report_of_a_damaged_store_is_one_error_that_names_the_file(
    kind: str, how: Callable[[bytes], bytes], copied: Path
) -> None:
    path = damage(copied, kind, how)
    with pytest.raises(DamagedError) as error:
        write_report(copied)
    assert path.name in error.value.problem
    assert error.value.fix


def rewritten(path: Path, column: str, values: list[object]) -> None:
    """A table with other values in a column, and the checksum of the old ones: a flipped bit that still decodes."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    frame = pl.DataFrame(pl.from_arrow(table)).with_columns(pl.Series(column, values))
    pq.write_table(frame.to_arrow().replace_schema_metadata(table.schema.metadata), path)


@pytest.mark.parametrize("column", ["label", "patient_id", "image_id"])
@pytest.mark.parametrize("kind", ["images", "manifest"])
def test_a_changed_label_patient_or_image_is_found_and_not_counted(
    kind: str, column: str, finished: Path, copied: Path, tiny: Study
) -> None:
    path = sorted(copied.glob(KINDS[kind]))[0]
    values = pl.read_parquet(path)[column].to_list()
    values[0] = 1 - values[0] if column == "label" else f"{values[0][:-1]}x"
    rewritten(path, column, values)
    if kind == "images":
        with pytest.raises(DamagedError, match=r"images\.parquet: damaged: it is not as it was written"):
            open_records(copied).outcomes().collect()
    with pytest.warns(AdvassayWarning, match=r"prepared anew|could not be read"):
        run(tiny, cpu(copied))
    assert_equal_records(copied, finished)


def test_a_label_that_differs_from_its_shards_is_found_without_a_checksum(copied: Path, tiny: Study) -> None:
    """A store of an earlier version: images.parquet has no checksum, but its shards know the labels too."""
    path = sorted(copied.glob(KINDS["images"]))[0]
    frame = pl.read_parquet(path)
    frame.with_columns(label=1 - frame["label"]).write_parquet(path)
    with pytest.warns(AdvassayWarning, match="damaged shard"):
        open_records(copied)
    with pytest.warns(AdvassayWarning, match="could not be read"):
        run(tiny, cpu(copied))
    assert pl.read_parquet(path)["label"].to_list() == frame["label"].to_list()


def test_readers_say_how_many_images_a_damaged_shard_has_taken_along(copied: Path) -> None:
    path = damage(copied, "shard", cut_off)
    header = read_header(path.parent.parent)
    said = told(lambda: open_records(copied))
    assert path.name in said
    assert f"of {header.rows} rows are missing" in said
    assert f"of {header.images} images" in said
    assert said == told(lambda: plan(stored_study(Store(copied)), cpu(copied), timed=False)).rstrip("\n") + "\n"


def test_a_flipped_bit_in_logits_is_counted_by_readers_and_healed_by_the_same_command(
    copied: Path, finished: Path, tiny: Study
) -> None:
    import pyarrow.parquet as pq

    path = sorted(copied.glob(KINDS["shard"]))[0]
    group = pq.read_metadata(path).row_group(0)
    logits = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema.startswith("logits"))
    data = bytearray(path.read_bytes())
    data[logits.data_page_offset + logits.total_compressed_size // 2] ^= 4
    path.write_bytes(data)
    said = told(lambda: open_records(copied).outcomes().collect())
    assert path.name in said
    assert "Error" not in said
    assert path.name in told(lambda: plan(stored_study(Store(copied)), cpu(copied), timed=False))
    with pytest.warns(AdvassayWarning, match="could not be read"):
        run(tiny, cpu(copied))
    assert_equal_records(copied, finished)


def test_rows_of_more_than_one_network_in_an_earlier_store_are_said(copied: Path) -> None:
    import pyarrow.parquet as pq

    from advassay.records.row_shards import ACCOUNT, read_rows, write_shard

    header = next(h for h in open_records(copied).headers if h.arm == "A" and h.primary)
    run_of = open_records(copied).run(header.run_id)
    shards = [path for path, _ in run_of._readable[0]]
    rows = read_rows(shards[0])
    logits = rows.logits + np.where(rows.epsilon == rows.epsilon.max(), 1.0, 0.0)[:, None, None].astype(np.float32)
    assert ACCOUNT.encode() in pq.read_schema(shards[0]).metadata
    shards[0].unlink()
    from dataclasses import replace

    write_shard(shards[0].parent, replace(rows, logits=logits))
    with pytest.warns(AdvassayWarning, match="more than one network"):
        open_records(copied).run(header.run_id).column("logits")


def test_files_of_dead_writers_are_cleared_by_the_next_session(copied: Path, tiny: Study) -> None:
    left = [
        copied / "records" / ".header.77.writing.json",
        copied / "gallery" / ".index.77-0a1b2c3d.writing.json",
        copied.parent / f".{copied.name}.sources.77-0a1b2c3d.writing.parquet",
    ]
    mine = copied / "report" / ".report.77-0a1b2c3d.writing.html"  # a report that may be being written
    mine.parent.mkdir(exist_ok=True)
    for path in [*left, mine]:
        path.write_text("half")
    run(tiny, cpu(copied))
    assert not any(path.exists() for path in left)
    assert mine.exists()
