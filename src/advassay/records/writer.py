"""Writing a run so that it can be killed at any moment: shards beside and renamed, the rest set arithmetic."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from advassay import layout
from advassay.documents import Controls
from advassay.errors import AdvassayWarning, StoreError
from advassay.identity import canonical_float
from advassay.records import shards
from advassay.records.header import Point, RunHeader, now, versions
from advassay.records.run import IMAGE_COLUMNS, MOST_GROUPS, SUBGROUP, Run, read_header
from advassay.trajectory import Cost, TrajectoryRows

GridPoint = tuple[str, float]
"""(step size's name, ε)."""

COMPACT_ABOVE = 64
"""With more shards than this, `finish` joins them: opening thousands of small files is what makes a store slow."""


class RunWriter:
    """Opens or continues records/<run_id>/. Raises StoreError where the folder holds another run."""

    def __init__(self, folder: Path, header: RunHeader) -> None:
        self.folder = folder
        self.header = self._continued(header)
        self._set_aside_damaged()
        self._done = self._stored_keys()
        self._known = set(Run(folder).images["image_id"])

    def _continued(self, header: RunHeader) -> RunHeader:
        """The header with what earlier sessions left, written at once, so that a killed run is still readable."""
        if (self.folder / layout.HEADER).exists():
            earlier = read_header(self.folder)
            if earlier.run_id != header.run_id:
                raise StoreError(f"{self.folder.name}: holds run {earlier.run_id}, got {header.run_id}.")
            kept = ("created", "band", "held", "points", "images", "rows", "flag_counts", "cost", "notes")
            update = {name: getattr(earlier, name) for name in kept}
            header = header.model_copy(
                update=update
                | {"controls": header.controls or earlier.controls, "compute": header.compute or earlier.compute}
            )
        cost = header.cost.model_copy(update={"sessions_started": header.cost.sessions_started + 1})
        return self._write(header.model_copy(update={"cost": cost}))

    def _write(self, header: RunHeader) -> RunHeader:
        header = header.model_copy(update={"updated": now(), "versions": versions()})
        with layout.writing(self.folder / layout.HEADER) as beside:
            beside.write_text(header.model_dump_json(indent=2) + "\n")
        return header

    def _set_aside_damaged(self) -> None:
        run = Run(self.folder)
        within = [path.name for path, _ in run._readable[0] if not shards.is_whole(path)]
        for name in (*run.damaged, *within):
            path = self.folder / layout.SHARDS / name
            path.rename(path.with_name(name + ".damaged"))
            note = f"Shard {name} could not be read; its rows count as missing and are computed again."
            warnings.warn(f"run {self.header.run_id}: {note}", AdvassayWarning, stacklevel=3)
            self.header = self._write(self.header.model_copy(update={"notes": (*self.header.notes, note)}))

    def _stored_keys(self) -> set[tuple[str, str, float, int]]:
        run = Run(self.folder)
        index, ids = run.index, run.images["image_id"].to_list()
        columns = (index.image.tolist(), index.step_size.tolist(), index.epsilon.tolist(), index.restart.tolist())
        return {(ids[i], index.step_sizes[s], e, r) for i, s, e, r in zip(*columns, strict=True)}

    def missing(self, image_ids: Sequence[str], points: Iterable[GridPoint]) -> dict[str, frozenset[GridPoint]]:
        """image_id → the points it still lacks, in the order of `image_ids`; complete images are not in it.

        A point is there when its restart 0 is: a block that holds restart 0 of an image holds all its restarts.
        """
        wanted = [(name, canonical_float(epsilon)) for name, epsilon in points]
        lacking = {i: frozenset(p for p in wanted if (i, *p, 0) not in self._done) for i in image_ids}
        return {image_id: points for image_id, points in lacking.items() if points}

    def add_images(self, frame: pl.DataFrame) -> None:
        """Make images known: image_id, label, patient_id and, where there are any, has_patient (default true),
        parent_image_id, clean_contrast, and text columns subgroup_<name> of at most 20 values. Other columns are not
        kept: a record holds no path and no original id.

        Images already known keep their place; what is said of their patient and contrast now replaces what was said
        before, and so does the group. Raises StoreError for a missing column, or for one that cannot be a group.
        """
        lacking = [name for name in ("image_id", "label", "patient_id") if name not in frame.columns]
        if lacking:
            raise StoreError(f"images: columns image_id, label, patient_id are needed, {', '.join(lacking)} missing.")
        defaults = {"has_patient": True, "parent_image_id": None, "clean_contrast": None}
        added = [pl.lit(value).alias(name) for name, value in defaults.items() if name not in frame.columns]
        groups = _groups(frame)
        rows = frame.with_columns(added).select(
            *(pl.col(name).cast(kind) for name, kind in IMAGE_COLUMNS.items()), *groups
        )
        kept = Run(self.folder).images
        merged = pl.concat([kept, rows], how="diagonal").unique("image_id", keep="first", maintain_order=True)
        told = ("image_id", "patient_id", "has_patient", "clean_contrast", *groups)
        newest = rows.select(told).unique("image_id", keep="first")
        merged = merged.update(newest, on="image_id").select(
            *IMAGE_COLUMNS, *(c for c in merged.columns if c.startswith(SUBGROUP))
        )
        with layout.writing(self.folder / layout.IMAGES) as beside:
            merged.write_parquet(beside)
        self._known = set(merged["image_id"])

    def keep_steering(self, band: float | None, held: Sequence[str] | None) -> None:
        """Write down the width that this run's bands begin with and the rewrites that held, where none is known yet;
        before its first block."""
        if self.header.held is None and held is not None:
            self.header = self._write(self.header.model_copy(update={"band": band, "held": tuple(held)}))

    def append(self, rows: TrajectoryRows) -> None:
        """Store a block as one shard; rows already stored are left out. Raises StoreError for an unknown image or
        a block whose steps or classes are not the header's.
        """
        self._check(rows)
        epsilon = [canonical_float(value) for value in rows.epsilon.tolist()]
        columns = (rows.image_id.tolist(), rows.step_size.tolist(), epsilon, rows.restart.tolist())
        keys = list(zip(*columns, strict=True))
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        new = np.array([key not in self._done and first[key] == place for place, key in enumerate(keys)], bool)
        if new.any():
            shards.write_shard(self.folder / layout.SHARDS, _canonical(rows, epsilon).take(new))
            self._done.update(keys)

    def _check(self, rows: TrajectoryRows) -> None:
        unknown = set(rows.image_id.tolist()) - self._known
        if unknown:
            raise StoreError(f"rows: images must be known (add_images), {len(unknown)} are not, as {min(unknown)}.")
        shape = (self.header.steps + 1, len(self.header.class_names))
        if rows.logits.shape[1:] != shape:
            raise StoreError(
                f"rows.logits: (row, {shape[0]}, {shape[1]}) is this run's shape, got {rows.logits.shape}."
            )

    def finish(
        self, cost: Cost | None = None, controls: Controls | None = None, notes: Iterable[str] = ()
    ) -> RunHeader:
        """End a session: counts from what is stored, cost added up, notes joined (each once). Returns the header."""
        if len(Run(self.folder)._readable[0]) > COMPACT_ABOVE:
            compact(self.folder)
        run = Run(self.folder)
        index = run.index
        update = {
            "points": _points(run),
            "images": int(np.unique(index.image).size),
            "rows": len(index),
            "flag_counts": {name: int(run.column(shards.FLAG + name).sum()) for name in index.flags},
            "controls": controls or self.header.controls,
            "cost": self.header.cost.plus(cost or Cost()),
            "notes": tuple(dict.fromkeys((*self.header.notes, *notes))),
        }
        self.header = self._write(self.header.model_copy(update=update))
        return self.header


def compact(folder: Path, rows_per_shard: int = 100_000) -> None:
    """Join a run's shards into few, each of whole images, so that a restart stays beside its restart 0.

    Killed halfway, every row is still there: a row stored twice counts once. A shard holds about `rows_per_shard`
    rows, more where one image alone has more.
    """
    run = Run(folder)
    before = [path for path, _ in run._readable[0]]
    rows = run.rows()
    parts = _by_image(run.index.image, rows_per_shard)
    written = {shards.write_shard(folder / layout.SHARDS, rows.take(part)) for part in parts}
    for path in before:
        if path not in written:
            path.unlink(missing_ok=True)


def _by_image(image: np.ndarray, most: int) -> list[np.ndarray]:
    """Row numbers in groups of whole images of at most `most` rows (an image with more is a group of its own)."""
    counts = np.bincount(image)
    parts: list[int] = [0]
    held = 0
    for place, count in enumerate(counts.tolist()):
        if held and held + count > most:
            parts.append(place)
            held = 0
        held += count
    group = np.searchsorted(parts, image, side="right")
    return [found for k in range(1, len(parts) + 1) if len(found := np.flatnonzero(group == k))]


def _points(run: Run) -> tuple[Point, ...]:
    index = run.index
    first = index.restart == 0
    keys = zip(index.step_size[first].tolist(), index.epsilon[first].tolist(), strict=True)
    counts = Counter(keys)
    return tuple(Point(step_size=index.step_sizes[s], epsilon=e, images=n) for (s, e), n in sorted(counts.items()))


def _canonical(rows: TrajectoryRows, epsilon: list[float]) -> TrajectoryRows:
    return replace(rows, epsilon=np.array(epsilon, np.float64), final_images={})


def _groups(frame: pl.DataFrame) -> list[str]:
    """Names of the subgroup columns of `frame`. Raises StoreError for one that holds no short list of texts."""
    names = [name for name in frame.columns if name.startswith(SUBGROUP)]
    for name in names:
        values = frame[name].drop_nulls().n_unique()
        if frame[name].dtype != pl.String or values > MOST_GROUPS:
            raise StoreError(
                f"images: {name} must hold at most {MOST_GROUPS} different texts, got {values} ({frame[name].dtype}).",
                "Leave the column out of analysis.subgroups, or put its values into groups.",
            )
    return names
