"""The server as a person starts it: on loopback alone, with an address printed, until Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from advassay.errors import SpecError, StoreError
from advassay.process_tuning import REPRODUCIBLE
from advassay.viewer import OpenedStore
from advassay.viewer.server import HOST, bound, checked_host


def test_only_loopback_is_bound_and_a_taken_port_is_refused() -> None:
    with bound(0) as listening:
        host, port = listening.getsockname()
        assert host == HOST == "127.0.0.1"
        with pytest.raises(SpecError, match=f"--port: expected a free port, {port} cannot be bound"):
            bound(port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost", "example.org", "224.0.0.1", "127.0.0.1:80", ""])
def test_another_address_is_a_single_one(host: str) -> None:
    with pytest.raises(SpecError, match="--host: expected one IPv4 address"):
        checked_host(host)


@contextmanager
def started(*arguments: str) -> Iterator[str]:
    """`advassay view` in a process of its own, as a person starts it: the address that it prints."""
    environment = {name: value for name, value in os.environ.items() if name != REPRODUCIBLE}
    command = [sys.executable, "-m", "advassay.cli", "view", *arguments, "--no-browser"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode in (0, 130), errors
    assert "Traceback" not in errors


def answer(address: str) -> Any:
    with urllib.request.urlopen(address) as found:
        return json.load(found)


TWO_CLASSES = """
name: two-classes
image_size_px: 32
sources: {chest: {kind: phantoms, phantom: chest, images: 140, size_px: 32, prevalence: {tuberculosis: 0.5}, signal: 3}}
cohorts:
  X-TB:
    source: chest
    image_type: X-ray
    classes: {tuberculosis: {tuberculosis: present}, norm: {norm: present}}
    per_class: 33
training: {architecture: test_resnet, updates: 4, batch_size: 8, evaluations: 1}
attack: {steps: 3, images: 13, epsilons: [0.01, 0.05], controls: false, arms: {A: {}}}
"""


def test_what_another_process_attacked_is_proved_though_the_network_has_two_classes(tmp_path: Path) -> None:
    """Last bits of a head of two classes depend on the place in the batch unless products are computed strictly, which
    each of the two verbs has to have set for itself. 13 images leave a last batch that is not full."""
    (tmp_path / "study.yaml").write_text(TWO_CLASSES)
    store = tmp_path / "store"
    environment = {name: value for name, value in os.environ.items() if name != REPRODUCIBLE}
    command = [sys.executable, "-m", "advassay.cli", "run", str(tmp_path / "study.yaml"), "--store", str(store)]
    subprocess.run([*command, "--threads", "1", "--quiet"], check=True, env=environment, capture_output=True)
    with started(str(store)) as address:
        rows = answer(f"{address}api/images?limit=500")["rows"]
        assert len(rows) == 13
        for row in rows[:6] + rows[-2:]:
            for epsilon in (0.01, 0.05):
                key = {name: row[name] for name in ("run", "image", "step_size")} | {"epsilon": epsilon}
                while (found := answer(f"{address}api/trajectory?{urlencode(key)}"))["state"] != "done":
                    time.sleep(0.05)
                assert found["proof"]["reason"] == "All logits of iterates 0 to 3 equal the stored ones bit for bit."


def test_another_address_wants_the_token_that_is_printed(finished: Path) -> None:
    with started(str(finished), "--host", _outer_address()) as address:
        bare, _, token = address.partition("?token=")
        assert bare.startswith(f"http://{_outer_address()}:")
        assert len(token) > 30
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{bare}api/store")
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        assert b"<title>Overview</title>" in browser.open(address).read()
        assert browser.open(f"{bare}api/store").status == 200


def test_the_verb_prints_an_address_answers_and_ends_with_ctrl_c(finished: Path) -> None:
    with started(str(finished)) as address:
        with urllib.request.urlopen(address) as found:
            assert found.status == 200
            assert b"<title>Overview</title>" in found.read()
        port = int(address.rstrip("/").rpartition(":")[2])
        with pytest.raises(OSError), socket.create_connection((_outer_address(), port), timeout=2):  # noqa: PT011
            pass


def _outer_address() -> str:
    """An address of this machine that is not loopback's own 127.0.0.1."""
    return "127.0.0.2"


def test_a_folder_without_records_is_no_store_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        OpenedStore(tmp_path)
