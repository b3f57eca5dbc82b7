"""STORE/cluster.json: what is under way on a cluster, what was set aside, and which machine attacked what."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from advassay.checked_files import read_model, write_document
from advassay.errors import DamagedError
from advassay.records.run_header import now
from advassay.store_layout import Store
from advassay.study.run.run_pieces import PieceDone


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


class ClusterDocument(BaseModel):
    """Written by the process that hands out the work, every few seconds and at its end."""

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

    def attacked(self, node: str, done: PieceDone, seconds: float) -> None:
        """Count a piece that a worker on `node` has attacked."""
        work = self.nodes.setdefault(node, NodeWork())
        work.pieces += 1
        work.images += done.images
        work.rows += done.rows
        work.gradient_evaluations += done.gradient_evaluations
        work.seconds += seconds

    def set_aside(self, what: str) -> None:
        self.aside = (*self.aside, what)

    def write(self, store: Store, done: int, jobs: int, running: Sequence[str], workers: int) -> None:
        """Replace STORE/cluster.json."""
        self.done, self.jobs, self.running, self.workers = done, jobs, tuple(running), workers
        self.updated = now()
        write_document(store.cluster, self)


def read_cluster(store: Store) -> ClusterDocument | None:
    """What the store knows of the clusters that filled it; None where none did. A damaged one is written anew."""
    try:
        return read_model(store.cluster, ClusterDocument, "It is written anew by the next `advassay run --on ray`.")
    except (FileNotFoundError, DamagedError):
        return None
