"""The benchmark of clusters runs, and what handing out work needs does not grow with the images."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import cluster


def test_the_part_without_ray_runs_and_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--part", "engine", "--images", "1000", "--folder", str(tmp_path)]
    cluster.main(asked)
    first = capsys.readouterr().out
    assert "| 1,000 |" in first
    cluster.main(asked)
    assert capsys.readouterr().out == first


def test_memory_of_the_process_that_hands_out_work_is_flat() -> None:
    few, many = cluster.engine(10**4), cluster.engine(10**6)
    assert many["pieces"] > 10 * few["pieces"]
    assert many["peak_bytes"] < 2 * few["peak_bytes"]
