"""A report's numbers are those of recompute.py, which shares no line with the package; one altered number is noticed."""

from __future__ import annotations

import ast
import copy
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from simulate import Cohort, make_store

from advassay.attack_spec import Arm
from advassay.report import write_report

sys.path.insert(0, str(Path(__file__).parent))

from recompute import Number, disagreements, look_up, numbers  # noqa: E402

COHORTS = (
    Cohort("X-ONE", "X-ray", epsilon50=0.05, slope=1.2, patients=60, images_per_patient=1),
    Cohort("X-TB", "X-ray", epsilon50=0.04, slope=1.0, patients=30, lost_again=0.1),
    Cohort("H-FOUR", "histology", ("a", "b", "c", "d"), epsilon50=0.08, slope=0.8, patients=12, images_per_patient=4),
    Cohort("H-BR", "histology", epsilon50=0.09, slope=0.9, patients=24, images_per_patient=3, sizes=(40, 80, 160),
           seeds=(0, 1)),
)  # fmt: skip
ARMS = {
    # Declared order is not alphabetical: the first declared step size is the analysed one.
    "A": Arm(epsilons=(0.02, 0.04, 0.08, 0.12, 0.2), step_sizes=(0.05, 0.025), steps=8),
    "C": Arm(epsilons=(0.001, 0.0025, 0.005, 0.01), step_sizes=("epsilon/4",), steps=8, loss="margin"),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store with a size series, repeated patients, ties, NaN logits, a row twice, and a superseded run."""
    path = make_store(tmp_path_factory.mktemp("independent") / "store", COHORTS, ARMS, gallery=False)
    run = next(
        header.parent
        for header in sorted((path / "records").glob("*/header.json"))
        if (h := json.loads(header.read_text()))["cohort"] == "X-TB" and h["arm"] == "A"
    )
    shutil.copytree(run, path / "superseded" / f"{run.name}-00000000")
    shard = min((run / "shards").glob("*.parquet"))
    rewrite_logits(shard, shard, with_ties_and_nan)
    rewrite_logits(shard, shard.with_name("zz-twice.parquet"), lambda logits, labels: -logits)
    return path


def rewrite_logits(shard: Path, to: Path, change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    """Write the shard once more with other logits."""
    table = pq.read_table(shard)
    column = table["logits"].combine_chunks()
    steps, classes = column.type.list_size, column.type.value_type.list_size
    logits = np.array(column.flatten().flatten()).reshape(len(table), steps, classes)
    flat = pa.array(change(logits, np.array(table["label"])).ravel(), pa.float32())
    new = pa.FixedSizeListArray.from_arrays(pa.FixedSizeListArray.from_arrays(flat, classes), steps)
    place = table.schema.get_field_index("logits")
    pq.write_table(table.set_column(place, table.schema.field(place), new.cast(column.type)), to)


def with_ties_and_nan(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Ties at the last iterate of every 9th row (label 0 stands, label 1 falls); no decision in the middle of some."""
    changed = logits.copy()
    changed[::9, -1] = 0.25
    changed[5::50, 4, 0] = np.nan
    changed[11::70, -1, 1] = np.nan
    return changed


@pytest.fixture(scope="module")
def report(store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of the store as JSON."""
    path = tmp_path_factory.mktemp("independent") / "report.json"
    write_report(store, path, "json")
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


@pytest.fixture(scope="module")
def recomputed(store: Path, report: dict[str, Any]) -> list[Number]:
    """Every number of the curves, of ε50 and of the conclusions."""
    return numbers(store, report)
