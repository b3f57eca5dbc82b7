"""Low precision steers, float32 judges: which iterates are scored again, and the account of it.

A steered iterate is scored again by the unmodified network in float32 where its verdict is *used* (clean image, last
iterate, first success) and where it could be *wrong*: within the band, twice the largest margin error seen so far on
iterates up to four bands from the decision boundary (errors grow with the margin; those far away flip nothing).
The margin is the logit of the label (targeted: of the target) minus the largest other: a verdict can only change where
its size is at most the error. A random audit outside the band is scored too: it tests that claim, and bounds what it
missed. A larger error widens the band, and images decided before are opened again (`Engine.reopen`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from advassay.attack_spec import Precision
from advassay.attacks.work import Node, Work, has_fallen
from advassay.identity import draw
from advassay.success import margin

WARM_UP = 16
"""Iterates that are all scored in float32 before the band is trusted, and the least that it is ever taken from."""
WIDENING = 2.0
"""The band is this many times the largest error seen near the boundary …"""
NEAR = 4.0
"""… where near means this many bands."""
AUDIT = 1000
"""Iterates outside the band to score again, where a run has several times as many."""
SMALL_RUN_SHARE = 0.05
"""Share of a smaller run's iterates that is audited."""
FEWEST_AUDITED = 30
"""Below this many the bound on what the audit missed is above 10 % and says nothing worth printing."""

REWRITES: dict[Precision, tuple[str, ...]] = {
    "exact": (),
    "fast32": ("folded", "channels-last"),
    "fast": ("folded", "channels-last", "bfloat16"),
}


def audit_share(iterates: int) -> float:
    """Share of steered iterates to audit in a run that will have about `iterates` of them.

    >>> audit_share(100_000), audit_share(800)
    (0.011, 0.05)
    """
    return 1.1 * AUDIT / iterates if iterates >= 4 * AUDIT else SMALL_RUN_SHARE


class Judge:
    """Says which steered nodes to score in float32, and learns from every such score how wrong steering can be."""

    def __init__(self, share: float, *, seed: int = 0) -> None:
        self.share, self.seed = share, seed
        self._seen: list[tuple[float, float]] = []
        """(|steered margin|, its difference from the float32 margin) of every compared iterate, in logits."""
        self._band: float | None = np.inf
        self.compared = self.changed = self.audited = self.audit_changed = 0

    @property
    def band(self) -> float:
        """|margin| up to which a steered verdict is not trusted."""
        if self._band is None:
            self._band = trusted_band(np.array(self._seen))
        return self._band

    def wanted(self, nodes: Sequence[Node], logits: np.ndarray) -> list[Node]:
        """The nodes, or the parts of them, that float32 must score; marks their rows as asked for."""
        margins = judged_margin(nodes, logits)
        return [
            part for node, m in zip(nodes, margins, strict=True) if (part := self._part(node, float(m))) is not None
        ]

    def _part(self, node: Node, steered: float) -> Node | None:
        work, rows = node.work, node.rows[~node.work.scored_float32[node.rows, node.step]]
        if not len(rows):
            return None
        inside = not abs(steered) > self.band  # a NaN margin counts as inside
        down = node.step > 0 and _down(work, steered)
        if node.step == 0 or inside or self._audits(node):
            if down:
                work.first_success[rows[work.first_success[rows] == 0]] = 1
            return _with_rows(node, rows)
        if not down:
            return None
        ask, hold = rows[work.first_success[rows] == 0], rows[work.first_success[rows] == 1]
        if len(hold):
            work.held.append(_with_rows(node, hold))
        work.first_success[ask] = 1
        return _with_rows(node, ask) if len(ask) else None

    def learn(self, node: Node, steered: np.ndarray, judged: np.ndarray) -> list[Node]:
        """Compare a node's steered (class,) and float32 logits; returns nodes held back that must now be scored."""
        low, high = (float(judged_margin([node], z[None])[0]) for z in (steered, judged))
        work = node.work
        if low == low:  # a random start's clean image and last iterates were never steered
            outside = abs(low) > self.band
            flipped = has_fallen(work, steered) != has_fallen(work, judged)
            self._seen.append((abs(low), abs(high - low)))
            self._band = None
            self.compared += 1
            self.changed += flipped
            if outside and self._audits(node):
                self.audited += 1
                self.audit_changed += flipped
        if has_fallen(work, judged):  # at step 0: a native misclassification, which has no success to find
            work.first_success[node.rows] = 2
            return []
        reopened = node.rows[work.first_success[node.rows] == 1]
        return self._release(work, reopened, node.step) if len(reopened) else []

    def _release(self, work: Work, rows: np.ndarray, step: int) -> list[Node]:
        """A first success that float32 did not confirm: the next candidate of each row is scored in its place."""
        work.first_success[rows] = 0
        held, work.held = sorted(work.held, key=lambda n: n.step), []
        wanted = []
        for node in held:
            ask = node.rows[work.first_success[node.rows] == 0]
            work.first_success[ask] = 1
            if len(ask):
                wanted.append(_with_rows(node, ask))
            wait = np.setdiff1d(node.rows, ask)
            wait = wait[work.first_success[wait] == 1]
            if len(wait):
                work.held.append(_with_rows(node, wait))
        return wanted

    def doubtful(self, work: Work) -> np.ndarray:
        """Begun rows with an iterate that lies inside today's band and was not scored in float32."""
        with np.errstate(invalid="ignore"):
            near = np.abs(_margins(work, work.logits)) <= self.band
        return np.flatnonzero((near & ~work.scored_float32).any(axis=1) & work.ran)

    def _audits(self, node: Node) -> bool:
        row = node.work.rows[node.rows[0]]
        number = draw(self.seed, node.work.image_id, "audit", row.step_size, row.epsilon, row.restart, node.step)
        return number < self.share * 2**64

    def account(self) -> str:
        """The account in words, for a record's notes."""
        told = self.audited >= FEWEST_AUDITED and not self.audit_changed
        bound = f", so at most {most_wrong(self.audited):.2%} (95%) of them are wrong" if told else ""
        largest = max((error for _, error in self._seen), default=0.0)
        return (
            f"float32 judged {self.compared} steered iterates and changed {self.changed} verdicts; largest "
            f"margin error {largest:.3g}, band ±{self.band:.3g}; audit outside the band: {self.audited} "
            f"iterates, {self.audit_changed} changed{bound}"
        )


def most_wrong(audited: int) -> float:
    """Upper 95 % bound of the share that is wrong where none of `audited` drawn ones was (exact binomial).

    >>> round(most_wrong(30), 4), round(most_wrong(1000), 4)
    (0.095, 0.003)
    """
    return float(1 - 0.05 ** (1 / audited))


def trusted_band(seen: np.ndarray) -> float:
    """The smallest band that is WIDENING times every error seen within NEAR bands of the boundary.

    `seen` (iterate, 2): |steered margin| and its error. At least the WARM_UP iterates nearest to the boundary count;
    with fewer seen, nothing is trusted.

    >>> trusted_band(np.array([[0.1, 0.02]] * 20 + [[30.0, 1.0]]))
    0.04
    """
    if len(seen) < WARM_UP:
        return float("inf")
    margins, errors = seen[np.argsort(seen[:, 0], kind="stable")].T
    largest, near = np.maximum.accumulate(errors), WARM_UP
    while True:
        band = WIDENING * float(largest[near - 1])
        wider = int(np.searchsorted(margins, NEAR * band, side="right"))
        if wider <= near:
            return band
        near = wider


def judged_margin(nodes: Sequence[Node], logits: np.ndarray) -> np.ndarray:
    """Margin of the label (targeted: the target) of each node's logits (node, class), float64 (node,)."""
    return margin(logits, np.array([n.work.target if n.work.target >= 0 else n.work.label for n in nodes]))


def _margins(work: Work, logits: np.ndarray) -> np.ndarray:
    wanted = work.target if work.target >= 0 else work.label
    return margin(logits.swapaxes(0, 1), np.full(len(work.rows), wanted)).T


def _down(work: Work, value: float) -> bool:
    """Whether a margin means that the image has fallen (targeted: that the target is reached)."""
    return value > 0 if work.target >= 0 else value < 0


def _with_rows(node: Node, rows: np.ndarray) -> Node:
    return Node(node.work, node.x, rows, node.step, node.serial)
