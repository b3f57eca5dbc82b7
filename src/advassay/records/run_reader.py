"""One run, read: header, images, and rows packed and sorted without a Python loop over rows."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from advassay import store_layout
from advassay.checked_files import BROKEN, damaged, read_document, read_frame
from advassay.errors import AdvassayWarning, DamagedError, FormatError, StoreError
from advassay.record_columns import COLUMNS, KEYS
from advassay.records import row_shards
from advassay.records.row_shards import HEALED
from advassay.records.run_header import FORMAT_VERSION, Account, RunHeader
from advassay.trajectory import TrajectoryRows

LISTINGS = 3
"""Times the shards of a run that is being written are listed, at most."""


@dataclass(frozen=True)
class RowIndex:
    """Which row is where. Rows are sorted by (step_size, epsilon, restart, image), each key once.

    step_sizes   names, sorted; `step_size` (row,) int32 indexes them
    epsilon      (row,) float64
    restart      (row,) int32
    image        (row,) int32, position in Run.images
    """

    step_sizes: tuple[str, ...]
    step_size: np.ndarray
    epsilon: np.ndarray
    restart: np.ndarray
    image: np.ndarray
    order: np.ndarray
    """(row,) int64: position of each row in the shards read one after the other."""
    flags: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.epsilon)

    def points(self) -> dict[tuple[str, float], slice]:
        """(step size, ε) → its rows of restart 0, a contiguous slice, in order."""
        first = np.flatnonzero(self.restart == 0)
        if not first.size:
            return {}
        keys = np.stack([self.step_size[first].astype(np.float64), self.epsilon[first]])
        starts = np.flatnonzero(np.r_[True, (np.diff(keys) != 0).any(axis=0)])
        ends = np.r_[starts[1:], len(first)]
        return {
            (self.step_sizes[self.step_size[first[a]]], float(self.epsilon[first[a]])): slice(
                int(first[a]), int(first[b - 1]) + 1
            )
            for a, b in zip(starts, ends, strict=True)
        }


class Run:
    """A run's folder, opened for reading. Raises StoreError or FormatError where the header cannot be used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.header = read_header(folder)

    def __repr__(self) -> str:
        return f"Run({self.header.run_id}, {self.header.cohort}, arm {self.header.arm}, {self.header.rows} rows)"

    @cached_property
    def images(self) -> pl.DataFrame:
        """One row per image: image_id, label, patient_id, has_patient, parent_image_id, clean_contrast and, where the
        study compares groups, subgroup_<name>.
        """
        path = self.folder / store_layout.IMAGES
        try:
            frame = read_frame(path, HEALED)
        except FileNotFoundError:
            return pl.DataFrame(schema=IMAGE_COLUMNS)
        if lacking := [name for name in IMAGE_COLUMNS if name not in frame.columns]:
            raise damaged(path, f"columns {', '.join(lacking)} are missing", HEALED)
        return frame

    @cached_property
    def _readable(self) -> tuple[list[tuple[Path, pa.Table]], tuple[str, ...], tuple[str, ...]]:
        """(shards with their keys, names of flags, names of damaged shards); shards by name, so that order is fixed.

        A shard is damaged where a page of any column is not as it was written, or where its labels are not those of
        images.parquet. Taken once. A shard that goes while it is
        listed was joined with others: what there is now is listed anew.
        """
        for _ in range(LISTINGS - 1):
            try:
                return self._listed()
            except FileNotFoundError:
                continue
        return self._listed()

    def _listed(self) -> tuple[list[tuple[Path, pa.Table]], tuple[str, ...], tuple[str, ...]]:
        good: list[tuple[Path, pa.Table]] = []
        flags: set[str] = set()
        broken: list[str] = []
        steps, classes = self.header.steps, len(self.header.class_names)
        for path in sorted((self.folder / store_layout.SHARDS).glob("[!.]*.parquet")):
            try:
                found = row_shards.shard_schema(path, steps, classes)
                keys = row_shards.read_shard(path, [*KEYS, "label"])
                if not self._labels_agree(keys):
                    raise ValueError("labels are not those of images.parquet")
            except FileNotFoundError:
                raise
            except BROKEN:
                broken.append(path.name)
                continue
            flags.update(name for name in found.names if name.startswith(row_shards.FLAG))
            good.append((path, keys))
        return good, tuple(sorted(name.removeprefix(row_shards.FLAG) for name in flags)), tuple(broken)

    def _labels_agree(self, rows: pa.Table) -> bool:
        """Whether the rows' labels are those of their images; an image that is not known yet agrees with any."""
        place = _codes(rows["image_id"], self.images["image_id"].to_list())
        known = place >= 0
        labels = self.images["label"].to_numpy()
        return bool((labels[place[known]] == rows["label"].to_numpy()[known]).all())

    def keys(self) -> set[tuple[str, str, float, int]]:
        """(image_id, step size's name, ε, restart) of every row."""
        index, ids = self.index, self.images["image_id"].to_list()
        columns = (index.image.tolist(), index.step_size.tolist(), index.epsilon.tolist(), index.restart.tolist())
        return {(ids[i], index.step_sizes[s], e, r) for i, s, e, r in zip(*columns, strict=True)}

    def unknown_images(self) -> list[str]:
        """Images of stored rows that images.parquet does not have, sorted."""
        stored = {image for _, keys in self._readable[0] for image in keys["image_id"].unique().to_pylist()}
        return sorted(stored - set(self.images["image_id"]))

    def accounts(self) -> dict[str, Account]:
        """Shard name → what making its rows took, of readable shards that say so."""
        found = {path.name: row_shards.account_of(pq.read_schema(path)) for path, _ in self._readable[0]}
        return {name: account for name, account in found.items() if account is not None}

    def damage(self) -> str:
        """What of the run cannot be read, in a sentence that names shards and counts images; "" when all is well."""
        if not self.damaged:
            return ""
        ids = self.images["image_id"].to_numpy()
        kept = np.unique(self.index.image)
        lost = np.delete(ids, kept).tolist()
        some = f" (as {', '.join(lost[:3])})" if lost else ""
        rows = max(0, self.header.rows - len(self.index))
        return (
            f"run {self.header.run_id} ({self.header.cohort}, arm {self.header.arm}): "
            f"{len(self.damaged)} damaged shard(s) cannot be read: {', '.join(self.damaged)}. {rows} of "
            f"{self.header.rows} rows are missing, {len(lost)} of {len(ids)} images{some} have none left. {HEALED}"
        )

    @property
    def damaged(self) -> tuple[str, ...]:
        """Names of shards that cannot be read; their rows count as missing."""
        return self._readable[2]

    @cached_property
    def index(self) -> RowIndex:
        """The sorted rows; of a key stored twice the first shard by name counts."""
        good, flags, _ = self._readable
        if not any(table.num_rows for _, table in good):
            none = np.zeros(0, np.int32)
            return RowIndex((), none, none.astype(float), none, none, none.astype(np.int64), flags)
        keys = pa.concat_tables([table for _, table in good])
        names = sorted(pc.unique(keys["step_size"]).to_pylist())
        step_size = _codes(keys["step_size"], names)
        image = _codes(keys["image_id"], self.images["image_id"].to_list())
        if (image < 0).any():
            raise StoreError(
                f"run {self.header.run_id}: every row's image must be in {store_layout.IMAGES}, "
                f"{int((image < 0).sum())} rows are not.",
                HEALED,
            )
        epsilon, restart = keys["epsilon"].to_numpy(), keys["restart"].to_numpy()
        order = np.lexsort((image, restart, epsilon, step_size))  # stable: the first shard's row stays first
        columns = [step_size[order], epsilon[order], restart[order], image[order]]
        first = np.r_[True, np.any([np.diff(c) != 0 for c in columns], axis=0)]
        kept = [column[first] for column in columns]
        return RowIndex(tuple(names), kept[0], kept[1], kept[2], kept[3], order[first], flags)

    def column(self, name: str) -> np.ndarray:
        """One column (record_columns.py, flag_…) in the order of `index`: (row,), (row, step) or (row, step, class).

        Peak memory: the result and one shard. A flag that a shard does not know is False there; a column that was
        added later is not computed there.
        """
        good, index = self._readable[0], self.index
        destination = np.full(sum(table.num_rows for _, table in good), -1, np.int64)
        destination[index.order] = np.arange(len(index))
        result, start = None, 0
        for path, keys in good:
            target = destination[start : start + keys.num_rows]
            start += keys.num_rows
            kept = target >= 0
            if not kept.any():
                continue
            block = self._block(path, name, keys.num_rows)
            if len(block) == len(index) and kept.all() and (np.diff(target) == 1).all():
                result = block  # one shard, already in order: as `compact` leaves a small run
                break
            if result is None:
                result = np.zeros((len(index), *block.shape[1:]), block.dtype)
            result[target[kept]] = block if kept.all() else block[kept]
        result = self._empty(name) if result is None else result
        if name == "logits":
            self._check_one_network(result)
        return result

    def _check_one_network(self, logits: np.ndarray) -> None:
        """Warn where an image's clean logits differ between rows: they are then of more than one network."""
        clean, image = logits[:, 0], self.index.image
        first = np.zeros((len(self.images), *clean.shape[1:]), clean.dtype)
        first[image[::-1]] = clean[::-1]
        apart = ~same_logits(clean, first[image]).all(axis=-1)
        if apart.any():
            warnings.warn(
                f"run {self.header.run_id} ({self.header.cohort}, arm {self.header.arm}): the clean logits of "
                f"{np.unique(image[apart]).size} images differ between amplitudes: its rows are of more than one "
                "network. Attack again into another --store.",
                AdvassayWarning,
                stacklevel=3,
            )

    def _block(self, path: Path, name: str, rows: int) -> np.ndarray:
        try:
            if name not in pq.read_schema(path).names:
                return np.zeros(rows, bool) if name.startswith(row_shards.FLAG) else row_shards.fill_missing(name, path)
            values = row_shards.to_numpy(row_shards.read_shard(path, [name])[name])
            if len(values) != rows:
                raise ValueError(f"expected {rows} values, got {len(values)}")
            return values
        except FileNotFoundError:
            raise StoreError(
                f"run {self.header.run_id}: its shards were joined by the session that writes it while they were read.",
                "Open the store again.",
            ) from None
        except BROKEN as error:
            raise DamagedError(
                f"run {self.header.run_id}: column {name} of shard {path.name} is damaged ({error}).",
                f"Rename it to {path.name}.damaged and run `advassay attack` again: its rows are then computed anew.",
            ) from None

    def _empty(self, name: str) -> np.ndarray:
        classes, steps = len(self.header.class_names), self.header.steps
        return row_shards.to_numpy(
            pa.chunked_array([], row_shards.schema(steps, classes, self.index.flags).field(name).type)
        )

    def rows(self) -> TrajectoryRows:
        """All rows, sorted by (step_size, epsilon, restart, image order), each key once."""
        index = self.index
        ids = np.array(self.images["image_id"].to_list(), dtype=object)
        names = np.array(index.step_sizes, dtype=object)
        wide: dict[str, Any] = {name: self.column(name) for name in COLUMNS if name not in KEYS}
        return TrajectoryRows(
            image_id=ids[index.image] if len(ids) else ids,
            step_size=names[index.step_size] if len(names) else names,
            epsilon=index.epsilon,
            restart=index.restart,
            **wide,
            flags={name: self.column(row_shards.FLAG + name) for name in index.flags},
        )


IMAGE_COLUMNS = {
    "image_id": pl.String,
    "label": pl.Int64,
    "patient_id": pl.String,
    "has_patient": pl.Boolean,
    "parent_image_id": pl.String,
    "clean_contrast": pl.Float64,
}
SUBGROUP = "subgroup_"
"""Beginning of the names of optional columns of images.parquet: groups that the analysis plan compares."""
MOST_GROUPS = 20
"""Distinct values that such a column may hold."""


def read_header(folder: Path) -> RunHeader:
    """header.json of a run.

    Raises StoreError where there is none, DamagedError where it is damaged, FormatError where it is newer or no header.
    """
    path = folder / store_layout.HEADER
    try:
        content = read_document(path, HEALED)
    except FileNotFoundError:
        raise StoreError(f"{folder.name}: a run has a {store_layout.HEADER}, found none.") from None
    check_version(content.get("format_version"), folder.name)
    try:
        return RunHeader.model_validate(content)
    except ValueError as error:
        raise FormatError(f"{folder.name}/{store_layout.HEADER}: {error}") from None


def check_version(found: object, where: str) -> None:
    """Raise FormatError unless `found` names a format that this version reads."""
    if not isinstance(found, str) or not found.isdigit() or int(found) > int(FORMAT_VERSION):
        raise FormatError(
            f"{where}: expected records format {FORMAT_VERSION} or older, got {found!r}.",
            "Open the store with a newer advassay.",
        )


def _codes(column: pa.ChunkedArray, values: list[str]) -> np.ndarray:
    """Position of each text in `values`, int32; -1 where it is not among them."""
    found = pc.fill_null(pc.index_in(column, value_set=pa.array(values, pa.string())), -1)
    return found.to_numpy().astype(np.int32)


def same_logits(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Where logits are one network's: equal up to what another machine, batch or precision changes in them."""
    return np.isclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


TOLERANCE = 2e-2
"""Of logits of one network, absolute and relative: several times what float32 differs by between devices, and about
what bfloat16 differs by."""
