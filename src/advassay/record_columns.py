"""The columns of a record: the only list of them.

Rows in memory (`trajectory.TrajectoryRows`), the engine's state, shards, the long table of outcomes and the table in
records/FORMAT.md follow from the two classes below. A new column is one line in `PathColumns` and the code that
computes it: for one measured on the perturbation or on the gradient an entry of what `attacks/attack_step.py` measures
there, for one of the last iterate an entry of what `attacks/engine/finished_rows.py` measures there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, get_type_hints

import numpy as np

Dtype = Literal["string", "bool", "int32", "int64", "float32", "float64"]
Axis = Literal["step", "class"]
Origin = Literal["key", "network", "gradient", "perturbation", "verifier", "last iterate", "search"]


@dataclass(frozen=True)
class Column:
    """What a column is, beside its name. Its first axis is the row."""

    dtype: Dtype
    origin: Origin
    """key: what tells rows apart, and labels. Else what it is measured on: see the module."""
    meaning: str
    """As FORMAT.md says it."""
    axes: tuple[Axis, ...] = ()
    """Axes after the row: step has K + 1 entries, of which entry 0 is the clean image."""
    fill: float | bool = False
    """What stands where nothing was computed: after a row has retired, and in rows of files without the column."""
    may_lack: bool = False
    """Whether files written before the column existed are read, with `fill` in its place. True for every new one."""

    @property
    def numpy_dtype(self) -> np.dtype:
        """As arrays hold it; text is an object array."""
        return np.dtype(object if self.dtype == "string" else self.dtype)

    def shape(self, rows: int, steps: int, classes: int) -> tuple[int, ...]:
        """Of the column in a block of so many rows, with K = `steps`."""
        return (rows, *(steps + 1 if axis == "step" else classes for axis in self.axes))

    def type_text(self) -> str:
        """The type as FORMAT.md writes it.

        >>> Column("float32", "network", "", ("step", "class")).type_text()
        'list[K+1] of list[C] of float'
        """
        item = {"float32": "float", "float64": "double"}.get(self.dtype, self.dtype)
        return "".join("list[K+1] of " if axis == "step" else "list[C] of " for axis in self.axes) + item


STEP: tuple[Axis, ...] = ("step",)
NAN = float("nan")


@dataclass(frozen=True)
class KeyColumns:
    """What tells a row from others, and what its image is: (row,) each."""

    image_id: Annotated[np.ndarray, Column("string", "key", "hash of the pixel content as decoded")]
    step_size: Annotated[np.ndarray, Column("string", "key", "the rule: `0.01` or `epsilon/4`")]
    epsilon: Annotated[
        np.ndarray,
        Column(
            "float64",
            "key",
            "fraction of the [0, 1] range (an L2 length for norm l2), 12 significant digits; 0 = control",
        ),
    ]
    restart: Annotated[np.ndarray, Column("int32", "key", "0 = the declared run; 1 … restarts of images that survived")]
    label: Annotated[np.ndarray, Column("int64", "key", "index into `class_names`")]
    target: Annotated[np.ndarray, Column("int64", "key", "class to reach; −1 = untargeted", fill=-1)]


@dataclass(frozen=True)
class PathColumns:
    """What is recorded of a row's path. In `TrajectoryRows` the leading axis is the row; `Trajectory` and `Sweep` have
    (…, step, image, …) instead."""

    logits: Annotated[np.ndarray, Column("float32", "network", "of the iterate", ("step", "class"), NAN)]
    gradient_norm: Annotated[
        np.ndarray,
        Column(
            "float32", "gradient", "L2 norm of the loss gradient at the iterate; NaN where none was taken", STEP, NAN
        ),
    ]
    boundary_share: Annotated[
        np.ndarray,
        Column(
            "float32",
            "perturbation",
            "share of pixel values on the ε-boundary; where ε clips the gradient, of gradient values with |g| ≥ ε in "
            "the update that led there (L2: 1 where ‖·‖₂ ≥ ε, else 0)",
            STEP,
            NAN,
        ),
    ]
    linf: Annotated[
        np.ndarray, Column("float32", "perturbation", "largest absolute change of a pixel value, ‖δ‖∞", STEP, NAN)
    ]
    l2: Annotated[
        np.ndarray, Column("float32", "perturbation", "Euclidean length of the perturbation, ‖δ‖₂", STEP, NAN)
    ]
    scored_float32: Annotated[
        np.ndarray, Column("bool", "verifier", "logits are from a float32 pass of the unmodified network", STEP)
    ]
    ssim: Annotated[
        np.ndarray,
        Column("float32", "last iterate", "structural similarity of clean image and last iterate", fill=NAN),
    ]
    forward_passes: Annotated[
        np.ndarray,
        Column(
            "int32",
            "search",
            "queries: images that a search sent through the network for this row; one number where it served all "
            "amplitudes of its image; 0 where not counted",
            may_lack=True,
        ),
    ]
    backward_passes: Annotated[
        np.ndarray,
        Column("int32", "search", "likewise, gradients that came back", may_lack=True),
    ]
    queries_to_success: Annotated[
        np.ndarray,
        Column(
            "int32",
            "search",
            "images that the search had sent through the network when it first had a misclassified point within ε, "
            "that one included; 0 where it had none or it was not counted",
            may_lack=True,
        ),
    ]


def _columns(cls: type) -> dict[str, Column]:
    """Name → column of a class whose fields are annotated with columns, in its order."""
    hints = get_type_hints(cls, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


PATH_COLUMNS = _columns(PathColumns)
COLUMNS = _columns(KeyColumns) | PATH_COLUMNS
"""Name → column, in the order in which a shard has them."""
KEYS = ("image_id", "step_size", "epsilon", "restart")
"""Columns that tell a row from every other one of a run."""


def columns_of(*origins: Origin) -> tuple[str, ...]:
    """Names of the path columns that are measured on that, in order.

    >>> columns_of("gradient"), columns_of("perturbation")
    (('gradient_norm',), ('boundary_share', 'linf', 'l2'))
    """
    return tuple(name for name, column in PATH_COLUMNS.items() if column.origin in origins)


def columns_over(axes: tuple[Axis, ...]) -> tuple[str, ...]:
    """Names of the path columns with these axes after the row, in order."""
    return tuple(name for name, column in PATH_COLUMNS.items() if column.axes == axes)


def unset_columns(rows: int, steps: int, classes: int, names: Iterable[str] = COLUMNS) -> dict[str, np.ndarray]:
    """Name → array of so many rows, with K = `steps`, in which nothing is computed yet.

    >>> unset_columns(2, 3, 2, ["linf"])["linf"].shape
    (2, 4)
    """
    wanted = {name: COLUMNS[name] for name in names}
    return {
        name: np.full(column.shape(rows, steps, classes), "" if column.dtype == "string" else column.fill,
                      column.numpy_dtype)
        for name, column in wanted.items()
    }  # fmt: skip


def bytes_per_iterate(classes: int) -> int:
    """Bytes of one iterate of a row before compression: all columns over steps.

    >>> bytes_per_iterate(2)
    25
    """
    return sum(
        column.numpy_dtype.itemsize * (classes if "class" in column.axes else 1)
        for column in PATH_COLUMNS.values()
        if "step" in column.axes
    )
