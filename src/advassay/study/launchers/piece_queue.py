"""What is left of a run that is attacked in pieces: cut to size as workers ask, lost pieces given out again first."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from advassay.study.run.run_pieces import BegunRun, Piece

PIECE_SECONDS = 60.0
"""What a piece is to take: long against what handing it out costs, short against what is lost with a worker."""
SHARES = 2
"""A piece is at most this part of what would be each worker's share of the rest: so they end together."""
STRIKES = 3
"""Workers that a piece may end before it is set aside."""


class PieceQueue:
    """Pieces of one run. Its memory grows with the workers, not with the images."""

    def __init__(self, begun: BegunRun) -> None:
        self.run_id = begun.run_id
        self._rest = deque(begun.lacking)
        self._again: deque[Piece] = deque()
        self._strikes: Counter[Piece] = Counter()
        self._batch = max(1, begun.batch_images)
        self._images = sum(piece.images for piece in begun.lacking)
        self._seconds_per_image: float | None = None
        self.out = 0
        """Pieces that workers are at."""
        self.set_aside: list[Piece] = []

    @property
    def waiting(self) -> bool:
        """Whether there is a piece to give out."""
        return bool(self._again or self._rest)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to give out or to wait for."""
        return not self.waiting and not self.out

    def take(self, workers: int) -> tuple[Piece, bool]:
        """The next piece for one of `workers` workers, and whether rows of it may be stored already."""
        self.out += 1
        if self._again:
            return self._again.popleft(), True
        most = self._most(workers)
        first = self._rest.popleft()
        if first.images <= most:
            piece = first
        else:
            cut = first.start + most
            piece = Piece(first.start, cut, first.points)
            self._rest.appendleft(Piece(cut, first.stop, first.points))
        self._images -= piece.images
        return piece, False

    def _most(self, workers: int) -> int:
        """Images of the next piece: whole batches, one until it is known how long they take."""
        if self._seconds_per_image is None:
            return self._batch
        fair = self._images / (SHARES * max(1, workers))
        timely = PIECE_SECONDS / max(1e-9, self._seconds_per_image)
        return self._batch * max(1, int(min(fair, timely) // self._batch))

    def done(self, piece: Piece, seconds: float) -> None:
        """`piece` was attacked in so many seconds."""
        self.out -= 1
        self._strikes.pop(piece, None)
        latest = seconds / piece.images
        known = self._seconds_per_image
        self._seconds_per_image = latest if known is None else 0.7 * known + 0.3 * latest

    def expected_seconds(self, piece: Piece) -> float | None:
        """What the piece may take; None where nothing is known yet."""
        return None if self._seconds_per_image is None else piece.images * self._seconds_per_image

    def lost(self, piece: Piece, *, blamed: bool) -> bool:
        """The worker that was at `piece` ended; `blamed`: not for a reason of the machine's. It is given out again;
        returns False where it is set aside instead.
        """
        self.out -= 1
        self._strikes[piece] += blamed
        if self._strikes[piece] >= STRIKES:
            self.set_aside.append(piece)
            return False
        self._again.append(piece)
        return True


def places(pieces: Sequence[Piece]) -> str:
    """Places in a run's sample, counted from 1, in words.

    >>> places([Piece(0, 4, frozenset()), Piece(9, 10, frozenset())])
    '1-4, 10'
    """
    spans = sorted((piece.start + 1, piece.stop) for piece in pieces)
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
