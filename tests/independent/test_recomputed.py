"""A report's numbers are those of recompute.py, which shares no line with the package; an altered one is noticed."""

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
import yaml
from simulate import Cohort, make_store, population, write_run, write_training

from advassay import store_layout
from advassay.identity import content_hash
from advassay.report import write_report
from advassay.spec.attack_spec import Arm
from advassay.study import load_study
from advassay.study.run.preregistration import freeze_analysis_plan

sys.path.insert(0, str(Path(__file__).parent))

from recompute import Number, disagreements, look_up, numbers

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


PLANNED = (
    Cohort("X-A", "X-ray", epsilon50=0.03, slope=1.2, patients=30, archive="X", lost_again=0.1),
    Cohort("X-B", "X-ray", epsilon50=0.04, slope=1.0, patients=30, archive="X", lost_again=0.1),
    Cohort("X-C", "X-ray", epsilon50=0.05, slope=1.0, patients=24, images_per_patient=3, lost_again=0.1),
    Cohort("H-IN", "histology", epsilon50=0.07, slope=0.9, patients=30),
    Cohort("H-OUT", "histology", epsilon50=1.0, slope=0.8, patients=30),
)
"""Cohorts that share images, and one whose ε50 lies beyond the grid."""
PLAN: dict[str, Any] = {
    "arm": "A", "step_size": 0.025, "success": "any", "dose": "as recorded", "epsilon": 0.08,
    "confidence_threshold": 0.9, "level": 0.9,
}  # fmt: skip
"""Every choice other than the default; the arm is the second one declared."""
CHANGES: dict[str, dict[str, list[int]]] = {
    "0.08": {"gained": [3, 7], "lost": [5], "any_gained": [3, 9], "any_lost": [], "left_out": [0, 11, 12, 20]},
    "0.12": {"gained": [4], "lost": [], "any_gained": [4, 9], "any_lost": [], "left_out": [0, 11, 12, 21]},
}
"""ε → what a control to 2K iterations found, as places among its 24 images."""
DOUBLED = ("images", "at_k", "at_2k", "gained", "lost", "any_k", "any_2k")


@pytest.fixture(scope="module", params=["simple", "planned"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store, by the default plan or by one that chooses otherwise."""
    path: Path = tmp_path_factory.mktemp("independent") / "store"
    return planned_store(path) if request.param == "planned" else simple_store(path)


def planned_store(path: Path) -> Path:
    """A store with a frozen plan, the control to 2K, cohorts that share images and a main network trained twice."""
    make_store(path, PLANNED, {"C": ARMS["C"], "A": ARMS["A"]}, gallery=False, seed=3)
    study = yaml.safe_load((path / "study.yaml").read_text())
    study["analysis"] |= PLAN
    study["cohorts"]["X-C"]["seeds"] = 2
    (path / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    images, files = population(PLANNED[2], 3), store_layout.Store(path)
    write_training(files, PLANNED[2], images, seed=1)
    write_run(files, PLANNED[2], images, "A", ARMS["A"], position=1, primary=False, seed=1, extra=0.3)
    freeze_analysis_plan(load_study(path / "study.yaml"), files)
    for run in sorted((path / "records").iterdir()):
        header = json.loads((run / "header.json").read_text())
        header["controls"]["doubling"] = {
            "steps": 16, "step_size": "0.025", "arm": "A",
            "by_epsilon": {text: dict(zip(DOUBLED, (20, 12, 13, 2, 1, 12, 14), strict=True)) for text in CHANGES},
            "image_ids": pq.read_table(run / "images.parquet")["image_id"].to_pylist()[:24], "changes": CHANGES,
        }  # fmt: skip
        (run / "header.json").write_text(json.dumps({k: v for k, v in header.items() if k != "content_sha256"}))
    return path


def simple_store(path: Path) -> Path:
    """A store with a size series, repeated patients, ties, NaN logits, a row twice, and superseded runs."""
    make_store(path, COHORTS, ARMS, gallery=False)
    run = next(
        header.parent
        for header in sorted((path / "records").glob("*/header.json"))
        if (h := json.loads(header.read_text()))["cohort"] == "X-TB" and h["arm"] == "A"
    )
    shutil.copytree(run, path / "superseded" / f"{run.name}-00000000")
    superseded_in_place(run)
    shard = min((run / "shards").glob("*.parquet"))
    changed = shard.with_name(f"{shard.name.partition('-')[0]}.parquet")  # a name without the footer's checksum
    rewrite_logits(shard, changed, with_ties_and_nan)
    shard.unlink()
    shard = changed
    rewrite_logits(shard, shard.with_name("zz-twice.parquet"), lambda logits, labels: -logits)
    return path


def superseded_in_place(run: Path) -> None:
    """Write the run once more as one of other rules, which study.yaml does not ask for, and with other numbers."""
    header = json.loads((run / "header.json").read_text())
    header["attack"]["seed"] += 1
    named = {"cohort": header["cohort_identity"], "classifier": header["classifier"], "attack": header["attack"]}
    header["run_id"] = content_hash(named | {"rerun_of": None})
    other = run.with_name(header["run_id"])
    shutil.copytree(run, other)
    (other / "header.json").write_text(json.dumps({k: v for k, v in header.items() if k != "content_sha256"}))
    for shard in (other / "shards").glob("*.parquet"):
        rewrite_logits(shard, shard, lambda logits, labels: -logits)


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


def test_the_recomputation_shares_no_line_with_the_package() -> None:
    tree = ast.parse(Path(__file__).with_name("recompute.py").read_text())
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    foreign = imported - set(sys.stdlib_module_names)
    assert foreign == {"numpy", "scipy", "pyarrow", "yaml"}


def test_every_number_of_the_report_is_the_recomputed_one(report: dict[str, Any], recomputed: list[Number]) -> None:
    assert disagreements(report, recomputed) == []


def test_any_single_altered_number_is_noticed(report: dict[str, Any], recomputed: list[Number]) -> None:
    altered = copy.deepcopy(report)
    unnoticed = []
    for number in recomputed:
        place, last = look_up(altered, number.path[:-1]), number.path[-1]
        printed = place[last]
        for other in alterations(printed, number.value if number.within else None):
            place[last] = other
            if not disagreements(altered, [number]):
                unnoticed.append((number.path, printed, other))
        place[last] = printed
    assert unnoticed == []
    assert altered == report


def alterations(printed: Any, part: str | None) -> list[Any]:
    """Return the printed value 1 % larger and smaller, one count more and fewer, or with one digit changed."""
    if part is not None:
        whole, digit = (printed, next(c for c in part if c.isalnum()))
        other = part.replace(digit, "7" if digit != "7" else "8", 1)
        return [whole.replace(part, other) if isinstance(whole, str) else [w.replace(part, other) for w in whole]]
    if isinstance(printed, str):
        return [printed[:-1], printed + "0", "supported" if printed != "supported" else "contradicted"]
    if printed is None:
        return [0.5]
    if isinstance(printed, int):
        return [printed + 1, printed - 1, None]
    return [printed * 1.01, printed * 0.99, None] if printed else [0.01, -0.01, None]


NOT_RECOMPUTED = {
    "performance": {"image_type"},
    "epsilon50": {"image_type", "train_size", "seed", "cohorts"},
    "success_by_arm": {"image_type", "train_size", "seed", "step"},
    "success_by_epsilon": {"image_type", "train_size", "seed", "step"},
    "success_by_iteration": {"image_type", "step_size", "train_size", "seed"},
    "success_by_training_size": {"image_type", "arm", "step_size", "step"},
}
"""Columns that say what a row is, or are told by its keys."""


@pytest.mark.parametrize("table", sorted(NOT_RECOMPUTED))
def test_no_row_and_no_number_of_these_tables_is_left_out(
    table: str, report: dict[str, Any], recomputed: list[Number]
) -> None:
    if table not in report["tables"]:
        assert table == "success_by_training_size"  # the planned store has no series
        return
    columns, rows = report["tables"][table]["columns"], report["tables"][table]["rows"]
    found = {(n.path[3], columns[int(n.path[4])]) for n in recomputed if n.path[:2] == ("tables", table)}
    keys = {"cohort", "arm", "step_size", "epsilon", "step", "success", "train_size", "seed"}
    compared = {name for _, name in found}
    assert compared | (keys & set(columns)) | NOT_RECOMPUTED[table] == set(columns)
    assert found == {(i, name) for i in range(len(rows)) for name in compared}


def test_no_number_of_a_conclusion_is_left_out(report: dict[str, Any], recomputed: list[Number]) -> None:
    found = {n.path for n in recomputed}
    left_out = set()
    for i, one in enumerate(report["conclusions"]):
        if one["estimate"] is None:
            continue
        left_out |= {name for name in one if is_number(one[name]) and ("conclusions", i, name) not in found}
        for j, row in enumerate(one["details"]):
            left_out |= {n for n in row if is_number(row[n]) and ("conclusions", i, "details", j, n) not in found}
    # What a conclusion and a network are called, and what the plan states.
    assert left_out - {"train_size", "seed"} == {"number", "margin"}


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def test_the_store_holds_what_the_rules_are_about(
    store: Path, report: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """Every way to make an interval, every bound, ties and NaN: else the comparison would not be about them."""
    if request.node.callspec.params["store"] == "planned":
        first, second, *_ = report["conclusions"]
        assert second["n"] == 4  # of five cohorts two share their images
        assert (first["step_size"], first["level"], first["prespecified"]) == ("0.025", 0.9, False)
        sides = dict.fromkeys(row[report["tables"]["epsilon50"]["columns"].index("side")] for row in
                              report["tables"]["epsilon50"]["rows"])  # fmt: skip
        assert set(sides) == {"inside", "above"}
        return
    table = report["tables"]["success_by_arm"]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    assert {row["method"] for row in rows} == {"Wilson", "Wilson, effective n", "patient bootstrap"}
    assert {row["step_size"] for row in rows} == {"0.05", "0.025", "epsilon/4"}
    assert {one["step_size"] for one in report["conclusions"]} == {"0.05"}
    # Images without a decision at one ε leave that ε alone.
    assert len({row["n"] for row in rows if row["cohort"] == "X-TB" and row["arm"] == "A"}) > 1
    assert len(list((store / "records").iterdir())) == len(report["tables"]["runs"]["rows"]) + 1
