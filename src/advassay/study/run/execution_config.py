"""The execution configuration, chosen once per store and kept in STORE/compute.json.

Results are bitwise independent of order, neighbours and interruption for one configuration (batch size, memory
format, rewrites, threads, device, torch version). So a resumed study reuses the one it began with.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from advassay.checked_files import read_document, write_document
from advassay.errors import AdvassayWarning, DamagedError, StoreError
from advassay.progress import timed_task
from advassay.records import read_header
from advassay.spec.attack_spec import Precision
from advassay.store_documents import ExecutionConfig
from advassay.store_layout import HEADER
from advassay.study.environment import RunEnvironment
from advassay.study.gradient_counts import control_steps, steps_at
from advassay.study.run_request import RunRequest
from advassay.study.store_locks import document_lock

if TYPE_CHECKING:
    from advassay.classifier import Classifier


class WorkloadSize:
    """What all runs of one execution configuration ask for."""

    def __init__(self, *requests: RunRequest) -> None:
        self.rows: list[int] = []
        """Of each run: about how many trajectories go on side by side, so that small runs do not pad large batches."""
        self.steps = 0
        """Gradient steps of all, which bound what measuring may cost."""
        for request in requests:
            self.add(request)

    def add(self, request: RunRequest) -> None:
        images, arm = len(request.image_ids), request.arm
        steps = images * steps_at(arm, request.points)
        self.rows.append(max(1, steps // max(1, arm.steps)))  # shared prefixes are one trajectory while they last
        self.steps += steps + (control_steps(arm, min(images, request.control_images)) if request.controls else 0)
        if request.doubling is not None:
            self.steps += request.doubling.gradient_steps(arm, images)


WorkloadOf = Callable[[str], WorkloadSize]
"""Kind of network, image and precision (`kind_of`) → all that is to be done with it."""


def kind_of(architecture: str, image_shape: Sequence[int], precision: Precision, device: str) -> str:
    """What networks have in common that share an execution configuration. `image_shape`: (channel, height, width)."""
    return f"{architecture} {'x'.join(map(str, image_shape))} {precision} {device}"


def choose_execution_config(
    classifier: Classifier,
    example: np.ndarray,
    *,
    architecture: str,
    precision: Precision,
    site: RunEnvironment,
    workload: WorkloadOf,
) -> ExecutionConfig:
    """The store's configuration for this kind of network, image and precision; chosen and kept at the first call.

    `example`: one float32 image (channel, height, width). A configuration that this machine cannot repeat (other device
    or torch version) is chosen anew, with a warning: across configurations logits agree to a tolerance, not bit for
    bit. Processes that ask at the same time get the same one: one measures, the others wait for it.
    """
    key = kind_of(architecture, example.shape, precision, site.device)
    if (config := _usable(_read(site.store.compute, site).get(key), site)) is None:
        with document_lock(site.store, "compute"):
            kept = _read(site.store.compute, site)
            if (config := _usable(kept.get(key), site)) is None:
                config = _choose(classifier, example, architecture, precision, site, workload(key), kept, key)
                _write(site.store.compute, kept | {key: config})
                return config
    _use_threads(config.threads, site)
    return config


def repeat_execution_config(config: ExecutionConfig, site: RunEnvironment) -> None:
    """Compute as a run was begun. Raises StoreError on a machine that cannot: rows of two kinds are never mixed."""
    import torch

    if _usable(config, site) is None:
        raise StoreError(
            f"compute.json: the run was begun on {config.device}, torch {config.torch}; this one has {site.device}, "
            f"torch {torch.__version__}.",
            "Let all machines that work on one store be of one kind, with one environment.",
        )
    _use_threads(config.threads, site)


def _usable(config: ExecutionConfig | None, site: RunEnvironment) -> ExecutionConfig | None:
    """The configuration, where this machine can repeat it."""
    import torch

    here = (site.device, str(torch.__version__))
    return config if config is not None and (config.device, config.torch) == here else None


def _choose(
    classifier: Classifier,
    example: np.ndarray,
    architecture: str,
    precision: Precision,
    site: RunEnvironment,
    work: WorkloadSize,
    kept: dict[str, ExecutionConfig],
    key: str,
) -> ExecutionConfig:
    import torch

    from advassay.attacks import tune_batch_size

    if key in kept or any(other.device != site.device for other in kept.values()):
        warnings.warn(
            f"the store was begun on another device or torch version; {architecture} now runs as {site.device}, "
            f"torch {torch.__version__}: logits agree with earlier ones to a tolerance, not bit for bit.",
            AdvassayWarning,
            stacklevel=3,
        )
    if site.threads is not None:
        torch.set_num_threads(site.threads)
    with timed_task(site.progress, f"measure batch sizes of {architecture}"):
        return tune_batch_size(
            classifier, example, precision=precision, device=site.device, rows=work.rows, steps=work.steps
        )


def _use_threads(threads: int, site: RunEnvironment) -> None:
    import torch

    if site.threads not in (None, threads):
        warnings.warn(
            f"--threads {site.threads}: the attacks keep the {threads} threads this store began with, because another "
            "number changes the last bits of the logits.",
            AdvassayWarning,
            stacklevel=3,
        )
    torch.set_num_threads(threads)


def _read(path: Path, site: RunEnvironment) -> dict[str, ExecutionConfig]:
    """Kind → configuration; of a file that is damaged what the runs' headers still say."""
    fix = "`advassay attack` with the same study and --store writes it anew."
    try:
        return {key: ExecutionConfig.model_validate(config) for key, config in read_document(path, fix).items()}
    except FileNotFoundError:
        return {}
    except (DamagedError, ValidationError):
        found = _recorded(site)
        warnings.warn(
            f"{path.name} of the store could not be read; {len(found)} execution configuration(s) are taken from the "
            "runs' headers, others are chosen anew.",
            AdvassayWarning,
            stacklevel=3,
        )
        return found


def _recorded(site: RunEnvironment) -> dict[str, ExecutionConfig]:
    """Kind → configuration as the runs' headers say it."""
    found = {}
    for path in sorted(site.store.records.glob(f"*/{HEADER}")):
        try:
            header = read_header(path.parent)
        except StoreError:
            continue
        if (config := header.compute) is not None:
            image = (header.channels, header.image_size_px, header.image_size_px)
            found[kind_of(header.architecture, image, header.attack["precision"], config.device)] = config
    return found


def _write(path: Path, configs: dict[str, ExecutionConfig]) -> None:
    write_document(path, {key: config.model_dump(mode="json") for key, config in configs.items()})
