"""What a plan would take on a cluster: attacks divide, a network does not, and a stated rate and price are used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_study import TINY
from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.errors import SpecError
from advassay.study import Plan, PlanRow
from advassay.study.plan.cluster_estimate import ClusterShape, estimate_cluster

ROWS = (
    PlanRow("prepare", "A", "", "images", 100, 0, seconds=10.0, bytes=1000),
    PlanRow("train", "A", "main network", "training passes", 1000, 0, seconds=100.0, bytes=500),
    PlanRow("attack", "A", "main network", "gradient steps", 8000, 0, arm="A", seconds=800.0, bytes=200),
    PlanRow("re-run", "A", "main network", "gradient steps", 800, 0, arm="A", at_most=True, seconds=80.0, bytes=20),
)
PLAN = Plan("one", ROWS)


def test_attacks_divide_among_workers_and_a_network_is_one_workers() -> None:
    one = estimate_cluster(PLAN, ClusterShape(1, cores=1), threads=1)
    assert (one.seconds, one.seconds_at_most) == (910.0, 990.0)
    many = estimate_cluster(PLAN, ClusterShape(4, cores=2), threads=1)
    assert many.workers == 8
    assert (many.seconds, many.seconds_at_most) == (10 + 100 + 100, 10 + 100 + 110)
    assert many.network_bytes == 1720 + 4 * 1500


def test_a_machine_measured_with_two_threads_stands_for_two_cores() -> None:
    assert estimate_cluster(PLAN, ClusterShape(1, cores=2), threads=2).seconds == 2 * 10 + 2 * 100 + 800


def test_a_stated_rate_of_gpus_and_a_price_give_time_and_cost() -> None:
    found = estimate_cluster(PLAN, ClusterShape(gpus=2, gpu_rate=100.0, price=3.6), threads=2)
    assert found.seconds == 10 + 15 + 40
    assert found.cost == pytest.approx(3.6 * 2 * 65 / 3600)


def test_a_cluster_of_nothing_or_of_both_is_refused() -> None:
    for shape in (ClusterShape(8), ClusterShape(1, cores=4, gpus=1), ClusterShape(1, cores=4, gpu_rate=9.0)):
        with pytest.raises(SpecError):
            estimate_cluster(PLAN, shape, threads=1)


def test_the_command_prints_the_model_and_gives_it_as_json(tmp_path: Path) -> None:
    study = tmp_path / "tiny.yaml"
    study.write_text(TINY)
    asked = ["plan", str(study), "--store", str(tmp_path / "store"), "--nodes", "8", "--cores", "64", "--price", "2"]
    told = CliRunner().invoke(app, asked)
    assert told.exit_code == 0, told.output
    assert "on 8 nodes of 64 cores, as a model: about" in told.stdout
    cluster = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)["cluster"]
    assert cluster["workers"] == 512
    assert cluster["seconds"] > 0
    refused = CliRunner().invoke(app, ["plan", str(study), "--nodes", "8"])
    assert refused.exit_code == 2
    assert "--cores or --gpus" in refused.stderr
