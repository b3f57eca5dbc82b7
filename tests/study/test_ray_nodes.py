"""A study on two nodes, of which one is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_study import assert_equal_records

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'advassay[ray]'"),
]


def test_a_node_lost_in_the_middle_changes_no_record(begun: Path, finished: Path) -> None:
    script = Path(__file__).with_name("two_nodes.py")
    done = subprocess.run(
        [sys.executable, str(script), str(begun)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"nodes": 2, "killed": True, "aside": 0}
    assert_equal_records(finished, begun)
