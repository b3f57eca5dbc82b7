"""What must not leave: paths and original ids, from a table with an absolute path to the page of the report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_study import TINY, Counting, cpu
from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.errors import AdvassayWarning
from advassay.study import load_study, stored_study
from advassay.study.plan.study_plan import plan
from advassay.study.run.runner import run

SECRETS = ("Clinic-7", "Ward B", "scan-of-", "MRN-0")
"""Pieces of the paths and of the original ids below."""


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study over a table named by its absolute path; the classes differ in brightness."""
    folder = tmp_path_factory.mktemp("home") / "Clinic-7" / "Ward B"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["image,patient_id,label"]
    for i in range(60):
        label = ("ill", "well")[i % 2]
        pixels = rng.integers(0, 150, (40, 40), dtype=np.uint8) + np.uint8(60 * (i % 2))
        cv2.imwrite(str(folder / f"scan-of-{i}.png"), pixels)
        lines.append(f"scan-of-{i}.png,MRN-0{i // 2 * 7919},{label}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    study = f"""
name: private
image_size_px: 40
sources: {{clinic: {{kind: table, path: {json.dumps(str(folder / "table.csv"))}}}}}
cohorts: {{X: {{source: clinic, classes: {{ill: {{label: ill}}, well: {{label: well}}}}, split: image}}}}
"""
    file = folder / "study.yaml"
    file.write_text(study + TINY[TINY.index("training:") :])
    return file


@pytest.fixture(scope="module")
def store(study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its store with the report, as the command line leaves it."""
    store = tmp_path_factory.mktemp("private") / "store"
    result = CliRunner().invoke(app, ["run", str(study_file), "--store", str(store), "--device", "cpu"])
    assert result.exit_code == 0, result.stderr
    return store


def legible(path: Path) -> str:
    """What a reader finds in a file: its bytes, and of Parquet every value and the metadata."""
    text = path.read_bytes().decode("utf-8", "replace")
    if path.suffix == ".parquet":
        table = pq.read_table(path, partitioning=None)
        text += str(table.schema.metadata) + str(table.schema) + str(without_pixels(table).to_pylist())
    return text


def without_pixels(table: pa.Table) -> pa.Table:
    heavy = [f.name for f in table.schema if pa.types.is_nested(f.type) or pa.types.is_binary(f.type)]
    return table.drop_columns(heavy)


def test_no_file_of_a_store_holds_a_path_or_an_original_id(store: Path) -> None:
    files = [path for path in store.rglob("*") if path.is_file()]
    kinds = {path.suffix for path in files}
    assert kinds >= {".yaml", ".json", ".parquet", ".safetensors", ".png", ".html", ".csv"}
    found = {(path.name, secret) for path in files for secret in SECRETS if secret in legible(path) + str(path)}
    assert found == set()


def test_what_is_kept_out_stands_in_a_closed_file_beside_the_store(store: Path) -> None:
    private = store.parent / "store.sources.parquet"
    assert private.stat().st_mode & 0o077 == 0
    assert all(secret in legible(private) for secret in SECRETS)


def test_a_store_without_its_paths_still_continues_and_knows_what_is_done(store: Path, study_file: Path) -> None:
    counting = Counting()
    with pytest.warns(AdvassayWarning, match="pseudonyms"):
        run(load_study(study_file), cpu(store, progress=counting))
    assert counting.tasks == []
    alone = cpu(shutil.copytree(store, store.parent / "laptop"))
    assert stored_study(alone.store).sources["clinic"].path == "table.csv"
    assert all(row.missing == 0 for row in plan(stored_study(alone.store), alone, timed=False).rows)
