"""An open source: a table of candidate images and a way to read their pixels ahead of use, in bounded memory."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from advassay.sources.image_decoder import read_image
from advassay.sources.read_failures import Unreadable

Given = TypeVar("Given")
Done = TypeVar("Done")


def prefetch(
    work: Callable[[Given], Done], items: Iterable[Given], *, threads: int = 2, most: int = 16
) -> Iterator[Done]:
    """`work(item)` for each item, in order; at most `most` results wait at any time.

    >>> list(prefetch(str.upper, ["a", "b"]))
    ['A', 'B']
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Done]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= most:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for unfinished in waiting:
                unfinished.cancel()


Result = TypeVar("Result")
Made = tuple[Any, bytes]
Pixels = np.ndarray | Unreadable
"""An image, or why there is none. A masked array is an image with pixels that its file declares not to be image."""

LEFT_OUT = {"row": pl.UInt32, "reason": pl.String, "detail": pl.String}
"""Schema of every `left_out` table. `detail` holds no path, no id and no pixels."""

_WORKERS = min(4, os.cpu_count() or 1)


class OpenSource(ABC):
    """A source whose table has been read; images are read on demand.

    rows: one row per candidate image. Columns `row` (UInt32, position in the source), `path` (private locator, null
        where there is no file), `original_patient` (private, null where unknown), `image_type` (null where not
        stated), then the source's own columns. Private: stays in this process.
    left_out: entries of the source that could not become a candidate (row null where there is none).
    patient_column: the column behind `original_patient`; None where the source has none.
    root: what `path` is relative to; None for phantoms.
    files: row, path and original_patient of every entry, also of those left out; `rows` where nothing else is known.
    identifying: tags that point at a person → files that hold them; None where a source has no such tags.
    draw_column: a column of ids that follow an image's content and are known without decoding it, so that draws can be
        keyed by them beforehand; None where pixels alone name an image.
    """

    identifying: dict[str, int] | None = None
    draw_column: str | None = None

    def __init__(
        self, name: str, rows: pl.DataFrame, left_out: pl.DataFrame, patient_column: str | None, root: Path | None
    ) -> None:
        self.name = name
        self.rows = rows
        self.left_out = left_out
        self.patient_column = patient_column
        self.root = root
        self.files = rows

    def remarks(self, rows: Sequence[int]) -> list[str]:
        """What a reader of results should know about these rows, in sentences without ids or paths."""
        return []

    def read(self, rows: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
        """Images of `rows` in that order: uint8 or uint16, (height, width) or (height, width, 3) RGB.

        A bad image is an `Unreadable`, never an exception. At most a few images are held at a time. Raises KeyError
        for a number that is not in `rows`.
        """
        return self.map(rows, _unchanged)

    @abstractmethod
    def map(self, rows: Sequence[int], work: Callable[[Pixels], Result]) -> Iterator[tuple[int, Result]]:
        """Like `read`, with `work` applied to each image where it was decoded (in a thread, for files)."""

    def map_in_reader(
        self, rows: Sequence[int], work: Callable[..., Made], items: Sequence[Any] | None = None
    ) -> Iterator[tuple[int, Made]]:
        """Like `map`, with `work(image, item=item)` called in the process that decoded the image, where that is another
        one: the pixels then need not travel. items: one for each row; None where there are none.

        `work` and items must be picklable; `work` gives a part that JSON holds (its tuples come back as lists), and
        bytes.
        """
        if items is None:
            yield from self.map(rows, partial(work, item=None))
            return
        read = (pixels for _, pixels in self.read(rows))
        yield from zip(
            rows, prefetch(lambda pair: work(pair[0], item=pair[1]), zip(read, items, strict=True)), strict=True
        )


def _unchanged(pixels: Pixels) -> Pixels:
    return pixels


class FileSource(OpenSource):
    """Images that are files below one folder."""

    def __init__(
        self, name: str, rows: pl.DataFrame, left_out: pl.DataFrame, patient_column: str | None, folder: Path
    ) -> None:
        super().__init__(name, rows, left_out, patient_column, folder)
        self._folder = folder.resolve()
        self._paths: dict[int, str] = dict(zip(rows["row"], rows["path"], strict=True))

    def map(self, rows: Sequence[int], work: Callable[[Pixels], Result]) -> Iterator[tuple[int, Result]]:
        paths = [self._paths[row] for row in rows]
        results = prefetch(
            lambda path: work(read_image(self._folder / path, self._folder)), paths, threads=_WORKERS, most=2 * _WORKERS
        )
        yield from zip(rows, results, strict=True)
