"""Record columns are listed once: what is documented, stored, shown and computed follows from record_columns.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from blocks import POINTS, block, writer

import advassay as aa
from advassay.errors import DamagedError
from advassay.record_columns import COLUMNS, PATH_COLUMNS, Column, KeyColumns, columns_over, unset_columns
from advassay.records import Run, outcomes, row_shards
from advassay.trajectory import Sweep, Trajectory, TrajectoryRows

PACKAGE = Path(aa.__file__).parent
NEW_LINE = (
    "    l1: Annotated[\n"
    '        np.ndarray, Column("float32", "perturbation", "sum of absolute changes, ‖δ‖₁", STEP, NAN, may_lack=True)\n'
    "    ]\n"
)
NEW_CODE = '"l1": delta.sum(dim=1), "linf": linf'
PROGRAM = """
import sys
from pathlib import Path
import numpy as np, polars as pl, torch
import advassay as aa
from advassay.attacks.api import _Arrays
from advassay.records import Run, RunHeader, RunWriter, attack_rules, outcomes, row_shards, run_identity
from advassay.spec.attack_spec import Arm

torch.manual_seed(0)
network = aa.Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2)).eval())
x, arm = torch.rand(4, 1, 4, 4), Arm(epsilons=(0.02, 0.05), steps=4, precision="exact")
y = network(x).argmax(1)
swept = aa.sweep(network, x, y, aa.PGD(0.02, steps=4), epsilons=arm.epsilons, precision="exact")
attacked = aa.attack(network, x, y, aa.PGD(0.05, steps=4))
delta = np.abs(attacked.adversarial_images.astype(np.float64) - x.numpy()).sum((1, 2, 3))
assert np.allclose(attacked.l1[-1], delta, rtol=1e-5) and (attacked.l1[0] == 0).all()
assert (swept.l1[1] == attacked.l1).all()

points = [("0.01", 0.02), ("0.01", 0.05)]
rows, _ = _Arrays(network, x, y, aa.PGD(0.02, steps=4), None, None).run(points, {"0.01": 0.01}, None, "exact")
header = RunHeader(
    run_id=run_identity(classifier="c", arm=arm), cohort="A", class_names=("a", "b"), channels=1, image_size_px=4,
    classifier="c", arm="A", attack=attack_rules(arm), steps=4,
)
writer = RunWriter(Path(sys.argv[1]) / header.run_id, header)
writer.add_images(pl.DataFrame({"image_id": list("0123"), "label": y.tolist(), "patient_id": list("0123")}))
writer.append(rows)
run = Run(Path(sys.argv[1]) / header.run_id)
assert run.column("l1").shape == (8, 5)
long = pl.concat(outcomes.point_frames(run)).filter(pl.col("epsilon") == 0.05)
assert long["l1"].dtype == pl.Float32
assert long.filter(pl.col("step") == 4).sort("image_id")["l1"].to_list() == attacked.l1[-1].tolist()
assert "l1" in row_shards.schema(4, 2, ()).names

old = Run(Path(sys.argv[2]))
assert np.isnan(old.column("l1")).all() and old.column("l1").shape == old.column("l2").shape
assert old.damaged == () and np.isnan(old.rows().l1).all()
print("ok")
"""


def test_a_new_column_is_one_line_and_its_code_from_the_engine_to_the_long_table(tmp_path):
    """A copy of the package with two lines changed, and no more, computes, stores, reads and shows the column."""
    copy = tmp_path / "src" / "advassay"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    insert(copy / "record_columns.py", "    scored_float32: Annotated[", NEW_LINE)
    insert(copy / "attacks" / "attack_step.py", '"linf": linf', NEW_CODE, replaced=True)
    stored = writer(tmp_path / "old")
    stored.append(block(["image0", "image1"]))
    environment = os.environ | {"PYTHONPATH": str(copy.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "new"), str(tmp_path / "old")],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.stdout.strip() == "ok", done.stderr


def insert(path: Path, where: str, text: str, *, replaced: bool = False) -> None:
    content = path.read_text()
    assert content.count(where) == 1
    path.write_text(content.replace(where, text if replaced else text + where))


def test_the_format_document_has_each_column_with_its_type_and_meaning():
    text = (PACKAGE / "records" / "FORMAT.md").read_text()
    lines = [
        f"| {name} | {column.type_text()} | {column.meaning.replace('|', chr(92) + '|')} |"
        for name, column in COLUMNS.items()
    ]
    assert "\n".join(["| column | type | |", "|---|---|---|", *lines, "| flag_"]) in text


def test_blocks_results_shards_and_the_long_table_have_every_column():
    for kind in (TrajectoryRows, Trajectory, Sweep):
        assert set(PATH_COLUMNS) <= set(kind.__dataclass_fields__)
    assert set(KeyColumns.__dataclass_fields__) <= set(TrajectoryRows.__dataclass_fields__)
    assert row_shards.schema(3, 2, ()).names == list(COLUMNS)
    assert set(columns_over(("step",))) <= set(outcomes.SCHEMA)


def test_a_shard_without_an_original_column_is_damaged_and_nothing_is_filled_in(tmp_path):
    stored = writer(tmp_path)
    stored.append(block(["image0"]))
    (path,) = (tmp_path / "shards").glob("*.parquet")
    table = pq.read_table(path).drop(["linf"])
    path.unlink()
    pq.write_table(table, tmp_path / "shards" / "0123456789abcdef.parquet", write_page_checksum=True)
    assert Run(tmp_path).damaged == ("0123456789abcdef.parquet",)
    with pytest.raises(DamagedError):
        row_shards.read_rows(tmp_path / "shards" / "0123456789abcdef.parquet")


def test_unset_columns_hold_what_is_documented_to_stand_where_nothing_was_computed():
    unset = unset_columns(2, 3, 4)
    assert unset.keys() == COLUMNS.keys()
    assert unset["logits"].shape == (2, 4, 4)
    assert np.isnan(unset["ssim"]).all()
    assert not unset["scored_float32"].any()
    assert unset["target"].tolist() == [-1, -1]
    assert unset["image_id"].dtype == object


def test_a_column_says_its_type_as_the_format_document_does():
    assert Column("bool", "verifier", "", ("step",)).type_text() == "list[K+1] of bool"
    assert Column("string", "key", "").type_text() == "string"


def test_rows_read_back_are_the_rows_written(tmp_path):
    stored = writer(tmp_path)
    rows = block(["image0", "image1"], POINTS)
    stored.append(rows)
    (path,) = (tmp_path / "shards").glob("*.parquet")
    again = row_shards.read_rows(path)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(again, name), getattr(rows, name))
    assert isinstance(Run(tmp_path).images, pl.DataFrame)
