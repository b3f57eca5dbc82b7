"""The server as a person starts it: on loopback alone, with an address printed, until Ctrl-C."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from advassay.errors import SpecError, StoreError
from advassay.viewer import OpenedStore
from advassay.viewer.server import HOST, bound


def test_only_loopback_is_bound_and_a_taken_port_is_refused() -> None:
    with bound(0) as listening:
        host, port = listening.getsockname()
        assert host == HOST == "127.0.0.1"
        with pytest.raises(SpecError, match=f"--port: expected a free port, {port} cannot be bound"):
            bound(port)


def test_the_verb_prints_an_address_answers_and_ends_with_ctrl_c(finished: Path) -> None:
    command = [sys.executable, "-m", "advassay.cli", "view", str(finished), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        with urllib.request.urlopen(address) as answer:
            assert answer.status == 200
            assert b"<title>Overview</title>" in answer.read()
        port = int(address.rstrip("/").rpartition(":")[2])
        with pytest.raises(OSError), socket.create_connection((_outer_address(), port), timeout=2):  # noqa: PT011
            pass
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode in (0, 130), errors
    assert "Traceback" not in errors


def _outer_address() -> str:
    """An address of this machine that is not loopback's own 127.0.0.1."""
    return "127.0.0.2"


def test_a_folder_without_records_is_no_store_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        OpenedStore(tmp_path)
