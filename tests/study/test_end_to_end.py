"""A whole tiny study, interrupted, extended and repeated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_study import TINY, Counting, assert_equal_records, assert_equal_rows, cpu, recorded
from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.errors import AdvassayWarning, StoreError
from advassay.records import open_records
from advassay.spec.study_spec import Study
from advassay.store_documents import TrainingDocument
from advassay.study import parse_study, stored_study, train
from advassay.study.plan.study_plan import plan
from advassay.study.run.runner import run
from advassay.study.store_locks import store_lock


def test_every_arm_attacks_the_main_networks_and_the_main_arm_the_series(finished: Path, tiny: Study) -> None:
    found = {(h.cohort, h.arm, h.primary): h for h in open_records(finished).headers}
    assert set(found) == {
        ("X-TB", "A", True), ("X-TB", "C", True), ("H-BR", "A", True), ("H-BR", "C", True), ("H-BR", "A", False),
    }  # fmt: skip
    main, series = found["H-BR", "A", True], found["H-BR", "A", False]
    assert {(p.epsilon, p.images) for p in main.points} == {(0.02, 10), (0.1, 10)}
    assert {(p.epsilon, p.images) for p in series.points} == {(0.02, 10)}
    assert series.train_size < main.train_size
    assert main.controls is not None
    assert main.controls.epsilon_zero_changed == 0
    assert stored_study(cpu(finished).store) == tiny


def test_every_size_of_a_series_gets_the_same_updates(finished: Path) -> None:
    documents = [
        TrainingDocument.model_validate_json(path.read_text())
        for path in sorted((finished / "classifiers").glob("*/training.json"))
    ]
    assert {document.updates for document in documents} == {4}
    assert len({document.train_size for document in documents if document.cohort == "H-BR"}) == 2


def test_the_gallery_keeps_three_images_of_each_class_at_every_point_of_the_main_arm(finished: Path) -> None:
    examples = open_records(finished).gallery()
    assert {example.arm for example in examples} == {"A"}
    for cohort in ("X-TB", "H-BR"):
        kept = [(e.label, e.image_id, e.epsilon) for e in examples if e.cohort == cohort]
        assert len(kept) == len(set(kept)) == 2 * 3 * 2
    assert all((finished / "gallery" / e.adversarial_file).exists() for e in examples)


def test_other_questions_to_the_same_networks_are_scored_anew(copied: Path, tiny: Study) -> None:
    before = {document.classifier: document for document in train(tiny, cpu(copied))}
    for document in train(parse_study(TINY, overrides=["cohorts.X-TB.positive=norm"]), cpu(copied)):
        old = before[document.classifier].validation
        new = document.validation
        swapped = (new.sensitivity, new.specificity) == (old.specificity, old.sensitivity)
        assert swapped if document.cohort == "X-TB" else new == old
    path = copied / "classifiers" / next(iter(before)) / "training.json"
    other = before[path.parent.name].model_copy(update={"cohort_identity": "another validation part"})
    wrong = other.validation.model_copy(update={"accuracy": -1.0})
    path.write_text(other.model_copy(update={"validation": wrong}).model_dump_json())
    assert {document.classifier: document for document in train(tiny, cpu(copied))} == before


def test_the_same_command_again_changes_no_file(copied: Path, tiny: Study) -> None:
    before = contents(copied)
    counting = Counting()
    run(tiny, cpu(copied, progress=counting))
    assert contents(copied) == before
    assert counting.tasks == []


def contents(store: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file() and p.name != ".lock"
    }


@pytest.mark.parametrize(("unit", "after"), [("updates", 6), ("gradient steps", 3), ("gradient steps", 60)])
def test_a_study_stopped_anywhere_continues_to_the_same_records(
    finished: Path, begun: Path, tiny: Study, unit: str, after: int
) -> None:
    stop = Counting(lambda what, done: what == unit and done >= after)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, cpu(begun, progress=stop))
    run(tiny, cpu(begun))
    assert_equal_records(finished, begun)


def test_a_study_killed_while_attacking_continues_to_the_same_records(
    finished: Path, begun: Path, tiny: Study, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    command = [sys.executable, "-m", "advassay.cli", "attack", str(file), "--store", str(begun), "--device", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: any(begun.glob("records/*/shards/*.parquet")), process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(tiny, cpu(begun))
    assert_equal_records(finished, begun)


def until(reached, process: subprocess.Popen[bytes], seconds: float = 120) -> bool:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if reached():
            return True
        time.sleep(0.01)
    return bool(reached())


def test_an_added_epsilon_computes_only_what_is_missing(copied: Path) -> None:
    before = recorded(copied)
    counting = Counting()
    wider = parse_study(TINY, overrides=["attack.arms.A.epsilons=[0.02, 0.1, 0.06]"])
    run(wider, cpu(copied, progress=counting))
    assert counting.done == {"gradient steps": 2 * 10 * 3}  # main networks × images × steps of the new ε
    after = recorded(copied)
    assert after.keys() == before.keys()
    for run_id, rows in before.items():
        assert_equal_rows(rows, after[run_id].take(np.isin(after[run_id].epsilon, rows.epsilon)))


def test_added_images_are_attacked_and_the_old_ones_kept(copied: Path) -> None:
    with pytest.warns(AdvassayWarning, match="does not reach"):
        more = parse_study(TINY, overrides=["attack.images=14"])
    counting = Counting()
    run(more, cpu(copied, progress=counting))
    assert {h.images for h in open_records(copied).headers if h.arm == "A"} == {14}
    assert counting.by_task["attack"] < 3 * 4 * 2 * 3 + 1  # three networks × new images × (two ε) × steps


def test_plan_finds_nothing_to_do_in_a_finished_store(finished: Path, tiny: Study) -> None:
    assert all(row.missing == 0 for row in plan(tiny, cpu(finished), timed=False).rows)


def test_a_store_is_for_one_study(copied: Path) -> None:
    with pytest.raises(StoreError, match="holds the study 'tiny', got 'other'"):
        run(parse_study(TINY, overrides=["name=other"]), cpu(copied))


def test_two_processes_cannot_write_to_one_store(copied: Path, tiny: Study) -> None:
    with store_lock(cpu(copied).store), pytest.raises(StoreError, match=f"process {os.getpid()} does"):
        run(tiny, cpu(copied))
    run(tiny, cpu(copied))  # the lock ended with its holder


def test_run_ends_with_the_report_of_what_the_store_holds(copied: Path, tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    result = CliRunner().invoke(app, ["run", str(file), "--store", str(copied), "--device", "cpu"])
    assert result.exit_code == 0, result.stderr
    page = Path(result.stdout.strip())
    assert page.parent == copied / "report"
    assert "X-TB" in page.read_text()
    assert any((copied / "report" / "figures").glob("*.png"))
