"""The flow of counts: how many images each step of a selection kept, and why the others were left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import polars as pl

from advassay.store_documents import LeftOut

EXAMPLES = 5


class SelectionCounts:
    """Bookkeeping of one cohort's selection, in order, from `candidates` rows to the images that are in.

    `steps`: {step, kept, left_out, reasons: {reason: count}}, {classes: {class: kept}} once images have classes, and
    {made: copies} where some were.
    """

    def __init__(self, candidates: int) -> None:
        self.candidates = candidates
        self.steps: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self._rows_out: list[pl.DataFrame] = []
        self._counts: Counter[str] = Counter()
        self._examples: defaultdict[str, list[str]] = defaultdict(list)

    def keep(self, step: str, frame: pl.DataFrame, reasons: pl.Series) -> pl.DataFrame:
        """Rows of `frame` whose entry in `reasons` is null; the others are counted under their reason.

        `reasons`: text, one entry per row. Where the frame already has image_ids, a few become examples.
        """
        marked = frame.with_columns(reasons.cast(pl.String).alias("_reason"))
        gone = marked.filter(pl.col("_reason").is_not_null())
        kept = marked.filter(pl.col("_reason").is_null()).drop("_reason")
        self._count(step, gone["_reason"], _classes(kept))
        if "image_id" in gone:
            self._remember(gone)
        return kept

    def left_out(self, step: str, reasons: Sequence[str]) -> None:
        """Count rows that never reached a frame, one reason each."""
        self._count(step, pl.Series("_reason", reasons, dtype=pl.String), {})

    def made(self, step: str, whole: pl.DataFrame) -> None:
        """Rows were added, none left out; `whole` is what there is now."""
        entry: dict[str, Any] = {"step": step, "kept": whole.height, "left_out": 0, "reasons": {}}
        self.steps.append(entry | {"made": whole.height - self.kept, "classes": _classes(whole)})

    def _count(self, step: str, reasons: pl.Series, classes: dict[str, int]) -> None:
        counts = dict(reasons.value_counts().sort(["count", "_reason"], descending=[True, False]).iter_rows())
        entry: dict[str, Any] = {"step": step, "kept": self.kept - len(reasons), "left_out": len(reasons)}
        self.steps.append(entry | {"reasons": counts} | ({"classes": classes} if classes else {}))
        self._counts.update(counts)

    def _remember(self, gone: pl.DataFrame) -> None:
        smallest = gone.group_by("_reason").agg(pl.col("image_id").bottom_k(EXAMPLES))
        for reason, images in smallest.iter_rows():
            self._examples[reason] += images
        if "row" in gone:
            self._rows_out.append(gone.select("row", left_out="_reason"))

    @property
    def rows_out(self) -> pl.DataFrame:
        """row (of the source), left_out (the reason) of each decoded image that was left out. Private."""
        empty = pl.DataFrame(schema={"row": pl.UInt32, "left_out": pl.String})
        return pl.concat([empty, *self._rows_out])

    @property
    def kept(self) -> int:
        """Images still in after the last step."""
        return self.steps[-1]["kept"] if self.steps else self.candidates

    def reasons(self) -> tuple[LeftOut, ...]:
        """Reasons with counts, most frequent first; examples are the smallest image_ids."""
        return tuple(
            LeftOut(reason=reason, count=count, examples=tuple(sorted(self._examples[reason])[:EXAMPLES]))
            for reason, count in sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        )

    def in_words(self) -> str:
        """One line for an error message: `620 candidates → 500 where.view → 480 classes`."""
        steps = [f"{step['kept']} {step['step']}" for step in self.steps if step["left_out"]]
        return " → ".join([f"{self.candidates} candidates", *steps])


def _classes(kept: pl.DataFrame) -> dict[str, int]:
    """Class → images, in the order of the labels; empty before images have classes."""
    if "class_name" not in kept or "label" not in kept:
        return {}
    return dict(kept.group_by("label", "class_name").len().sort("label").select("class_name", "len").iter_rows())
