"""Writing a run so that it can be killed at any moment: shards beside and renamed, the rest set arithmetic."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from advassay import store_layout
from advassay.checked_files import write_document, write_frame
from advassay.errors import AdvassayWarning, DamagedError, StoreError
from advassay.identity import canonical_float
from advassay.records import row_shards
from advassay.records.run_header import SUMMED_COSTS, Account, Point, RunHeader, Spent, now, sum_accounts, versions
from advassay.records.run_reader import IMAGE_COLUMNS, MOST_GROUPS, SUBGROUP, Run, read_header, same_logits
from advassay.records.shard_compaction import compact
from advassay.store_documents import Controls
from advassay.trajectory import Cost, TrajectoryRows

GridPoint = tuple[str, float]
"""(step size's name, ε)."""

COMPACT_ABOVE = 64
"""With more shards than this, `finish` joins them: opening thousands of small files is what makes a store slow."""


class RunWriter:
    """Opens or continues records/<run_id>/.

    goes_on: an earlier writer of the same session has begun it; the session is not counted again.
    Raises StoreError where the folder holds another run, or the same run of a network with other weights.
    """

    def __init__(self, folder: Path, header: RunHeader, *, goes_on: bool = False) -> None:
        self.folder, self._goes_on = folder, goes_on
        self._notes: list[str] = []
        self.header = self._continued(header)
        self._heal_images()
        self._set_aside(self._damaged_shards())
        self._reopen()
        if self._counts is not None:
            self.header = self._write(self._summed())

    def _continued(self, header: RunHeader) -> RunHeader:
        """The header with what earlier sessions left, written at once, so that a killed run is still readable."""
        header = header.model_copy(update={"cost_apart": header.cost})
        if (self.folder / store_layout.HEADER).exists():
            try:
                header = _after(read_header(self.folder), header)
            except DamagedError:
                self._aside(
                    store_layout.HEADER, "The header could not be read; what sessions spent apart from rows is lost."
                )
                header = self._recovered(header)
        apart = header.cost_apart or Spent()
        started = apart.sessions_started + (0 if self._goes_on else 1)
        apart = apart.model_copy(update={"sessions_started": started})
        return self._write(header.model_copy(update={"cost_apart": apart, "cost": apart}))

    def _recovered(self, header: RunHeader) -> RunHeader:
        """The header made again from its shards; a shard that does not name the same network is set aside."""
        self._write(header)
        run = Run(self.folder)
        accounts = {
            name: account
            for name, account in run.accounts().items()
            if (account.run_id, account.weights_sha256) == (header.run_id, header.weights_sha256)
        }
        unknown = [path.name for path, _ in run._readable[0] if path.name not in accounts]
        self.header = header
        self._set_aside(unknown, "does not say which network it is of")
        known = sum_accounts(accounts)
        return self.header.model_copy(update={"band": known.band, "held": known.held})

    def _write(self, header: RunHeader) -> RunHeader:
        notes = tuple(dict.fromkeys((*header.notes, *self._notes)))
        header = header.model_copy(update={"updated": now(), "versions": versions(), "notes": notes})
        write_document(self.folder / store_layout.HEADER, header)
        return header

    def _aside(self, name: str, note: str) -> None:
        """Rename a file of the run out of every reader's way, and note it."""
        path = self.folder / name
        path.rename(path.with_name(f"{path.name}.damaged"))
        warnings.warn(f"run {self.folder.name}: {note}", AdvassayWarning, stacklevel=4)
        self._notes.append(note)

    def _heal_images(self) -> None:
        """Set aside a damaged images.parquet: `add_images` writes it anew."""
        try:
            _ = Run(self.folder).images
        except DamagedError:
            self._aside(store_layout.IMAGES, f"{store_layout.IMAGES} could not be read; it is written anew.")

    def _damaged_shards(self) -> list[str]:
        run = Run(self.folder)
        within = [path.name for path, _ in run._readable[0] if not row_shards.is_whole(path)]
        return [*run.damaged, *within]

    def _set_aside(self, names: Iterable[str], why: str = "could not be read") -> None:
        for name in names:
            self._aside(
                f"{store_layout.SHARDS}/{name}",
                f"Shard {name} {why}; its rows count as missing and are computed again.",
            )
            self.header = self._write(self.header)

    def _reopen(self) -> None:
        """Take stock of what is stored; later, once `add_images` has named them, where images are unknown."""
        run = Run(self.folder)
        self._known = set(run.images["image_id"])
        self._accounts = run.accounts()
        self._counts = None if self.unknown_images() else _Counts(run)

    @property
    def counts(self) -> _Counts:
        """What is stored. Raises StoreError while rows are of images that are not known."""
        if self._counts is None:
            self._counts = _Counts(Run(self.folder))
        return self._counts

    def unknown_images(self) -> list[str]:
        """Images of stored rows that images.parquet does not have, sorted: none but where it was damaged."""
        return Run(self.folder).unknown_images()

    def missing(self, image_ids: Sequence[str], points: Iterable[GridPoint]) -> dict[str, frozenset[GridPoint]]:
        """image_id → the points it still lacks, in the order of `image_ids`; complete images are not in it.

        A point is there when its restart 0 is: a block that holds restart 0 of an image holds all its restarts.
        """
        return _missing(image_ids, points, self.counts.keys)

    def add_images(self, frame: pl.DataFrame) -> None:
        """Make images known: image_id, label, patient_id and, where there are any, has_patient (default true),
        parent_image_id, clean_contrast, and text columns subgroup_<name> of at most 20 values. Other columns are not
        kept: a record holds no path and no original id.

        Images already known keep their place; what is said of their label, patient and contrast now replaces what was
        said before, and so does the group; shards with other labels are set aside. Raises StoreError for a missing
        column, or for one that cannot be a group.
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
        before = Run(self.folder).images
        merged = pl.concat([before, rows], how="diagonal").unique("image_id", keep="first", maintain_order=True)
        newest = rows.select(pl.exclude("parent_image_id")).unique("image_id", keep="first")
        kept = [name for name in merged.columns if name.startswith(SUBGROUP)]
        merged = merged.update(newest, on="image_id").select(*IMAGE_COLUMNS, *kept)
        if not merged.equals(before):
            write_frame(self.folder / store_layout.IMAGES, merged)
            self._set_aside(Run(self.folder).damaged, f"holds labels that are not those of {store_layout.IMAGES}")
            self._reopen()

    def keep_steering(self, band: float | None, held: Sequence[str] | None) -> None:
        """Write down the width that this run's bands begin with and the rewrites that held, where none is known yet;
        before its first block."""
        if self.header.held is None and held is not None:
            self.header = self._write(self.header.model_copy(update={"band": band, "held": tuple(held)}))

    def append(self, rows: TrajectoryRows, account: Account | None = None) -> None:
        """Store a block as one shard, and in the header what there is now; rows already stored are left out.

        `account`: what the block took and showed since the last one; it is stored with it. Raises StoreError for an
        unknown image, a block whose steps or classes are not the header's, and an image whose clean logits differ from
        those that are stored: they are of another network.
        """
        self._check(rows)
        kept = _new_rows(rows, self.counts.keys)
        if not len(kept.image_id):
            return
        signed = _signed(account or Account(), self.header)
        path = row_shards.write_shard(self.folder / store_layout.SHARDS, kept, signed)
        self._accounts[path.name] = signed
        self.counts.add(kept)
        self.header = self._write(self._summed())

    def total(self) -> Account:
        """What all shards took and showed together."""
        return sum_accounts(self._accounts)

    def _summed(self) -> RunHeader:
        """The header with counts, cost and notes as they are now."""
        return _summed(self.header, self.counts, self.total())

    def _check(self, rows: TrajectoryRows) -> None:
        _check_rows(rows, self.header, self._known)
        _check_network(rows, self.header, self.counts)

    def suspend(self, cost: Cost, notes: Iterable[str]) -> None:
        """Leave the session to another writer, which `goes_on`; `cost` and `notes` as in `finish`."""
        apart = self.header.cost_apart or Spent()
        spent = {name: getattr(apart, name) + getattr(cost, name) for name in SUMMED_COSTS}
        self._notes.extend(notes)
        self.header = self.header.model_copy(update={"cost_apart": apart.model_copy(update=spent)})
        self.header = self._write(self._summed())

    def finish(
        self,
        cost: Cost | None = None,
        controls: Controls | None = None,
        notes: Iterable[str] = (),
        account_note: str = "",
    ) -> RunHeader:
        """End a session: counts from what is stored, cost added up, notes joined (each once). Returns the header.

        `cost`: what no block accounts for. `account_note`: the sentence that sums up all shards' accounts.
        """
        if len(Run(self.folder)._readable[0]) > COMPACT_ABOVE:
            compact(self.folder)
        self._reopen()
        apart = (self.header.cost_apart or Spent()).plus(cost or Cost())
        self.header = self.header.model_copy(update={"cost_apart": apart})
        header = self._summed()
        update = {
            "controls": controls or header.controls,
            "notes": tuple(dict.fromkeys((*header.notes, *notes, *([account_note] if account_note else [])))),
            "account_note": account_note,
        }
        self.header = self._write(header.model_copy(update=update))
        return self.header


class ShardWriter:
    """Adds shards to a run that a `RunWriter`, here or on another machine, has begun and will finish.

    The header and images.parquet are read and left alone, so that many may add to one run at once.
    rows_before: whether the run may hold rows of the images that are added; such rows are left out then, and clean
    logits are compared with theirs.
    """

    def __init__(self, folder: Path, *, rows_before: bool) -> None:
        run = Run(folder)
        self.folder, self.header = folder, run.header
        self._known = set(run.images["image_id"])
        self._counts = _Counts(run) if rows_before else None

    def missing(self, image_ids: Sequence[str], points: Iterable[GridPoint]) -> dict[str, frozenset[GridPoint]]:
        """As of `RunWriter`."""
        return _missing(image_ids, points, set() if self._counts is None else self._counts.keys)

    def append(self, rows: TrajectoryRows, account: Account) -> int:
        """Store rows as one shard. Returns how many were new. Raises StoreError as `RunWriter.append` does."""
        _check_rows(rows, self.header, self._known)
        if self._counts is not None:
            _check_network(rows, self.header, self._counts)
        kept = _new_rows(rows, set() if self._counts is None else self._counts.keys)
        if len(kept.image_id):
            row_shards.write_shard(self.folder / store_layout.SHARDS, kept, _signed(account, self.header))
        return len(kept.image_id)


def _missing(
    image_ids: Sequence[str], points: Iterable[GridPoint], done: set[tuple[str, str, float, int]]
) -> dict[str, frozenset[GridPoint]]:
    """image_id → the points without a row of restart 0 among `done`."""
    wanted = [(name, canonical_float(epsilon)) for name, epsilon in points]
    lacking = {i: frozenset(p for p in wanted if (i, *p, 0) not in done) for i in image_ids}
    return {image_id: points for image_id, points in lacking.items() if points}


def _new_rows(rows: TrajectoryRows, done: set[tuple[str, str, float, int]]) -> TrajectoryRows:
    """The rows whose key is not among `done`, each key once, ε as it is stored."""
    epsilon = [canonical_float(value) for value in rows.epsilon.tolist()]
    columns = (rows.image_id.tolist(), rows.step_size.tolist(), epsilon, rows.restart.tolist())
    keys = list(zip(*columns, strict=True))
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    new = np.array([key not in done and first[key] == place for place, key in enumerate(keys)], bool)
    return _canonical(rows, epsilon).take(new)


def _signed(account: Account, header: RunHeader) -> Account:
    """The account with the network and the settings that it is of."""
    of = {name: getattr(header, name) for name in ("run_id", "weights_sha256", "compute", "band", "held")}
    return account.model_copy(update=of)


def _check_rows(rows: TrajectoryRows, header: RunHeader, known: set[str]) -> None:
    """Raise StoreError for rows of unknown images, or of other steps or classes than the run's."""
    unknown = set(rows.image_id.tolist()) - known
    if unknown:
        raise StoreError(f"rows: images must be known (add_images), {len(unknown)} are not, as {min(unknown)}.")
    shape = (header.steps + 1, len(header.class_names))
    if rows.logits.shape[1:] != shape:
        raise StoreError(f"rows.logits: (row, {shape[0]}, {shape[1]}) is this run's shape, got {rows.logits.shape}.")


def _check_network(rows: TrajectoryRows, header: RunHeader, counts: _Counts) -> None:
    """The clean logits of an image are one network's, whatever the amplitude. Raises StoreError."""
    stored = counts.clean_logits(set(rows.image_id.tolist()))
    for place, image_id in enumerate(rows.image_id.tolist()):
        clean = stored.setdefault(image_id, rows.logits[place, 0])
        if not same_logits(rows.logits[place, 0], clean).all():
            raise StoreError(
                f"run {header.run_id}: the clean logits of image {image_id} are {clean.round(3).tolist()} in "
                f"its records, got {rows.logits[place, 0].round(3).tolist()}: they are of another network.",
                "Attack it into another --store.",
            )


def write_controls(folder: Path, controls: Controls) -> RunHeader:
    """Put controls into the header of a run that holds its rows. Returns the header."""
    update = {"controls": controls, "updated": now(), "versions": versions()}
    header = read_header(folder).model_copy(update=update)
    write_document(folder / store_layout.HEADER, header)
    return header


def recount(folder: Path, note: str) -> RunHeader:
    """Count a run anew and write its header, with a note, where rows were removed from it. Returns the header.

    What the removed rows took stays in the cost: where their shard is gone, in the part that no shard accounts for.
    """
    run = Run(folder)
    total, cost = sum_accounts(run.accounts()), run.header.cost
    apart = run.header.cost_apart or cost
    if run.header.cost_apart is not None:
        lost = {name: max(getattr(apart, name), getattr(cost, name) - getattr(total, name)) for name in SUMMED_COSTS}
        apart = apart.model_copy(update=lost)
    header = _summed(run.header.model_copy(update={"cost_apart": apart}), _Counts(run), total)
    kept = {"notes": tuple(dict.fromkeys((*run.header.notes, note))), "account_note": run.header.account_note}
    header = header.model_copy(update=kept | {"updated": now()})
    write_document(folder / store_layout.HEADER, header)
    return header


def _summed(header: RunHeader, counts: _Counts, total: Account) -> RunHeader:
    """The header with counts, cost and notes of what is stored, without the sentence that sums it up."""
    apart = header.cost_apart or Spent()
    notes = [note for note in header.notes if note != header.account_note]
    update = {
        "points": counts.points(),
        "images": len(counts.images),
        "rows": len(counts.keys),
        "flag_counts": dict(sorted(counts.flags.items())),
        "cost": apart.model_copy(update={name: getattr(apart, name) + getattr(total, name) for name in SUMMED_COSTS}),
        "notes": tuple(dict.fromkeys((*notes, *total.notes))),
        "account_note": "",
    }
    return header.model_copy(update=update)


def _after(earlier: RunHeader, header: RunHeader) -> RunHeader:
    """The header of a run that goes on: what earlier sessions found stays."""
    if earlier.run_id != header.run_id:
        raise StoreError(f"{header.run_id}: holds run {earlier.run_id}, got {header.run_id}.")
    if of_other_weights(earlier, header):
        raise StoreError(
            f"run {header.run_id}: its rows are of a network with weights {earlier.weights_sha256[:8]}…, "
            f"got {header.weights_sha256[:8]}…: one run, one network.",
            "Attack into another --store, or move the run's folder away.",
        )
    kept = ("created", "band", "held", "points", "images", "rows", "flag_counts", "cost", "notes", "account_note")
    update = {name: getattr(earlier, name) for name in kept}
    return header.model_copy(
        update=update
        | {
            "controls": header.controls or earlier.controls,
            "compute": header.compute or earlier.compute,
            "cost_apart": earlier.cost if earlier.cost_apart is None else earlier.cost_apart,
        }
    )


def of_other_weights(earlier: RunHeader, header: RunHeader) -> bool:
    """Whether two headers name networks of different weights; a header that names none is not held against another."""
    pairs = [
        (earlier.weights_sha256, header.weights_sha256),
        (earlier.source_weights_sha256, header.source_weights_sha256),
    ]
    return any(before and now and before != now for before, now in pairs)


class _Counts:
    """What a run holds: its keys, and what its header says of them."""

    def __init__(self, run: Run) -> None:
        index, self._run = run.index, run
        ids = run.images["image_id"].to_list()
        self.keys = run.keys()
        self.images = {ids[i] for i in np.unique(index.image).tolist()}
        self.flags = Counter({name: int(run.column(row_shards.FLAG + name).sum()) for name in index.flags})
        self._at = Counter((name, e) for _, name, e, restart in self.keys if restart == 0)

    def add(self, rows: TrajectoryRows) -> None:
        """Count rows that are new."""
        columns = (rows.image_id.tolist(), rows.step_size.tolist(), rows.epsilon.tolist(), rows.restart.tolist())
        keys = list(zip(*columns, strict=True))
        self.keys.update(keys)
        self.images.update(rows.image_id.tolist())
        self.flags.update({name: int(values.sum()) for name, values in rows.flags.items()})
        self._at.update((name, e) for _, name, e, restart in keys if restart == 0)

    def points(self) -> tuple[Point, ...]:
        """Images at each point of the grid, by step size's name and ε."""
        return tuple(Point(step_size=s, epsilon=e, images=n) for (s, e), n in sorted(self._at.items()))

    @cached_property
    def _clean(self) -> dict[str, np.ndarray]:
        """image_id → its clean logits, of images that were stored before the session began."""
        index, ids = self._run.index, self._run.images["image_id"].to_list()
        if not len(index):
            return {}
        logits = self._run.column("logits")
        places, first = np.unique(index.image, return_index=True)
        return {ids[i]: logits[row, 0] for i, row in zip(places.tolist(), first.tolist(), strict=True)}

    def clean_logits(self, image_ids: set[str]) -> dict[str, np.ndarray]:
        """Of those of the images that have rows from earlier sessions; they are read where one has."""
        if self.images.isdisjoint(image_ids):
            return {}
        return {i: clean for i, clean in self._clean.items() if i in image_ids}


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
