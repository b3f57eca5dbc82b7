from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from blocks import ARM, IMAGES, POINTS, block, header, images, writer
from hypothesis import given, settings
from hypothesis import strategies as st

from advassay.errors import AdvassayWarning, StoreError
from advassay.records import Run, RunWriter, compact, open_records, run_identity
from advassay.records.row_shards import is_whole, read_rows, write_shard
from advassay.trajectory import Cost, TrajectoryRows


def same_rows(a: TrajectoryRows, b: TrajectoryRows) -> bool:
    names = ("image_id", "step_size", "epsilon", "restart", "label", "target")
    numbers = ("logits", "gradient_norm", "boundary_share", "linf", "l2", "scored_float32", "ssim")
    return all((getattr(a, n) == getattr(b, n)).all() for n in names) and all(
        np.array_equal(getattr(a, n), getattr(b, n), equal_nan=n == "gradient_norm") for n in numbers
    )


def expected() -> TrajectoryRows:
    rows = block(IMAGES)
    order = sorted(range(len(rows)), key=lambda i: (rows.step_size[i], rows.epsilon[i], rows.image_id[i]))
    return rows.take(np.array(order))


def test_what_is_written_is_read_back_sorted_to_the_last_bit(tmp_path: Path) -> None:
    opened = writer(tmp_path / "run")
    for image in reversed(IMAGES):
        opened.append(block([image]))
    opened.finish(Cost(seconds=1.5))
    rows = Run(tmp_path / "run").rows()
    assert same_rows(rows, expected())
    assert rows.flags["saturated"].sum() == len(POINTS)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.sampled_from(IMAGES), min_size=1, max_size=4, unique=True), max_size=4))
def test_missing_is_what_was_asked_minus_what_is_stored(tmp_path_factory: pytest.TempPathFactory, parts: list) -> None:
    folder = tmp_path_factory.mktemp("run")
    opened = writer(folder)
    for part in parts:
        opened.append(block(part))
    stored = {image for part in parts for image in part}
    again = RunWriter(folder, header())
    assert set(again.missing(IMAGES, POINTS)) == set(IMAGES) - stored
    more = [*POINTS, ("0.01", 0.06)]
    assert again.missing(sorted(stored), more) == {image: frozenset({("0.01", 0.06)}) for image in sorted(stored)}
    assert len(Run(folder).index) == len(stored) * len(POINTS)


def test_amplitudes_that_differ_only_in_rounding_are_one(tmp_path: Path) -> None:
    opened = writer(tmp_path)
    opened.append(block(["image0"], [("0.01", 0.1 + 0.2)]))
    assert opened.missing(["image0"], [("0.01", 0.3)]) == {}


def test_rows_already_stored_are_not_stored_again(tmp_path: Path) -> None:
    opened = writer(tmp_path)
    opened.append(block(["image0", "image1"]))
    opened.append(block(["image1", "image2", "image2"]))
    stored = sum(len(pl.read_parquet(p)) for p in (tmp_path / "shards").glob("*.parquet"))
    assert stored == 3 * len(POINTS)


def test_of_a_key_stored_twice_the_first_shard_by_name_counts(tmp_path: Path) -> None:
    opened = writer(tmp_path)
    first = block(["image0"])
    second = replace(first, logits=first.logits + 1)
    paths = {write_shard(tmp_path / "shards", rows): rows for rows in (first, second)}
    winner = paths[min(paths)]
    assert len(opened.finish().points) == len(POINTS)
    run = Run(tmp_path)
    assert len(run.index) == len(POINTS)
    assert np.array_equal(np.sort(run.column("logits").ravel()), np.sort(winner.logits.ravel()))


def test_a_truncated_shard_counts_as_missing_and_is_computed_again(tmp_path: Path) -> None:
    opened = writer(tmp_path)
    opened.append(block(["image0"]))
    opened.append(block(["image1"]))
    [victim, _] = sorted((tmp_path / "shards").glob("*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-100])
    with pytest.warns(AdvassayWarning, match=f"{victim.name}. 4 of 8 rows are missing, 5 of 6 images"):
        assert open_records(tmp_path).damaged == {header().run_id: (victim.name,)}
    with pytest.warns(AdvassayWarning, match="could not be read"):
        again = RunWriter(tmp_path, header())
    [lost] = again.missing(["image0", "image1"], POINTS)
    again.append(block([lost]))
    done = again.finish()
    assert done.rows == 2 * len(POINTS)
    assert victim.name in done.notes[0]
    assert not open_records(tmp_path).damaged


def test_damage_in_any_column_is_named_by_a_reader_and_mended_by_the_next_writer(tmp_path: Path) -> None:
    opened = writer(tmp_path)
    opened.append(block(IMAGES))
    [victim] = (tmp_path / "shards").glob("*.parquet")
    row_group = pq.ParquetFile(victim).metadata.row_group(0)
    column = next(c for c in map(row_group.column, range(row_group.num_columns)) if c.path_in_schema.startswith("ssim"))
    content = bytearray(victim.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 2] ^= 0xFF
    victim.write_bytes(content)
    assert Run(tmp_path).damaged == (victim.name,)
    assert len(Run(tmp_path).rows()) == 0
    with pytest.warns(AdvassayWarning, match=f"{victim.name}. {len(IMAGES) * len(POINTS)} of .* rows are missing"):
        open_records(tmp_path)
    with pytest.warns(AdvassayWarning, match="could not be read"):
        again = RunWriter(tmp_path, header())
    assert set(again.missing(IMAGES, POINTS)) == set(IMAGES)


def test_the_newest_patients_of_known_images_count_and_their_place_stays(tmp_path: Path) -> None:
    opened = writer(tmp_path)
    newer = images(IMAGES[::-1]).with_columns(pl.lit("one").alias("patient_id"), pl.lit(False).alias("has_patient"))
    opened.add_images(newer)
    found = Run(tmp_path).images
    assert found["image_id"].to_list() == IMAGES
    assert found["patient_id"].unique().to_list() == ["one"]
    assert not found["has_patient"].any()


def test_joined_shards_keep_the_restarts_of_an_image_together(tmp_path: Path) -> None:
    opened = writer(tmp_path)
    for image in IMAGES:
        rows = block([image])
        again = replace(rows, restart=np.ones(len(rows), np.int32))
        opened.append(TrajectoryRows.concatenate([rows, again]))
    compact(tmp_path, rows_per_shard=20)
    held = [set(pl.read_parquet(path)["image_id"]) for path in (tmp_path / "shards").glob("*.parquet")]
    assert len(held) == 3
    assert sum(map(len, held)) == len(IMAGES)


def test_files_left_by_a_killed_writer_are_ignored(tmp_path: Path) -> None:
    opened = writer(tmp_path)
    opened.append(block(["image0"]))
    (tmp_path / "shards" / ".abc.77.writing.parquet").write_bytes(b"half a shard")
    run = Run(tmp_path)
    assert len(run.index) == len(POINTS)
    assert not run.damaged


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from blocks import IMAGES, POINTS, block, writer
real, left = os.replace, int(sys.argv[3])
def replace(source, target):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
    if left == 1 and sys.argv[4] == "after":
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace
opened = writer(Path(sys.argv[2]))
missing = opened.missing(IMAGES, POINTS)
for image, points in missing.items():
    opened.append(block([image], sorted(points)))
opened.finish()
"""


@pytest.mark.parametrize(("rename", "when"), [(1, "before"), (3, "before"), (5, "after"), (9, "before")])
def test_a_run_killed_at_any_rename_ends_with_the_same_records(tmp_path: Path, rename: int, when: str) -> None:
    script = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path / "run")]
    assert subprocess.run([*script, str(rename), when], check=False).returncode == -9
    opened = writer(tmp_path / "run")
    for image, points in opened.missing(IMAGES, POINTS).items():
        opened.append(block([image], sorted(points)))
    done = opened.finish()
    assert same_rows(Run(tmp_path / "run").rows(), expected())
    assert done.images == len(IMAGES)
    assert done.cost.sessions_finished == 1


def test_joining_shards_changes_no_row(tmp_path: Path) -> None:
    opened = writer(tmp_path)
    for image in IMAGES:
        opened.append(block([image]))
    compact(tmp_path, rows_per_shard=16)
    assert len(list((tmp_path / "shards").glob("*.parquet"))) == 2
    assert same_rows(Run(tmp_path).rows(), expected())


def test_a_run_joined_while_it_is_read_says_so_and_a_new_reader_sees_all_of_it(tmp_path: Path) -> None:
    w = writer(tmp_path)
    for image in IMAGES:
        w.append(block([image]))
    reader, late = Run(w.folder), Run(w.folder)
    assert len(reader.index) == len(IMAGES) * len(POINTS)
    compact(w.folder)
    with pytest.raises(StoreError, match="Open the store again"):
        reader.rows()
    assert len(late.rows()) == len(IMAGES) * len(POINTS)


def test_a_run_that_has_only_begun_has_no_points(tmp_path: Path) -> None:
    assert Run(writer(tmp_path).folder).index.points() == {}


def test_cost_is_summed_over_sessions_and_notes_are_kept_once(tmp_path: Path) -> None:
    writer(tmp_path).finish(Cost(gradient_evaluations=5, seconds=1.0), notes=["as noted"])
    done = writer(tmp_path).finish(Cost(gradient_evaluations=7, seconds=2.0), notes=["as noted", "later"])
    assert (done.cost.gradient_evaluations, done.cost.seconds, done.cost.sessions_started) == (12, 3.0, 2)
    assert done.notes == ("as noted", "later")
    assert open_records(tmp_path).headers[0] == done


def test_the_header_counts_points_images_rows_and_flags(tmp_path: Path) -> None:
    opened = writer(tmp_path)
    opened.append(block(["image0", "image2"]))
    opened.append(block(["image3"], POINTS[:1]))
    done = opened.finish()
    assert [point.images for point in done.points] == [3, 2, 2, 2]
    assert (done.images, done.rows, done.flag_counts) == (3, 9, {"saturated": 4})


def test_identity_ignores_the_grid_and_the_images_but_not_the_rules() -> None:
    def identity(**changes: object) -> str:
        return run_identity(classifier="c", cohort_identity="k", arm=ARM.model_copy(update=changes))

    assert identity() == identity(epsilons=(0.5,), step_sizes=("epsilon",), images=3)
    changed = [identity(steps=4), identity(loss="margin"), identity(precision="exact"), identity(seed=1)]
    assert len({identity(), *changed}) == 5
    assert run_identity(classifier="d", cohort_identity="k", arm=ARM) != identity()


def test_a_folder_of_another_run_an_unknown_image_and_a_wrong_shape_are_refused(tmp_path: Path) -> None:
    opened = writer(tmp_path)
    with pytest.raises(StoreError, match="holds run"):
        RunWriter(tmp_path, header(ARM.model_copy(update={"loss": "margin"})))
    with pytest.raises(StoreError, match="add_images"):
        opened.append(block(["image99"]))
    with pytest.raises(StoreError, match=r"\(row, 4, 2\)"):
        opened.append(block(["image0"], steps=5))
    with pytest.raises(StoreError, match="patient_id missing"):
        opened.add_images(images().drop("patient_id"))


def test_no_path_and_no_original_id_reaches_the_records(tmp_path: Path) -> None:
    opened = writer(tmp_path)
    private = pl.lit("/archive/SMITH_JOHN/1.dcm").alias("path"), pl.lit("SMITH-4711").alias("original_patient")
    opened.add_images(images(["image0"]).with_columns(*private))
    opened.append(block(["image0"]))
    opened.finish()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"image0" in written
    assert b"SMITH" not in written
    assert b"/archive" not in written
    assert "path" not in Run(tmp_path).images.columns


def test_a_flipped_bit_anywhere_in_a_shard_is_found_or_changes_nothing(tmp_path: Path) -> None:
    """Pages have checksums of their own; the footer's is in the name: without it a bit there dropped a flag."""
    rows = block(IMAGES)
    path = write_shard(tmp_path, rows)
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    harmless = 0
    for place in [*range(0, footer, 7), *range(footer, len(data), 5)]:
        path.write_bytes(data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :])
        whole = is_whole(path)
        assert not (whole and place >= footer)
        if whole:
            harmless += 1
            assert same_rows(read_rows(path), rows)
    assert harmless > 0  # a page header's optional statistics


def test_a_shard_of_0_1_whose_name_has_no_footer_checksum_is_read(tmp_path: Path) -> None:
    rows = block(IMAGES)
    path = write_shard(tmp_path, rows)
    path = path.rename(path.with_name(path.name.partition("-")[0] + ".parquet"))
    assert is_whole(path)
    assert same_rows(read_rows(path), rows)
