"""STORE/cluster.json: what is under way on a cluster, what was set aside, and which machine attacked what."""

from __future__ import annotations

from collections.abc import Sequence

from advassay.checked_files import write_document
from advassay.records import read_cluster
from advassay.records.run_header import now
from advassay.store_documents import ClusterDocument, Machine, NodeWork
from advassay.store_layout import Store
from advassay.study.run.run_pieces import PieceDone
from advassay.study.store_locks import document_lock


class ClusterLog:
    """Writes STORE/cluster.json for one process. Several may: each adds what it counted since it wrote last."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._since: dict[str, NodeWork] = {}
        self._aside: tuple[str, ...] = ()

    def claim(self, machine: Machine) -> Machine:
        """The kind of machine that this store is filled on: the one it has, else `machine`, from now on."""
        with document_lock(self.store, "cluster"):
            held = read_cluster(self.store.root) or ClusterDocument()
            if held.machine is None:
                write_document(self.store.cluster, held.model_copy(update={"machine": machine}))
            return held.machine or machine

    def attacked(self, node: str, done: PieceDone, seconds: float) -> None:
        """Count a piece that a worker on `node` has attacked."""
        work = NodeWork(
            pieces=1,
            images=done.images,
            rows=done.rows,
            gradient_evaluations=done.gradient_evaluations,
            seconds=seconds,
        )
        self._since[node] = self._since.get(node, NodeWork()).plus(work)

    def set_aside(self, what: str) -> None:
        self._aside = (*self._aside, what)

    def write(self, done: int, jobs: int, running: Sequence[str], workers: int) -> None:
        """Bring STORE/cluster.json up to date."""
        with document_lock(self.store, "cluster"):
            held = read_cluster(self.store.root) or ClusterDocument()
            added = {node: held.nodes.get(node, NodeWork()).plus(work) for node, work in self._since.items()}
            update = {
                "nodes": held.nodes | added, "done": done, "jobs": jobs, "running": tuple(running), "workers": workers,
                "aside": self._aside, "updated": now(),
            }  # fmt: skip
            write_document(self.store.cluster, held.model_copy(update=update))
            self._since = {}
