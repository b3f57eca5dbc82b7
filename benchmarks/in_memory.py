"""Records that never saw a disk: what a simulated study would read back, for benchmarks that need hundreds of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from advassay.records import RunHeader
from advassay.records.row_shards import FLAG
from advassay.records.run_reader import IMAGE_COLUMNS, RowIndex, Run
from advassay.records.store_reader import Records
from advassay.spec.attack_spec import Arm
from advassay.trajectory import TrajectoryRows
from tests.simulate import Cohort, image_rows, population, run_header, size_series, trajectories


class HeldRun(Run):
    """A run whose rows are held in memory, sorted as a store sorts them."""

    def __init__(self, header: RunHeader, images: pl.DataFrame, rows: TrajectoryRows) -> None:
        self.header, self.folder = header, Path(header.run_id)
        self.__dict__["images"] = images
        place = {image: k for k, image in enumerate(images["image_id"])}
        image = np.array([place[i] for i in rows.image_id], np.int32)
        names = tuple(sorted(set(rows.step_size.tolist())))
        step_size = np.array([names.index(name) for name in rows.step_size], np.int32)
        order = np.lexsort((image, rows.restart, rows.epsilon, step_size))
        self._rows = rows.take(order)
        self.__dict__["index"] = RowIndex(
            names, step_size[order], self._rows.epsilon, self._rows.restart, image[order], order, tuple(rows.flags)
        )

    def column(self, name: str) -> np.ndarray:
        """As `Run.column`."""
        flag = name.removeprefix(FLAG)
        return np.asarray(self._rows.flags[flag] if name.startswith(FLAG) else getattr(self._rows, name))


class HeldRecords(Records):
    """Records over runs in memory, in a store's order; cohorts in the order given."""

    def __init__(self, given: list[HeldRun]) -> None:
        runs = sorted(given, key=lambda run: _place(run.header))
        self.root = Path("in memory")
        self._runs = {run.header.run_id: run for run in runs}
        self.headers, self.superseded, self.reruns = [run.header for run in runs], [], []
        self.transfers = ()
        self.__dict__["_study_as_text"] = {"cohorts": dict.fromkeys(run.header.cohort for run in given)}


def _place(header: RunHeader) -> tuple[str, int, int, int]:
    return (header.cohort, header.arm_position, header.train_size or 0, header.seed or 0)


def simulated_records(
    cohorts: tuple[Cohort, ...], arms: dict[str, Arm], doses: dict[str, float], seed: int
) -> HeldRecords:
    """The records that `tests.simulate.make_store` would write: every arm of every cohort, and size series."""
    runs = []
    for cohort in cohorts:
        images = population(cohort, seed)
        frame = image_rows(cohort, images).with_columns(parent_image_id=pl.lit(None))
        frame = frame.select([pl.col(name).cast(kind) for name, kind in IMAGE_COLUMNS.items()])
        for position, (name, arm) in enumerate(arms.items()):
            header = run_header(cohort, name, arm, position=position)
            runs.append(HeldRun(header, frame, trajectories(cohort, images, arm, extra=doses[name])))
        main = next(iter(arms.items()))
        for size, network, extra, arm in size_series(cohort, main, seed):
            header = run_header(cohort, main[0], arm, train_size=size, full=False, primary=False, seed=network)
            runs.append(HeldRun(header, frame, trajectories(cohort, images, arm, extra=extra, seed=network)))
    return HeldRecords(runs)
