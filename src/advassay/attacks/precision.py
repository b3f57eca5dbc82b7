"""Low precision steers, float32 judges: which iterates are scored again, and the account of it.

A steered iterate is scored again by the unmodified network in float32 where its verdict is *used* (clean image, last
iterate, first success) and where it could be *wrong*: within its image's band around the decision boundary (band.py).
The margin is the logit of the label (targeted: of the target) minus the largest other: a verdict can only change where
its size is at most the error. While an image is under way the engine scores what looks necessary; when it is complete,
`Judge.settle` says from the image alone what is, has the rest opened again (`Engine.reopen`), and gives back the
steered logits of what was scored beyond that. A random audit outside the band tests the claim and bounds the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from advassay.attack_spec import PGD, Arm, Precision, check_complete
from advassay.attacks.band import settle
from advassay.attacks.work import Node, Row, Work, have_fallen
from advassay.identity import draw
from advassay.success import margin

AUDIT = 1000
"""Iterates outside the band to score again, where a run has several times as many."""
SMALL_RUN_SHARE = 0.05
"""Share of a smaller run's iterates that is audited."""
FEWEST_AUDITED = 30
"""Below this many the bound on what the audit missed is above 10 % and says nothing worth printing."""

REWRITES: dict[Precision, tuple[str, ...]] = {
    "exact": (),
    "fast32": ("folded", "channels-last", "fused"),
    "fast": ("folded", "channels-last", "bfloat16", "fused"),
}
check_complete("precision", Precision, REWRITES)


def audit_share(iterates: int) -> float:
    """Share of steered iterates to audit in a run that will have about `iterates` of them, shared ones counted once.

    A quarter more than AUDIT are drawn, for those that fall inside the band and are not an audit of what is outside.

    >>> audit_share(100_000), audit_share(800)
    (0.0125, 0.05)
    """
    return 1.25 * AUDIT / iterates if iterates >= 4 * AUDIT else SMALL_RUN_SHARE


def iterates_climbed(rows: Sequence[Row], rules: PGD | Arm) -> int:
    """About how many iterates an image with these rows is climbed from; at least, for raw-gradient updates.

    Sign steps of size s leave a ball of ε at step ⌈ε/s⌉ and are one trajectory before; how much raw gradients share
    depends on the gradients, and is taken as everything.

    >>> iterates_climbed([Row("0.01", 0.02 * i, 0.01) for i in range(1, 11)], PGD(0.02, steps=20))
    101
    """
    declared = [r for r in rows if r.restart == 0]
    if rules.random_start or not rules.steps:
        return rules.steps * len(declared)
    count = 1  # the clean image's gradient is one for all
    for step in {r.step for r in declared}:
        epsilons = np.array([r.epsilon for r in declared if r.step == step])
        reach = step * (1 - 1e-6) if rules.update == "projected-sign" else 0.0
        for k in range(1, rules.steps):
            parted = int((epsilons < k * reach).sum())
            count += parted + (parted < len(epsilons))
    return count


class Judge:
    """Says which steered nodes to score in float32, and keeps account of how wrong steering was.

    `start`: width of every image's band before its own comparisons, in logits; infinite = score everything.
    """

    def __init__(self, share: float, *, start: float = float("inf"), seed: int = 0) -> None:
        self.share, self.seed, self.start = share, seed, start
        self.largest = self.widest = 0.0
        self.compared = self.changed = self.audited = self.audit_changed = self.known_wrong = 0
        self._of_image: dict[str, Comparisons] = {}

    def comparisons(self, image_ids: Iterable[str]) -> Comparisons:
        """What these images, which are complete, add to the account; each is told once."""
        found = [one for image_id in image_ids if (one := self._of_image.pop(image_id, None)) is not None]
        return Comparisons.joined([Comparisons(start=self.start), *found])

    def _compared(self, work: Work) -> Comparisons:
        return self._of_image.setdefault(work.image_id, Comparisons())

    def width(self, work: Work) -> float:
        """|margin| up to which a steered verdict of this image is not trusted, as far as is known."""
        return max(self.start, work.width)

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
        inside = not abs(steered) > self.width(work) or bool(work.wanted[rows, node.step].any())  # NaN is inside
        down = node.step > 0 and _down(work, steered)
        drawn = self._audits(node)
        if node.step == 0 or inside or drawn:
            if down:
                _ask(work, rows[work.first_success[rows] == 0], node.step)
            return replace(node, rows=rows, audited=drawn and not inside)
        if not down:
            return None
        ask, hold = rows[work.first_success[rows] == 0], rows[work.first_success[rows] == 1]
        if len(hold):
            work.held.append(replace(node, rows=hold))
        _ask(work, ask, node.step)
        return replace(node, rows=ask) if len(ask) else None

    def learn(self, node: Node, steered: Verdict, judged: Verdict) -> list[Node]:
        """Compare a node's steered and float32 verdicts; returns nodes held back that must now be scored."""
        work, low = node.work, steered.margin
        if low == low:  # a random start's clean image and last iterates were never steered
            flipped = steered.fallen != judged.fallen
            self.largest = max(self.largest, abs(judged.margin - low))
            self.compared += 1
            self.changed += flipped
            self.audited += node.audited
            self.audit_changed += node.audited and flipped
            of_image = self._compared(work)
            of_image.largest = max(of_image.largest, abs(judged.margin - low))
            of_image.compared += 1
            of_image.changed += flipped
            of_image.audited += node.audited
            of_image.audit_changed += node.audited and flipped
        if judged.fallen:  # at step 0: a native misclassification, which has no success to find
            work.first_success[node.rows] = 2
            return []
        waited = (work.first_success[node.rows] == 1) & (work.candidate[node.rows] == node.step)
        return self._release(work, node.rows[waited]) if waited.any() else []

    def _release(self, work: Work, rows: np.ndarray) -> list[Node]:
        """A first success that float32 did not confirm: the next candidate of each row is scored in its place."""
        work.first_success[rows] = 0
        held, work.held = sorted(work.held, key=lambda n: n.step), []
        wanted = []
        for node in held:
            ask = node.rows[work.first_success[node.rows] == 0]
            _ask(work, ask, node.step)
            if len(ask):
                wanted.append(replace(node, rows=ask))
            wait = np.setdiff1d(node.rows, ask)
            wait = wait[work.first_success[wait] == 1]
            if len(wait):
                work.held.append(replace(node, rows=wait))
        return wanted

    def settle(self, work: Work) -> np.ndarray:
        """Rows of a complete image that must be climbed again, because float32 has yet to judge an iterate of theirs.

        Where there are none, the image's logits are settled: float32 where it had to judge, steered elsewhere.
        """
        rows = np.flatnonzero(work.ran)
        steered, judged = (_margins(work, logits[rows]) for logits in (work.steered, work.judged()))
        side = 1.0 if work.target >= 0 else -1.0
        width, wanted = settle(steered, judged, self.start, side, work.scored_float32[rows])
        work.width = max(work.width, width)
        work.wanted[rows] |= wanted
        lacking = (wanted & ~work.scored_float32[rows]).any(axis=1)
        if not lacking.any():
            self._hand_out(work, rows, wanted, steered, judged)
        return rows[lacking]

    def _hand_out(
        self, work: Work, rows: np.ndarray, wanted: np.ndarray, steered: np.ndarray, judged: np.ndarray
    ) -> None:
        spare = work.scored_float32[rows] & ~wanted
        side = 1 if work.target >= 0 else -1
        known_wrong = int((spare & ((steered * side > 0) != (judged * side > 0))).sum())
        self.known_wrong += known_wrong
        self.widest = max(self.widest, work.width)
        of_image = self._compared(work)
        of_image.known_wrong += known_wrong
        of_image.widest = max(of_image.widest, work.width)
        work.logits[rows] = np.where(wanted[..., None], work.logits[rows], work.steered[rows])
        work.scored_float32[rows] = wanted

    def _audits(self, node: Node) -> bool:
        first, work = int(node.rows[0]), node.work
        if first not in work.audited:  # one hash a row: a step's would cost as much as its bookkeeping
            row = work.rows[first]
            key = draw(self.seed, work.image_id, "audit", row.step_size, row.epsilon, row.restart)
            work.audited[first] = np.random.default_rng(key).random(work.logits.shape[1]) < self.share
        return bool(work.audited[first][node.step])

    def account(self) -> str:
        """The account in words, for a record's notes."""
        return Comparisons(**{field.name: getattr(self, field.name) for field in fields(Comparisons)}).told()


@dataclass
class Comparisons:
    """How steered verdicts compared with float32 ones, of one image or of many."""

    compared: int = 0
    changed: int = 0
    audited: int = 0
    audit_changed: int = 0
    known_wrong: int = 0
    largest: float = 0.0
    """Margin error, in logits."""
    start: float = 0.0
    widest: float = 0.0
    """Half widths of bands, in logits."""

    @staticmethod
    def joined(parts: Sequence[Comparisons]) -> Comparisons:
        """Counts summed, errors and widths the largest."""
        measured = ("largest", "start", "widest")
        return Comparisons(
            **{
                field.name: (max if field.name in measured else sum)(getattr(part, field.name) for part in parts)
                for field in fields(Comparisons)
            }
        )

    def told(self) -> str:
        """In words, for a record's notes."""
        audit = self.audited >= FEWEST_AUDITED and not self.audit_changed
        bound = f", so at most {most_wrong(self.audited):.2%} (95%) of them are wrong" if audit else ""
        wrong = f"; {self.known_wrong} iterates recorded as steered are known to be wrong" if self.known_wrong else ""
        return (
            f"float32 judged {self.compared} steered iterates and changed {self.changed} verdicts; largest "
            f"margin error {self.largest:.3g}, band ±{self.start:.3g}, of single images up to ±{self.widest:.3g}; "
            f"audit outside the band: {self.audited} iterates, {self.audit_changed} changed{bound}{wrong}"
        )


def most_wrong(audited: int) -> float:
    """Upper 95 % bound of the share that is wrong where none of `audited` drawn ones was (exact binomial).

    >>> round(most_wrong(30), 4), round(most_wrong(1000), 4)
    (0.095, 0.003)
    """
    return float(1 - 0.05 ** (1 / audited))


class Verdict(NamedTuple):
    """What logits say of a node's image."""

    margin: float
    """Of the label (targeted: of the target); NaN where nothing is known."""
    fallen: bool


def verdicts(nodes: Sequence[Node], logits: np.ndarray) -> list[Verdict]:
    """Of each node's logits (node, class)."""
    both = zip(judged_margin(nodes, logits).tolist(), have_fallen(nodes, logits).tolist(), strict=True)
    return [Verdict(*each) for each in both]


def judged_margin(nodes: Sequence[Node], logits: np.ndarray) -> np.ndarray:
    """Margin of the label (targeted: the target) of each node's logits (node, class), float64 (node,)."""
    return margin(logits, np.array([n.work.target if n.work.target >= 0 else n.work.label for n in nodes]))


def _margins(work: Work, logits: np.ndarray) -> np.ndarray:
    """Margin of every iterate of rows' logits (row, step, class), float64 (row, step); NaN where there is none."""
    wanted = work.target if work.target >= 0 else work.label
    with np.errstate(invalid="ignore"):
        return margin(logits.swapaxes(0, 1), np.full(len(logits), wanted)).T


def _down(work: Work, value: float) -> bool:
    """Whether a margin means that the image has fallen (targeted: that the target is reached)."""
    return value > 0 if work.target >= 0 else value < 0


def _ask(work: Work, rows: np.ndarray, step: int) -> None:
    """Mark the rows' iterate at `step` as the first success that waits for its verdict."""
    work.first_success[rows], work.candidate[rows] = 1, step
