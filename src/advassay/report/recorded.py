"""Run headers with counts of what the shards hold now: a killed session leaves rows that its header does not count."""

from __future__ import annotations

import numpy as np

from advassay.records.header import Point, RunHeader
from advassay.records.run import Run
from advassay.records.shards import FLAG
from advassay.records.store import Records


def recorded(records: Records) -> list[RunHeader]:
    """The current declared runs that hold a row at some ε > 0, in the store's order; points by step size, then ε."""
    headers = [_counted(run) for run in records.runs]
    return [header for header in headers if any(point.epsilon > 0 for point in header.points)]


def _counted(run: Run) -> RunHeader:
    index = run.index
    points = tuple(
        Point(step_size=name, epsilon=epsilon, images=rows.stop - rows.start)
        for (name, epsilon), rows in index.points().items()
    )
    changes: dict[str, object] = {"points": points, "images": len(np.unique(index.image)), "rows": len(index)}
    if run.header.rows != len(index):
        changes["flag_counts"] = {name: int(run.column(FLAG + name).sum()) for name in index.flags}
    return run.header.model_copy(update=changes)
