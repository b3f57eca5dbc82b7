"""Do slow work a little ahead of its use, in a few threads, in order, with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def ahead(work: Callable[[Given], Made], items: Iterable[Given], *, threads: int = 2, most: int = 16) -> Iterator[Made]:
    """`work(item)` for each item, in order; at most `most` results wait at any time.

    >>> list(ahead(str.upper, ["a", "b"]))
    ['A', 'B']
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Made]] = deque()
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
