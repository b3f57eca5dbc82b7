"""Lightning's Trainer for one device: no logs, no files, no bar of its own, and Ctrl-C stays a KeyboardInterrupt."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def quiet_trainer(*, updates: int, device: torch.device, precision: Any, callbacks: list[Any]) -> Any:
    """A lightning.Trainer that makes exactly `updates` optimiser updates in one pass over its loader."""
    from lightning import Trainer
    from lightning.pytorch.plugins.environments import LightningEnvironment

    with quiet_lightning():
        return Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=[device.index or 0] if device.type == "cuda" else 1,
            precision=precision,
            max_steps=updates,
            max_epochs=1,
            callbacks=callbacks,
            plugins=[LightningEnvironment()],  # one process, also inside a SLURM job
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Lightning's notes (hardware found, tips) are kept from the terminal; warnings of others pass."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


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
def interruptible() -> Iterator[StopRequest]:
    """Ctrl-C and SIGTERM become a request to stop after the update, which ends in KeyboardInterrupt.

    Lightning answers that with sys.exit(1) and leaves Ctrl-C ignored; both are undone. Where SIGTERM has the system's
    own handling, it keeps that. Outside the main thread signals are not touched.
    """
    stop, stopped = StopRequest(), False
    in_main_thread = threading.current_thread() is threading.main_thread()
    caught = [signal.SIGINT] if callable(signal.getsignal(signal.SIGINT)) else []
    caught += [signal.SIGTERM] if callable(signal.getsignal(signal.SIGTERM)) else []
    handlers = {number: signal.getsignal(number) for number in caught}
    try:
        if in_main_thread:
            for number in caught:
                signal.signal(number, stop)
        yield stop
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        stopped = True
    except KeyboardInterrupt:
        stopped = True
    finally:
        if in_main_thread:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    if stopped:
        if stop.number is not None:
            signal.raise_signal(stop.number)  # to who handles it outside
        raise KeyboardInterrupt
