"""The tiny study on two nodes (two raylets of this machine), one of which is killed while it attacks.

    python two_nodes.py STORE

Prints the number of nodes that had workers, and of workers that began, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

os.environ |= {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}
os.environ |= {"RAY_AUTH_TOKEN": os.urandom(32).hex(), "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # loopback

import ray
from ray.cluster_utils import Cluster
from tiny_study import TINY, cpu

from advassay.study import parse_study
from advassay.study.launchers.ray_launcher import OBJECT_STORE, RayCluster, RayWorkers
from advassay.study.run.runner import run

seen: list[tuple[str, int]] = []
greeted = RayWorkers._greeted


def noted(self: RayWorkers, actor: Any, *about: Any) -> None:
    greeted(self, actor, *about)
    seen.append((actor.node_id, actor.process))


def main(store: Path) -> None:
    RayWorkers._greeted = noted  # type: ignore[method-assign]
    node = {"num_cpus": 1, "object_store_memory": OBJECT_STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    other = cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE)
    ray.init(address=cluster.address, log_to_driver=False)

    def kill() -> None:
        while not any(store.glob("records/*/shards/*.parquet")) or len({node for node, _ in seen}) < 2:
            time.sleep(0.05)
        cluster.remove_node(other, allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        on = RayCluster(cores_per_worker=1, device="cpu")
        run(parse_study(TINY), cpu(store), launcher=on.launch)
        killer.join(timeout=1)
        told = {"nodes": len({node for node, _ in seen}), "killed": not killer.is_alive(), "aside": len(on.set_aside)}
        print(json.dumps(told))
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
