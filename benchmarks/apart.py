"""Contenders in processes of their own: what one does to memory, caches and settings is not the other's to feel."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.measuring import Measured, measured

Runs = dict[str, Callable[[], object]]


class Apart:
    """A process that makes the runs `prepare(*given)` names, when asked and one at a time; it waits idle meanwhile."""

    def __init__(self, prepare: Callable[..., Runs], *given: object) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit this process's memory and threads
        self._end, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, prepare, given), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, name: str) -> tuple[Measured, Any]:
        """What the run took, and what it gave. Ends the program where the process has ended."""
        try:
            self._end.send(name)
            took, given = self._end.recv()
        except (EOFError, BrokenPipeError):
            raise SystemExit(f"{name}: its process has ended; what it said of that is above.") from None
        return took, given

    def end(self) -> None:
        self._end.close()
        self._process.join()


def _serve(asked: Connection, prepare: Callable[..., Runs], given: tuple[object, ...]) -> None:
    runs = prepare(*given)
    while True:
        try:
            name = asked.recv()
        except EOFError:
            return
        results: list[object] = []
        took = measured(lambda run=runs[name], results=results: results.append(run()))
        asked.send((took, results[0]))
