"""A training run's state, written at intervals: killed or stopped, it goes on from there to the same network.

Weights, Adam's moments, the evaluations so far, the best network and the generators' states: from these the updates
that follow are the same, bit for bit, as without the stop (on the processor, for one number of threads).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Callback

from advassay.errors import AdvassayWarning
from advassay.store_layout import writing
from advassay.training.evaluation import Evaluations
from advassay.training.quiet_lightning import StopRequest

PROGRESS = "training-progress.pt"
"""Beside the network while it is trained; gone when it is done."""
EVERY_SECONDS = 120.0
VERSION = 1


class TrainingState(NamedTuple):
    """What a run that goes on begins with."""

    updates: int
    network: Mapping[str, torch.Tensor]
    optimiser: Mapping[str, Any]
    evaluations: Mapping[str, Any]
    generators: Mapping[str, Any]


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


class SaveTrainingState(Callback):
    """After every update: write the state where the last one is old enough, and end where a stop is asked for."""

    def __init__(
        self,
        path: Path,
        identity: str,
        evaluations: Evaluations,
        stop: StopRequest,
        before: TrainingState | None,
    ) -> None:
        self._path, self._identity = path, identity
        self._evaluations, self._stop, self._before = evaluations, stop, before
        self._written = time.monotonic()

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        self._written = time.monotonic()

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Put the generators where they were; the optimiser has its moments back by now."""
        if self._before is not None:
            _set_generators(self._before.generators)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._stop.requested or time.monotonic() - self._written >= EVERY_SECONDS:
            self._write(trainer, module)
        if self._stop.requested:
            raise KeyboardInterrupt

    def _write(self, trainer: Any, module: Any) -> None:
        state = {
            "version": VERSION,
            "identity": self._identity,
            "torch": str(torch.__version__),
            "updates": self._evaluations.updates,
            "network": module.classifier.module.state_dict(),
            "optimiser": trainer.optimizers[0].state_dict(),
            "evaluations": self._evaluations.state(),
            "generators": _generators(),
        }
        with writing(self._path) as beside:
            torch.save(state, beside)
        self._written = time.monotonic()


def _generators() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_generators(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["cpu"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
