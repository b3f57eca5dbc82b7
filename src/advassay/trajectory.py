"""What an attack gives and a record keeps, in NumPy.

`TrajectoryRows` is the currency: a block of rows, one per image × step size × ε × restart, each with its whole
path over iterates 0 … K. `attacks` yields blocks, `records` writes and reads them, and `Trajectory` (one attack)
and `Sweep` (a grid) are the shapes people work with.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from advassay import success as _success
from advassay.errors import AttackError
from advassay.record_columns import COLUMNS, KeyColumns, PathColumns
from advassay.spec.attack_spec import PGD, Precision

if TYPE_CHECKING:
    import altair as alt
    import polars as pl


@dataclass(frozen=True)
class TrajectoryRows(PathColumns, KeyColumns):
    """A block of n rows. Step axis: K + 1 iterates, index 0 = clean image.

    Columns: `record_columns.py` says of each what it is; (row,), (row, step) or (row, step, class).
    flags         name → (row,) bool; guards and failure indicators
    final_images  (image_id, step_size, epsilon) → float32 (channel, height, width); the few a gallery asked for
    iterate_images  (image_id, step_size, epsilon) → float32 (step, channel, height, width), where every iterate of kept
                  images was asked for

    Sizes and ssim are NaN after a row has retired.
    """

    flags: Mapping[str, np.ndarray] = field(default_factory=dict)
    final_images: Mapping[tuple[str, str, float], np.ndarray] = field(default_factory=dict)
    iterate_images: Mapping[tuple[str, str, float], np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.image_id)

    def __repr__(self) -> str:
        """A summary."""
        path = f"{self.logits.shape[1]} iterates, {self.logits.shape[2]} classes" if self.logits.ndim == 3 else "empty"
        return f"TrajectoryRows({len(self)} rows, {path})"

    def take(self, rows: np.ndarray) -> TrajectoryRows:
        """The rows at integer or boolean index `rows`, in that order; images are kept whole."""
        columns = {name: getattr(self, name)[rows] for name in COLUMNS}
        return replace(self, **columns, flags={name: flag[rows] for name, flag in self.flags.items()})

    @staticmethod
    def concatenate(blocks: list[TrajectoryRows]) -> TrajectoryRows:
        """One block from several with the same number of steps and classes. Raises ValueError for an empty list."""
        if not blocks:
            raise ValueError("blocks: expected at least one block, got none")
        columns = {name: np.concatenate([getattr(b, name) for b in blocks]) for name in COLUMNS}
        names = sorted({name for b in blocks for name in b.flags})
        flags = {name: np.concatenate([b.flags.get(name, np.zeros(len(b), bool)) for b in blocks]) for name in names}
        images = {key: image for b in blocks for key, image in b.final_images.items()}
        iterates = {key: image for b in blocks for key, image in b.iterate_images.items()}
        return TrajectoryRows(**columns, flags=flags, final_images=images, iterate_images=iterates)


@dataclass
class Cost:
    """What a sweep spent. Passes are counted per image, padding not included."""

    gradient_evaluations: int = 0
    forward_passes: int = 0
    seconds: float = 0.0
    rescored: int = 0
    """Iterates judged again by a float32 pass of the unmodified network."""
    changed: int = 0
    """Verdicts that such a pass changed."""
    batch_size: int = 0


@dataclass(frozen=True)
class Trajectory(PathColumns):
    """One attack on n images: every iterate's logits and the path's sizes, (step, image, …); ssim (image,)."""

    attack: PGD
    image_ids: tuple[str, ...]
    labels: np.ndarray
    targets: np.ndarray | None
    flags: dict[str, np.ndarray]
    cost: Cost
    adversarial_images: np.ndarray
    """Last iterate, float32 (image, channel, height, width) in [0, 1]."""
    restarts: TrajectoryRows | None = None
    """Every restart of survivors, whole; None where there was none. Only the worst case looks at them."""
    notes: tuple[str, ...] = ()
    """What is to be known about the run: suspicions ("flag: cause and fix"), rewrites taken back, the account."""
    precision: Precision = "exact"
    """That the attack was asked for."""

    def __repr__(self) -> str:
        """A summary."""
        rate = self.attack_success_rate()[-1]
        return f"Trajectory({_setting(self.attack)}, {len(self.labels)} images, success {rate:.3g}{_doubts(self)})"

    def attack_success_rate(self, success: _success.Reading = "last") -> np.ndarray:
        """(step,) float64; see success.attack_success_rate."""
        return _success.attack_success_rate(self.logits, self.labels, success, self.targets)

    def robust_accuracy(self, success: _success.Reading = "last") -> np.ndarray:
        """(step,) float64; see success.robust_accuracy."""
        return _success.robust_accuracy(self.logits, self.labels, success)

    def to_polars(self, success: _success.Reading = "last") -> pl.DataFrame:
        """One row a step, 0 (clean) to K: step, n (images that count), events (of these misclassified), rate."""
        return _success_frame(self, {}, success)

    def plot(self, width: int = 640, *, success: _success.Reading = "last") -> alt.Chart:
        """Success against the step as an Altair chart; `width` in CSS pixels. No intervals: they need patients."""
        return _chart(self.to_polars(success), "step", width)

    def worst_case_success_rate(self, success: _success.Reading = "last") -> float:
        """Share of attackable images misclassified in the declared run or a restart: Sweep.worst_case_success_rate."""
        down = _success.has_succeeded(self.logits, self.labels, success, self.targets)[-1]
        down = down | np.isin(self.image_ids, [image for _, _, image in _misclassified_rows(self.restarts, success)])
        counted = _success.counted(self.logits, self.labels, success, self.targets)[-1]
        return float(_share(down, counted | down))


@dataclass(frozen=True)
class Sweep(PathColumns):
    """A grid of attacks on n images. Leading axes: step_size (only if step sizes were given), epsilon.

    Columns of the path are (…, step, image, …), as in `Trajectory`.
    """

    attack: PGD
    epsilons: tuple[float, ...]
    step_sizes: tuple[str, ...] | None
    image_ids: tuple[str, ...]
    labels: np.ndarray
    targets: np.ndarray | None
    flags: dict[str, np.ndarray]
    """name → bool (…, epsilon, image)."""
    cost: Cost
    rerun: Sweep | None = None
    """The linked margin-loss sweep of flagged images; never overwrites the declared attack."""
    restarts: TrajectoryRows | None = None
    """Every restart of survivors, whole; None where there was none. Only the worst case looks at them."""
    notes: tuple[str, ...] = ()
    """What is to be known about the run: suspicions ("flag: cause and fix"), rewrites taken back, the account."""
    precision: Precision = "exact"
    """That the attack was asked for."""

    def __repr__(self) -> str:
        """A summary."""
        reading: _success.Reading = "any" if np.any(self.flags.get("retired", False)) else "last"
        rates = np.atleast_2d(self.attack_success_rate(reading)[..., -1])
        lines = [", ".join(f"ε {e:.4g}: {r:.3g}" for e, r in zip(self.epsilons, each, strict=True)) for each in rates]
        if self.step_sizes is not None:
            lines = [f"step {name}: {line}" for name, line in zip(self.step_sizes, lines, strict=True)]
        rate = f'success ("{reading}") at {"; ".join(lines)}'
        return f"Sweep({_setting(self.attack)}, {len(self.labels)} images, {rate}{_doubts(self)})"

    def attack_success_rate(self, success: _success.Reading = "last") -> np.ndarray:
        """(…, epsilon, step) float64; see success.attack_success_rate. Raises AttackError: "last" where `retired`."""
        self._check_reading(success)
        return _success.attack_success_rate(self.logits, self.labels, success, self.targets)

    def robust_accuracy(self, success: _success.Reading = "last") -> np.ndarray:
        """(…, epsilon, step) float64; see success.robust_accuracy. Raises AttackError: "last" where `retired`."""
        self._check_reading(success)
        return _success.robust_accuracy(self.logits, self.labels, success)

    def to_polars(self, success: _success.Reading = "last") -> pl.DataFrame:
        """One row per step size (where several were given), ε and step, 0 (clean) to K.

        Columns: step_size, epsilon, step, n (images that count), events (of these misclassified), rate. Raises
        AttackError: "last" where `retired`.
        """
        self._check_reading(success)
        sizes = {} if self.step_sizes is None else {"step_size": self.step_sizes}
        return _success_frame(self, sizes | {"epsilon": self.epsilons}, success)

    def plot(self, width: int = 640, *, success: _success.Reading = "last") -> alt.Chart:
        """Success at the last step against ε as an Altair chart, a colour for each step size; `width` in CSS pixels.

        No intervals: they need patients. Raises AttackError: "last" where `retired`.
        """
        import polars as pl

        frame = self.to_polars(success)
        return _chart(frame.filter(pl.col("step") == pl.col("step").max()), "epsilon", width)

    def worst_case_success_rate(self, success: _success.Reading = "last") -> np.ndarray:
        """(…, epsilon) float64: share of attackable images misclassified in the declared run or any restart at its last
        (or at any) iterate; NaN if none counts. Without restarts it is attack_success_rate at the last step.

        Worst case over restarts: Madry et al. 2018 (arXiv 1706.06083), section 4. The curves judge the declared run
        alone. Raises AttackError: "last" where `retired`.
        """
        self._check_reading(success)
        down = _success.has_succeeded(self.logits, self.labels, success, self.targets)[..., -1, :].copy()
        for step_size, epsilon, image in _misclassified_rows(self.restarts, success):
            at = () if self.step_sizes is None else (self.step_sizes.index(step_size),)
            down[(*at, self.epsilons.index(epsilon), self.image_ids.index(image))] = True
        return _share(down, _success.counted(self.logits, self.labels, success, self.targets)[..., -1, :] | down)

    def _check_reading(self, success: _success.Reading) -> None:
        if success == "last" and np.any(self.flags.get("retired", False)):
            raise AttackError(
                'success: "any" is the only reading of a sweep that ended rows at their first success, got "last".',
                'Ask for success="any", or sweep again without first_success_only.',
            )


def _success_frame(
    result: Trajectory | Sweep, axes: Mapping[str, Sequence[object]], success: _success.Reading
) -> pl.DataFrame:
    """Counts and rates as rows: the leading axes by name, then the step."""
    import polars as pl

    down = _success.has_succeeded(result.logits, result.labels, success, result.targets)
    counted = _success.counted(result.logits, result.labels, success, result.targets)
    n, events = counted.sum(-1), (down & counted).sum(-1)
    named: dict[str, Sequence[object]] = {**axes, "step": range(n.shape[-1])}
    places = list(itertools.product(*named.values()))
    columns = dict(zip(named, zip(*places, strict=True), strict=True))
    numbers = {"n": n.ravel(), "events": events.ravel(), "rate": _share(down & counted, counted).ravel()}
    return pl.DataFrame(columns | numbers).with_columns(rate=pl.col("rate").fill_nan(None))


def _chart(frame: pl.DataFrame, x: str, width: int) -> alt.Chart:
    import altair as alt

    rate = alt.Y("rate", type="quantitative", title="attack success rate", scale=alt.Scale(domain=[0, 1]))
    chart = alt.Chart(frame, width=width).mark_line(point=True).encode(x=alt.X(x, type="quantitative"), y=rate)
    return chart.encode(color=alt.Color("step_size", type="nominal")) if "step_size" in frame.columns else chart


def _setting(attack: PGD) -> str:
    return f"{attack.update}, {attack.loss}, {attack.norm}, {attack.steps} steps"


def _doubts(result: Trajectory | Sweep) -> str:
    """Flags that are set, with how many rows have each, and how many notes there are."""
    flags = ", ".join(f"{name} {int(flag.sum())}" for name, flag in result.flags.items() if flag.any())
    notes = f"{len(result.notes)} notes" if result.notes else ""
    return "".join(f"; {part}" for part in (f"flags: {flags}" if flags else "", notes) if part)


def _misclassified_rows(rows: TrajectoryRows | None, success: _success.Reading) -> list[tuple[str, float, str]]:
    """(step size, ε, image id) of the rows whose image is misclassified."""
    if rows is None:
        return []
    targets = None if (rows.target < 0).all() else rows.target
    down = _success.has_succeeded(rows.logits.swapaxes(0, 1), rows.label, success, targets)[-1]
    keys = zip(rows.step_size[down], rows.epsilon[down], rows.image_id[down], strict=True)
    return [(str(s), float(e), str(i)) for s, e, i in keys]


def _share(down: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Share misclassified among the images that count, over the last axis; NaN where none does."""
    n = counted.sum(axis=-1)
    return np.divide(down.sum(axis=-1), n, out=np.full(n.shape, np.nan), where=n > 0)
