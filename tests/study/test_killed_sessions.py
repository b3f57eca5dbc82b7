"""What a run notes, counts and spends is kept with each block: a killed session loses no more than its rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_study import assert_equal_records, cpu

from advassay.records import Run, RunWriter, open_records, read_header, row_shards
from advassay.spec.study_spec import Study
from advassay.store_layout import Store
from advassay.study.run.runner import run


class Killed(BaseException):
    """As SIGKILL ends a process: nothing that follows is run."""


def continued(tiny: Study, store: Path) -> int:
    """Run the study until it ends; returns how often it was killed."""
    for kills in range(40):
        try:
            run(tiny, cpu(store))
        except Killed:
            continue
        return kills
    raise AssertionError("the study never ends")


def begun_with_networks(finished: Path, store: Path) -> None:
    for name in ("cohorts", "classifiers"):
        shutil.copytree(finished / name, store / name)


@pytest.mark.parametrize("before_the_header", [True, False])
def test_a_run_killed_after_each_new_shard_tells_the_same_as_an_undisturbed_one(
    before_the_header: bool, finished: Path, begun: Path, tiny: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun_with_networks(finished, begun)
    write, append, killed = row_shards.write_shard, RunWriter.append, set()

    def writing(folder: Path, *rest: object) -> Path:
        path = write(folder, *rest)  # type: ignore[arg-type]
        if before_the_header and path not in killed:
            killed.add(path)
            raise Killed
        return path

    def appending(writer: RunWriter, rows: object, account: object = None) -> None:
        append(writer, rows, account)  # type: ignore[arg-type]
        key = (writer.header.run_id, writer.header.rows)
        if not before_the_header and key not in killed:
            killed.add(key)
            raise Killed

    monkeypatch.setattr(row_shards, "write_shard", writing)
    monkeypatch.setattr(RunWriter, "append", appending)
    assert continued(tiny, begun) >= 4
    assert_equal_records(begun, finished)
    for header in open_records(begun).headers:
        whole = read_header(Store(finished).run(header.run_id))
        for name in ("notes", "account_note", "points", "images", "rows", "flag_counts", "controls", "band", "held"):
            assert getattr(header, name) == getattr(whole, name), name
        assert header.cost.sessions_started > header.cost.sessions_finished == 1
        assert header.cost.gradient_evaluations > 0  # what sessions spent, the lost work of killed ones not known


def test_cost_and_notes_of_a_killed_session_are_in_the_header_before_it_goes_on(
    finished: Path, begun: Path, tiny: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun_with_networks(finished, begun)
    append = RunWriter.append

    def appending(writer: RunWriter, rows: object, account: object = None) -> None:
        append(writer, rows, account)  # type: ignore[arg-type]
        raise Killed

    monkeypatch.setattr(RunWriter, "append", appending)
    with pytest.raises(Killed):
        run(tiny, cpu(begun))
    [header] = open_records(begun).headers
    assert header.rows == len(Run(Store(begun).run(header.run_id)).index) > 0
    assert header.points
    assert header.cost.gradient_evaluations > 0
    assert header.cost.sessions_finished == 0
