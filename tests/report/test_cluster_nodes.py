"""The page says which nodes of a cluster attacked what, by number and kind: host names stay in the store."""

from __future__ import annotations

from pathlib import Path

from advassay.report.text.methods import _nodes
from advassay.store_documents import Machine
from advassay.store_layout import Store
from advassay.study.launchers.cluster_document import ClusterLog
from advassay.study.run.run_pieces import PieceDone


def test_the_methods_say_what_each_node_attacked_without_its_name(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert list(_nodes(store.root)) == []
    log = ClusterLog(store)
    log.claim(Machine(device="cpu", device_name="a maker", instructions=("avx2", "fma"), torch="2.9"))
    log.attacked("ward-7.hospital", PieceDone(1200, 12000, 5), 1.0)
    log.attacked("archive.hospital", PieceDone(3, 30, 5), 1.0)
    log.write(1, 1, (), 2)
    assert list(_nodes(store.root)) == [
        "Pieces of runs were attacked on a cluster, on nodes of one kind (cpu a maker with avx2, fma, torch 2.9): "
        "node 1: 1 pieces, 3 images, 30 rows; node 2: 1 pieces, 1,200 images, 12,000 rows."
    ]
    store.cluster.write_text("{}}")
    assert list(_nodes(store.root)) == [
        "Which nodes of a cluster attacked what is not known: cluster.json of the store is damaged."
    ]
