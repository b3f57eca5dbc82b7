"""Run a Keras model in this process, which gives up the network first: MODEL GIVEN.npy FOUND.npy.

A script of its own, started by formats/keras_archive.py; it imports nothing of advassay. What is given is what the
network takes; what is found are its outputs, as its own last layer gives them.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
"""Flags of unshare(2): a namespace without network, which an ordinary user may make inside one of his own."""
BLOCKED = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "socket.sendmsg", "subprocess.Popen",
           "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile")  # fmt: skip
"""Events of Python's audit hook that end the process."""
BATCH = 8


def give_up_network() -> str:
    """Leave the network namespace where the system allows it, and refuse sockets and programs in any case.

    Returns "namespace" or "hook": what holds.
    """
    try:
        left = ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0
    except (OSError, AttributeError):
        left = False

    def refuse(event: str, arguments: Any) -> None:
        if event in BLOCKED:
            raise PermissionError(f"{event} is not allowed while a model of unknown origin is loaded")

    sys.addaudithook(refuse)
    return "namespace" if left else "hook"


def main(model_path: str, given_path: str, found_path: str) -> None:
    """Load the model, run it on the batches of an array, and save its outputs."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    import numpy as np
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "0")) or torch.get_num_threads())
    give_up_network()
    model = keras.models.load_model(model_path, compile=False, safe_mode=True)
    given = np.load(given_path, allow_pickle=False)
    found = []
    with torch.no_grad():
        for start in range(0, len(given), BATCH):
            outputs = model(torch.from_numpy(given[start : start + BATCH]), training=False)
            found.append(outputs.detach().cpu().numpy())
    np.save(found_path, np.concatenate(found))


if __name__ == "__main__":
    main(*sys.argv[1:4])
