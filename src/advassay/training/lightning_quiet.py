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


@contextmanager
def interruptible() -> Iterator[None]:
    """Lightning answers Ctrl-C with sys.exit(1) and leaves the signal ignored; undo both."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if in_main_thread and handler is not None:
            signal.signal(signal.SIGINT, handler)
