"""STORE/cluster.json: the kind of machine is the first one's, and what several processes count is added up."""

from __future__ import annotations

from pathlib import Path

import pytest

from advassay.errors import DamagedError
from advassay.records import read_cluster
from advassay.store_documents import Machine, NodeWork
from advassay.store_layout import Store
from advassay.study.launchers.cluster_document import ClusterLog
from advassay.study.run.run_pieces import PieceDone

ONE, OTHER = (Machine(device="cpu", device_name=name, torch="2.9") for name in ("one maker", "another"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_of_two_processes_the_first_fixes_the_kind_of_machine(store: Store) -> None:
    first, second = ClusterLog(store), ClusterLog(store)
    assert first.claim(ONE) == ONE
    assert second.claim(OTHER) == ONE
    second.write(0, 1, (), 1)
    assert read_cluster(store.root).machine == ONE  # type: ignore[union-attr]


def test_what_two_processes_count_is_added_up_once(store: Store) -> None:
    first, second = ClusterLog(store), ClusterLog(store)
    for log in (first, second):
        log.attacked("a", PieceDone(2, 20, 200), 1.5)
    second.attacked("b", PieceDone(1, 10, 100), 1.0)
    for log in (first, second, first, second):
        log.write(1, 2, (), 1)
    found = read_cluster(store.root)
    assert found is not None
    assert found.nodes == {
        "a": NodeWork(pieces=2, images=4, rows=40, gradient_evaluations=400, seconds=3.0),
        "b": NodeWork(pieces=1, images=1, rows=10, gradient_evaluations=100, seconds=1.0),
    }


def test_a_damaged_document_is_refused_and_not_forgotten(store: Store) -> None:
    ClusterLog(store).claim(ONE)
    text = store.cluster.read_text()
    store.cluster.write_text(text.replace("one maker", "two maker"))
    with pytest.raises(DamagedError, match="checksum"):
        ClusterLog(store).claim(OTHER)
