"""STORE/cluster.json: what is under way on a cluster, what was set aside, and which machine attacked what."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from advassay.checked_files import read_model, write_document
from advassay.records.run_header import now
from advassay.store_layout import Store
from advassay.study.run.run_pieces import PieceDone
from advassay.study.store_locks import document_lock


class Machine(BaseModel):
    """What fixes the last bits of a result on a machine, besides the execution configuration."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    device: str
    """cpu or cuda."""
    device_name: str
    """The GPU's name; of a processor its maker."""
    instructions: tuple[str, ...] = ()
    """Sets of vector instructions that a processor has, sorted."""
    torch: str


class NodeWork(BaseModel):
    """What workers on one node have attacked, in all sessions."""

    model_config = ConfigDict(extra="ignore")

    pieces: int = 0
    images: int = 0
    rows: int = 0
    gradient_evaluations: int = 0
    seconds: float = 0.0

    def plus(self, other: NodeWork) -> NodeWork:
        return NodeWork(**{name: getattr(self, name) + getattr(other, name) for name in NodeWork.model_fields})


class ClusterDocument(BaseModel):
    """Written by the processes that hand out work, every few seconds and at their end."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    machine: Machine | None = None
    """The kind of node that this store is filled on: others are refused."""
    nodes: dict[str, NodeWork] = {}
    """Name of a node → what it attacked."""
    jobs: int = 0
    done: int = 0
    workers: int = 0
    running: tuple[str, ...] = ()
    """Jobs under way, in words; empty once the command has ended."""
    aside: tuple[str, ...] = ()
    """What was set aside in the latest session, in words."""
    updated: str = ""


class ClusterLog:
    """Writes STORE/cluster.json for one process. Several may: each adds what it counted since it wrote last."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._since: dict[str, NodeWork] = {}
        self._aside: tuple[str, ...] = ()

    def claim(self, machine: Machine) -> Machine:
        """The kind of machine that this store is filled on: the one it has, else `machine`, from now on."""
        with document_lock(self.store, "cluster"):
            held = read_cluster(self.store) or ClusterDocument()
            if held.machine is None:
                held.machine = machine
                write_document(self.store.cluster, held)
            return held.machine

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
            held = read_cluster(self.store) or ClusterDocument()
            for node, work in self._since.items():
                held.nodes[node] = held.nodes.get(node, NodeWork()).plus(work)
            held.done, held.jobs, held.running, held.workers = done, jobs, tuple(running), workers
            held.aside, held.updated = self._aside, now()
            write_document(self.store.cluster, held)
            self._since = {}


def read_cluster(store: Store) -> ClusterDocument | None:
    """What the store knows of the clusters that filled it; None where none did.

    Raises DamagedError: the kind of machine that the store is filled on would be forgotten.
    """
    fix = "Remove it if all machines that fill this store are of one kind; the next `advassay run --on ray` writes it."
    try:
        return read_model(store.cluster, ClusterDocument, fix)
    except FileNotFoundError:
        return None
