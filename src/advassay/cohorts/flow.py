"""The flow of counts: how many images each step of a selection kept, and why the others were left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import polars as pl

from advassay.documents import LeftOut

EXAMPLES = 5


class Flow:
    """Bookkeeping of one cohort's selection, in order, from `candidates` rows to the images that are in."""

    def __init__(self, candidates: int) -> None:
        self.candidates = candidates
        self.steps: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.rows_out: list[tuple[int, str]] = []
        """Row of the source and reason of each decoded image that was left out. Private."""
        self._counts: Counter[str] = Counter()
        self._examples: defaultdict[str, list[str]] = defaultdict(list)

    def keep(self, step: str, frame: pl.DataFrame, reasons: pl.Series) -> pl.DataFrame:
        """Rows of `frame` whose entry in `reasons` is null; the others are counted under their reason.

        `reasons`: text, one entry per row. Where the frame already has image_ids, a few become examples.
        """
        reasons = reasons.cast(pl.String)
        gone = frame.filter(reasons.is_not_null())
        self.left_out(step, reasons.drop_nulls().to_list(), gone["image_id"].to_list() if "image_id" in gone else None)
        if "image_id" in gone and "row" in gone:
            self.rows_out += zip(gone["row"], reasons.drop_nulls(), strict=True)
        return frame.filter(reasons.is_null())

    def left_out(self, step: str, reasons: list[str], image_ids: list[str] | None = None) -> None:
        """Count rows that never reached a frame, one reason each."""
        kept = self.kept - len(reasons)
        self.steps.append({"step": step, "kept": kept, "left_out": len(reasons)})
        self._counts.update(reasons)
        for reason, image in zip(reasons, image_ids or (), strict=False):
            self._examples[reason].append(image)

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
