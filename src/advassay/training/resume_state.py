"""Stopping a training and going on with it: its state is written at intervals, and at Ctrl-C or SIGTERM.

Weights, Adam's moments, the evaluations so far, the best network and the generators' states: from these the updates
that follow are the same, bit for bit, as without the stop (on the processor, for one number of threads).
"""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from advassay.errors import AdvassayWarning
from advassay.store_layout import writing
from advassay.training.evaluation import Evaluations

PROGRESS = "training-progress.pt"
"""Beside the network while it is trained; gone when it is done."""
EVERY_SECONDS = 120.0
VERSION = 2


class TrainingState(NamedTuple):
    """What a run that goes on begins with."""

    updates: int
    network: Mapping[str, torch.Tensor]
    optimiser: Mapping[str, Any]
    evaluations: Mapping[str, Any]
    generators: Mapping[str, Any]
    threads: int


def read_training_state(path: Path, identity: str) -> TrainingState | None:
    """The state of a stopped training of this very network; None where there is none, or, with a warning, where it
    cannot be read or is of another one.
    """
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        known = (state["version"], state["identity"], state["torch"]) == (VERSION, identity, str(torch.__version__))
        found = TrainingState(*(state[name] for name in TrainingState._fields))
    except Exception as error:  # torch.load raises what its unpickler stumbles over
        known, found = False, None
        reason = type(error).__name__
    else:
        reason = "of another network or torch version"
    if known:
        return found
    warnings.warn(
        f"training starts from its first update: {path.name} cannot be used ({reason}).", AdvassayWarning, stacklevel=3
    )
    return None


def thread_note(before: TrainingState) -> str | None:
    """What to say where a training goes on with another number of threads, which rounds sums in another order."""
    now = torch.get_num_threads()
    if before.threads == now:
        return None
    return (
        f"Training went on at update {before.updates} with {now} threads after {before.threads}: the last bits of the "
        "weights, and what training makes of them, differ from a training that was not stopped."
    )


class TrainingStateWriter:
    """Writes the state where the last one is old enough, and ends the training where a stop is asked for."""

    def __init__(self, path: Path, identity: str) -> None:
        self._path, self._identity = path, identity
        self._written = time.monotonic()

    def after_update(
        self,
        network: torch.nn.Module,
        optimiser: torch.optim.Optimizer,
        evaluations: Evaluations,
        stop: StopRequest,
    ) -> None:
        """Raises KeyboardInterrupt once the state is written, where `stop` asks for it."""
        if stop.requested or time.monotonic() - self._written >= EVERY_SECONDS:
            self._write(network, optimiser, evaluations)
        if stop.requested:
            raise KeyboardInterrupt

    def _write(self, network: torch.nn.Module, optimiser: torch.optim.Optimizer, evaluations: Evaluations) -> None:
        state = {
            "version": VERSION,
            "identity": self._identity,
            "torch": str(torch.__version__),
            "threads": torch.get_num_threads(),
            "updates": evaluations.updates,
            "network": network.state_dict(),
            "optimiser": optimiser.state_dict(),
            "evaluations": evaluations.state(),
            "generators": _generators(),
        }
        with writing(self._path) as beside:
            torch.save(state, beside)
        self._written = time.monotonic()


def _generators() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_generators(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["cpu"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])


class StopRequest:
    """Whether Ctrl-C or SIGTERM has asked the training to stop after its update."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The signal that asked."""

    @property
    def requested(self) -> bool:
        return self.number is not None

    def __call__(self, number: int, frame: object) -> None:
        """A signal's handler: the first asks, the second stops at once."""
        if self.requested:
            raise KeyboardInterrupt
        self.number = number


@contextmanager
def stops_after_update() -> Iterator[StopRequest]:
    """Ctrl-C and SIGTERM become a request to stop after the update; the signal is raised again once that has been done.

    Where SIGTERM has the system's own handling, it keeps that. Outside the main thread signals are not touched.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    handled = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.getsignal(number) for number in handled if callable(signal.getsignal(number))}
    try:
        for number in handlers:
            signal.signal(number, stop)
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if stop.number is not None:
            signal.raise_signal(stop.number)  # to who handles it outside
