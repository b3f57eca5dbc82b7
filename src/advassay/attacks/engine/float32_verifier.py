"""The surrogate steers, the unmodified network judges in float32: which iterates, and the account of it.

A steered iterate is scored again where its verdict is *used* (clean image, last iterate, first success) and where it
could be *wrong*: within its image's band around the decision boundary (uncertainty_band.py). The margin is the logit of
the label (targeted: of the target) minus the largest other: a verdict can only change where its size is at most the
error. While an image is under way the scheduler scores what looks necessary; when it is complete,
`Float32Verifier.rows_to_rerun` says from the image alone what is, has the rest attacked again, and gives back the
steering logits of what was scored beyond that. A random audit outside the band tests the claim and bounds the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from advassay.attacks.engine.image_state import GridRow, Records, SharedIterates
from advassay.attacks.engine.uncertainty_band import required_float32_mask
from advassay.spec.attack_components import UPDATE_RULES
from advassay.spec.attack_spec import PGD, Arm, Precision, check_complete
from advassay.success import is_adversarial, margin

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


def audit_fraction(iterates: int) -> float:
    """Share of steered iterates to audit in a run that will have about `iterates` of them, shared ones counted once.

    A quarter more than AUDIT are drawn, for those that fall inside the band and are not an audit of what is outside.

    >>> audit_fraction(100_000), audit_fraction(800)
    (0.0125, 0.05)
    """
    return 1.25 * AUDIT / iterates if iterates >= 4 * AUDIT else SMALL_RUN_SHARE


def expected_gradient_count(rows: Sequence[GridRow], rules: PGD | Arm) -> int:
    """About how many iterates an image with these rows is climbed from; at least, for raw-gradient updates.

    Sign steps of size s leave a ball of ε at step ⌈ε/s⌉ and are one trajectory before; how much raw gradients share
    depends on the gradients, and is taken as everything.

    >>> expected_gradient_count([GridRow("0.01", 0.02 * i, 0.01) for i in range(1, 11)], PGD(0.02, steps=20))
    101
    """
    declared = [r for r in rows if r.restart == 0]
    facts = UPDATE_RULES.get(rules.update)
    if rules.random_start or not rules.steps or not facts.shares_iterates:
        return rules.steps * len(declared)
    count = 1  # the clean image's gradient is one for all
    for step in {r.step for r in declared}:
        epsilons = np.array([r.epsilon for r in declared if r.step == step])
        reach = step * (1 - 1e-6) if facts.step_meaning == "length" else 0.0
        for k in range(1, rules.steps):
            parted = int((epsilons < k * reach).sum())
            count += parted + (parted < len(epsilons))
    return count


class Float32Verifier:
    """Says which steered iterates to score in float32, and keeps account of how wrong steering was.

    `start`: half width of every image's band before its own comparisons, in logits; infinite = score everything.
    """

    def __init__(self, audit_fraction: float, *, start: float = float("inf"), seed: int = 0) -> None:
        self.audit_fraction, self.start, self.seed = audit_fraction, start, seed
        self.total = Comparisons()

    def choose(
        self, records: Records, at: SharedIterates, logits: np.ndarray
    ) -> tuple[SharedIterates | None, SharedIterates | None]:
        """What of iterates just steered through to score in float32, and what to hold back.

        `logits` float32 (iterate, class). Rows are marked as asked for. Held back are adversarial iterates after one
        that waits for its verdict: they need none unless that one turns out not to be adversarial.
        """
        of_row, owner = records.rows, at.owner
        places, unscored = records.places(at), ~records.scored.reshape(-1)[records.places(at)]
        margins = _margin_of(records, at.image, logits)
        width = np.maximum(self.start, records.images.band_width[at.image])
        # Rows of an image attacked again: float32 is asked for what was found missing, whatever the band says of it.
        requested = records.required.reshape(-1)[places] & unscored
        inside = ~(np.abs(margins) > width) | np.logical_or.reduceat(requested, at.first)  # NaN is inside
        side = np.where(records.images.target[at.image] >= 0, 1.0, -1.0)
        down = (at.step > 0) & (margins * side > 0)
        # Drawn before anything is known of the iterate, or the audit would not be a random sample of those outside.
        drawn = self._audits(records, at)
        whole = (at.step == 0) | inside | drawn
        state = of_row.first_success[at.rows]
        held = unscored & ~whole[owner] & down[owner] & (state == 1)
        # By row, not by iterate: rows that share one may have had different successes before it.
        first = unscored & down[owner] & (state == 0)
        asked = (unscored & whole[owner]) | first
        _mark_candidates(records, at.rows[first], at.step[at.owner][first])
        ask, left = at.having(asked)
        ask.audited = (drawn & ~inside)[left]
        return (ask if len(ask) else None), (at.having(held)[0] if held.any() else None)

    def compare(self, records: Records, at: SharedIterates, judged: np.ndarray) -> None:
        """Learn from float32's logits (iterate, class) of iterates that were asked for."""
        of_row = records.rows
        first = at.rows[at.first]
        steered = records.values[first, at.step, : records.classes]
        low, high = (_margin_of(records, at.image, logits) for logits in (steered, judged))
        labels, targets = records.labels(at.image)
        was, now = (is_adversarial(logits, labels, targets) for logits in (steered, judged))
        known = low == low  # a random start's clean image was never steered
        changed, audited = known & (was != now), known & (False if at.audited is None else at.audited)
        errors = np.where(known, np.abs(high - low), 0.0)
        images = records.images
        for column, which in (
            (images.compared, known),
            (images.changed, changed),
            (images.audited, audited),
            (images.audit_changed, audited & changed),
        ):
            np.add.at(column, at.image, which)
        # fmax, not maximum: an error that is not a number is counted as a change, and would hide all others here.
        np.fmax.at(images.largest_error, at.image, errors)
        total = self.total
        total.compared += int(known.sum())
        total.changed += int(changed.sum())
        total.audited += int(audited.sum())
        total.audit_changed += int((audited & changed).sum())
        total.largest = max(total.largest, float(np.fmax.reduce(errors, initial=0.0)))
        now_rows = now[at.owner]
        # Confirmed first, then taken back: a row may have several iterates in one batch, and one that confirms ends
        # its wait.
        # At step 0 this is a native misclassification, which has no success to find.
        of_row.first_success[at.rows[now_rows]] = 2
        standing = at.rows[~now_rows]
        waited = (of_row.first_success[standing] == 1) & (of_row.candidate[standing] == at.step[at.owner][~now_rows])
        of_row.first_success[standing[waited]] = 0

    def release(self, records: Records, held: SharedIterates) -> tuple[SharedIterates | None, SharedIterates | None]:
        """What of the iterates held back to score now, and what to hold on to, since more verdicts are known.

        Where a candidate was not confirmed, the row's next adversarial iterate takes its place.
        """
        step = held.step[held.owner]
        free = np.flatnonzero(records.rows.first_success[held.rows] == 0)
        order = free[np.lexsort((step[free], held.rows[free]))]
        # The earliest of each row alone: the following ones need no verdict if it is confirmed.
        next_ones = order[np.diff(held.rows[order], prepend=-1) != 0]
        asked = np.zeros(len(held.rows), bool)
        asked[next_ones] = True
        _mark_candidates(records, held.rows[asked], step[asked])
        waiting = ~asked & (records.rows.first_success[held.rows] == 1)
        return tuple(held.having(mask)[0] if mask.any() else None for mask in (asked, waiting))  # type: ignore[return-value]

    def rows_to_rerun(self, records: Records, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of complete images: rows that must be attacked again, because float32 has yet to judge an iterate of theirs,
        and the images without any.

        The logits of the latter are final then: float32's where it had to judge, the steering ones elsewhere.
        """
        rows = records.begun_rows(images)
        # Images numbered as given, so that what is found of each can be put together by index.
        number = np.empty(len(records.images.label), np.int64)
        number[images] = np.arange(len(images))
        image = number[records.rows.image[rows]]
        scored = records.scored[rows]
        steered = self._margins(records, rows, records.values[rows, :, : records.classes])
        judged = np.where(scored, self._margins(records, rows, records.verified[rows]), np.nan)
        side = 1.0 if (records.images.target[images] >= 0).any() else -1.0
        band = required_float32_mask(steered, judged, self.start, side, scored, image)
        records.images.band_width[images] = np.maximum(records.images.band_width[images], band.width)
        records.required[rows] |= band.required
        lacking = (band.required & ~scored).any(axis=1)
        unsettled = np.zeros(len(images), bool)
        unsettled[image[lacking]] = True
        settled = ~unsettled[image]
        # Scored beyond what was required: not recorded, or the record would depend on what ran beside it.
        spare = scored & ~band.required & settled[:, None]
        wrong = (spare & ((steered * side > 0) != (judged * side > 0))).sum(axis=1)
        np.add.at(records.images.known_wrong, images[image], wrong)
        self.total.known_wrong += int(wrong.sum())
        if settled.any():
            self.total.widest = max(self.total.widest, float(records.images.band_width[images[~unsettled]].max()))
            kept, required = rows[settled], band.required[settled]
            own = records.values[kept, :, : records.classes]
            records.values[kept, :, : records.classes] = np.where(required[..., None], records.verified[kept], own)
            records.scored[kept] = required
        return rows[lacking], images[~unsettled]

    def comparisons(self, records: Records, images: np.ndarray) -> Comparisons:
        """What these images, which are complete, add to the account."""
        of = records.images
        return Comparisons(
            compared=int(of.compared[images].sum()),
            changed=int(of.changed[images].sum()),
            audited=int(of.audited[images].sum()),
            audit_changed=int(of.audit_changed[images].sum()),
            known_wrong=int(of.known_wrong[images].sum()),
            largest=float(of.largest_error[images].max(initial=0.0)),
            start=self.start,
            widest=float(of.band_width[images].max(initial=0.0)),
        )

    def summary(self) -> str:
        """The account in words, for a record's notes."""
        self.total.start = self.start
        return self.total.summary()

    def _audits(self, records: Records, at: SharedIterates) -> np.ndarray:
        """Which iterates are audited, (iterate,) bool: by the first row's key, whatever else runs."""
        # A hash and not a generator: what is drawn must not depend on the order in which images come.
        key = records.rows.key[at.rows[at.first]] + at.step.astype(np.uint64) + np.uint64(self.seed % 2**64)
        return _uniform(key) < self.audit_fraction

    @staticmethod
    def _margins(records: Records, rows: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Margin of every iterate of rows' logits (row, step, class), float64 (row, step); NaN where there is none."""
        labels, targets = records.labels(records.rows.image[rows])
        with np.errstate(invalid="ignore"):
            return margin(logits.swapaxes(0, 1), labels if targets is None else targets).T


def _margin_of(records: Records, images: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Margin of the label (targeted: the target) of logits (iterate, class), float64 (iterate,)."""
    labels, targets = records.labels(images)
    with np.errstate(invalid="ignore"):
        return margin(logits, labels if targets is None else targets)


def _mark_candidates(records: Records, rows: np.ndarray, step: np.ndarray) -> None:
    """Mark the rows' iterates at `step` as first successes that wait for their verdict."""
    records.rows.first_success[rows], records.rows.candidate[rows] = 1, step


def _uniform(key: np.ndarray) -> np.ndarray:
    """A number in [0, 1) from each uint64 key (SplitMix64, Steele et al. 2014): a hash for a whole batch at once."""
    with np.errstate(over="ignore"):
        z = key + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


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

    def summary(self) -> str:
        """In words, for a record's notes."""
        audit = self.audited >= FEWEST_AUDITED and not self.audit_changed
        bound = f", so at most {error_rate_upper_bound(self.audited):.2%} (95%) of them are wrong" if audit else ""
        wrong = f"; {self.known_wrong} iterates recorded as steered are known to be wrong" if self.known_wrong else ""
        return (
            f"float32 judged {self.compared} steered iterates and changed {self.changed} verdicts; largest "
            f"margin error {self.largest:.3g}, band ±{self.start:.3g}, of single images up to ±{self.widest:.3g}; "
            f"audit outside the band: {self.audited} iterates, {self.audit_changed} changed{bound}{wrong}"
        )


def error_rate_upper_bound(audited: int) -> float:
    """Upper 95 % bound of the share that is wrong where none of `audited` drawn ones was (exact binomial).

    >>> round(error_rate_upper_bound(30), 4), round(error_rate_upper_bound(1000), 4)
    (0.095, 0.003)
    """
    return float(1 - 0.05 ** (1 / audited))
