"""The compute shape, chosen once per store and kept in STORE/compute.json.

Results are bitwise independent of order, neighbours and interruption for one compute shape (batch size, memory
format, rewrites, threads, device, torch version). So a resumed study reuses the shape it began with.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from advassay.attack_spec import Precision
from advassay.documents import ComputeShape
from advassay.errors import AdvassayWarning
from advassay.layout import writing
from advassay.progress import doing
from advassay.study.counting import control_steps, steps_at
from advassay.study.place import Site
from advassay.study.targets import Assignment

if TYPE_CHECKING:
    from advassay.classifier import Classifier


class Workload:
    """What all runs of one compute shape ask for."""

    def __init__(self, *assignments: Assignment) -> None:
        self.rows: list[int] = []
        """Of each run: about how many trajectories go on side by side, so that small runs do not pad large batches."""
        self.steps = 0
        """Gradient steps of all, which bound what measuring may cost."""
        for assignment in assignments:
            self.add(assignment)

    def add(self, assignment: Assignment) -> None:
        images, arm = len(assignment.image_ids), assignment.arm
        steps = images * steps_at(arm, assignment.points)
        self.rows.append(max(1, steps // max(1, arm.steps)))  # shared prefixes are one trajectory while they last
        self.steps += steps + (control_steps(arm, min(images, assignment.control_images)) if assignment.controls else 0)
        if assignment.doubling is not None:
            self.steps += assignment.doubling.gradient_steps(arm, images)


def kind_of(architecture: str, image_shape: Sequence[int], precision: Precision, device: str) -> str:
    """What networks have in common that share a compute shape. `image_shape`: (channel, height, width)."""
    return f"{architecture} {'x'.join(map(str, image_shape))} {precision} {device}"


def compute_shape(
    classifier: Classifier, example: np.ndarray, *, architecture: str, precision: Precision, site: Site, work: Workload
) -> ComputeShape:
    """The store's shape for this kind of network, image and precision; chosen and kept at the first call.

    `example`: one float32 image (channel, height, width); `work`: of all runs of that kind. A shape that this machine
    cannot repeat (other device or torch version) is chosen anew, with a warning: across shapes logits agree to a
    tolerance, not bit for bit.
    """
    import torch

    from advassay.attacks import choose_compute_shape

    key = kind_of(architecture, example.shape, precision, site.device)
    path = site.store.compute
    kept = _read(path)
    shape = kept.get(key)
    if shape is not None and (shape.device, shape.torch) == (site.device, str(torch.__version__)):
        _use_threads(shape.threads, site)
        return shape
    if shape is not None or any(other.device != site.device for other in kept.values()):
        warnings.warn(
            f"the store was begun on another device or torch version; {architecture} now runs as {site.device}, "
            f"torch {torch.__version__}: logits agree with earlier ones to a tolerance, not bit for bit.",
            AdvassayWarning,
            stacklevel=2,
        )
    if site.threads is not None:
        torch.set_num_threads(site.threads)
    with doing(site.progress, f"measure batch sizes of {architecture}"):
        shape = choose_compute_shape(
            classifier, example, precision=precision, device=site.device, rows=work.rows, steps=work.steps
        )
    _write(path, kept | {key: shape})
    return shape


def _use_threads(threads: int, site: Site) -> None:
    import torch

    if site.threads not in (None, threads):
        warnings.warn(
            f"--threads {site.threads}: the attacks keep the {threads} threads this store began with, because another "
            "number changes the last bits of the logits.",
            AdvassayWarning,
            stacklevel=3,
        )
    torch.set_num_threads(threads)


def _read(path: Path) -> dict[str, ComputeShape]:
    if not path.exists():
        return {}
    return {key: ComputeShape.model_validate(shape) for key, shape in json.loads(path.read_text()).items()}


def _write(path: Path, shapes: dict[str, ComputeShape]) -> None:
    text = json.dumps({key: shape.model_dump(mode="json") for key, shape in shapes.items()}, indent=2)
    with writing(path) as beside:
        beside.write_text(text + "\n")
