"""Tables as they are printed: which columns, under which words, and how each number is written.

Every cell keeps the value it was written from, so that a test can hold the page against the CSV.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from advassay.analysis.interval_text import NOT_DETERMINED, Kind, is_too_wide, one_sided
from advassay.report.text.number_format import count, number, percent, points

Show = Callable[[Any], str]


@dataclass(frozen=True)
class Column:
    """One column of a printed table."""

    key: str
    header: str
    show: Show = str
    shared: bool = False
    """Printed once for all rows of a group (see `grid`)."""
    of_row: Callable[[Mapping[str, Any]], str] | None = None
    """How the cell is written where that depends on the whole row."""


@dataclass(frozen=True)
class Cell:
    key: str
    text: str
    value: str
    numeric: bool
    span: int = 1


@dataclass(frozen=True)
class Grid:
    """A table ready to print. `name` is also its CSV file's name without suffix."""

    name: str
    title: str
    headers: tuple[tuple[str, bool], ...]
    """(text, numeric) of each column."""
    rows: tuple[tuple[Cell, ...], ...]

    def whole_rows(self) -> Iterator[tuple[Cell, ...]]:
        """Rows with every cell: one that spans several rows is repeated on each."""
        held: dict[str, Cell] = {}
        order = [cell.key for cell in self.rows[0]] if self.rows else []
        for row in self.rows:
            held |= {cell.key: cell for cell in row}
            yield tuple(held[key] for key in order)


def shown(value: Any) -> str:
    """A value of unknown kind: text as it is, whole numbers with thousands apart, others with three digits."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    return number(value) if isinstance(value, float) else str(value)


def whole(value: int | None) -> str:
    """A count; an en dash where there is none."""
    return "–" if value is None else count(value)


def share(value: float | None) -> str:
    """A share in percent; one above 0 is never written as none.

    >>> share(3 / 6980), share(0.0), share(0.0005)
    ('< 0.1 %', '0.0 %', '0.1 %')
    """
    return "< 0.1 %" if value is not None and 0 < value < 0.0005 else percent(value)


def grid(name: str, title: str, frame: pl.DataFrame, columns: Sequence[Column], group: str | None = None) -> Grid:
    """`frame` as a table; `group` names the column whose equal neighbours share one cell in `shared` columns."""
    present = [column for column in columns if column.key in frame.columns and _filled(frame[column.key])]
    keys = frame[group].to_list() if group else list(range(len(frame)))
    rows = []
    for index, record in enumerate(frame.iter_rows(named=True)):
        begins = index == 0 or keys[index] != keys[index - 1]
        span = _run(keys, index) if group else 1
        rows.append(
            tuple(
                _cell(column, record, frame.schema[column.key], span if column.shared else 1)
                for column in present
                if begins or not column.shared
            )
        )
    headers = tuple((column.header, frame.schema[column.key].is_numeric()) for column in present)
    return Grid(name, title, headers, tuple(rows))


def default_table(name: str, title: str, frame: pl.DataFrame) -> Grid:
    """A table with every column that holds something, under its own name."""
    return grid(name, title, frame, every_column(frame))


def every_column(frame: pl.DataFrame) -> list[Column]:
    """All columns of a frame under their own names."""
    return [Column(key, key.replace("_", " "), shown) for key in frame.columns]


def _cell(column: Column, record: Mapping[str, Any], kind: pl.DataType, span: int) -> Cell:
    value = record[column.key]
    text = column.of_row(record) if column.of_row else column.show(value)
    return Cell(column.key, text, exact(value), kind.is_numeric(), span)


def exact(value: Any) -> str:
    """A value with all its digits, as the CSV has it: empty where there is none, or none that is finite."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _filled(values: pl.Series) -> bool:
    return len(values) > values.null_count()


def _run(keys: list[Any], start: int) -> int:
    end = start
    while end < len(keys) and keys[end] == keys[start]:
        end += 1
    return end - start


def text(value: str | None) -> str:
    return value or "–"


def spaced(value: str) -> str:
    """A name of ours in words."""
    return value.replace("_", " ")


QUANTITIES = {
    "linf": "L∞", "l2": "L2", "psnr": "PSNR, dB", "ssim": "SSIM", "clean_contrast": "clean contrast",
    "epsilon_over_contrast": "ε over clean contrast",
}  # fmt: skip


def quantity(value: str) -> str:
    """A measure of the perturbation as the field writes it."""
    return QUANTITIES.get(value, spaced(value))


def amplitude(value: float) -> str:
    return f"{value:g}"


def seconds(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\u202f")


def level(value: float) -> str:
    """A confidence level in percent."""
    return f"{100 * value:g} %"


def hash_start(value: str | None) -> str:
    return value[:16] + "…" if value else "–"


TEXTS = """
cohort split counted age sex view image_type class arm division cluster scaling resize meaning where control text
success bin method precision device run_id classifier cohort_identity label predicted median step_size question answer
evidence store attack cohorts versions test text_255 stage part what met carried columns_checked rule verdict dose
estimator subgroup group reference document item asks says goal capability knowledge norm update kind source target
architecture runtime compared arithmetic train_mode converter query_access
"""
SHARES = """
misled
accuracy sensitivity specificity balanced_accuracy rate low high share confidence surviving rate_first rate_second
bin_low bin_high share_to_flip clean_low clean_high adversarial_low adversarial_high remaining remaining_low
remaining_high noise_rate noise_low noise_high robust_accuracy robust_accuracy_low robust_accuracy_high
"""
PROOF = "largest_difference tolerance gradient_error gradient_tolerance"
MOVED = "pixel_l2 ssim pixel feature feature_noise feature_same ratio ratio_low ratio_high"
NUMBERS = (
    "tiles tiles_to_flip visibility_low visibility_high q25 q75 auroc auroc_low auroc_high "
    "published_score ece p p_adjusted p_holm"
)
SHOWN: Mapping[str, Show] = (
    dict.fromkeys(TEXTS.split(), text)
    | dict.fromkeys(SHARES.split(), share)
    | dict.fromkeys(NUMBERS.split(), number)
    | dict.fromkeys(MOVED.split(), number)
    | dict.fromkeys(PROOF.split(), lambda value: "–" if value is None else f"{value:.2g}")
    | {"median": shown, "queries": shown, "quantity": quantity, "flag": spaced}
    | dict.fromkeys(("difference", "difference_low", "difference_high"), points)
    | {"epsilon": amplitude, "level": level, "seconds": seconds, "weights_sha256": hash_start}
)
"""Column → how its values are written; counts where it is not named."""

LEVEL = "95 %"
"""The level as headers are written; `at_level` puts another in its place."""

HEADERS = {
    "image_type": "image type", "total": "in all", "auroc": "AUROC", "published_images": "published: images",
    "published_score": "score", "epsilon": "ε", "low": f"{LEVEL} from", "high": "to",
    "balanced_accuracy": "balanced accuracy",
    "events": "misclassified", "train_size": "training images", "gradient_evaluations": "gradients",
    "forward_passes": "forward passes", "rescored": "judged again in float32", "changed": "verdicts changed by it",
    "division": "split", "cluster": "patient column", "without_patient": "rows without a patient",
    "candidates": "candidate rows", "met": "tags with a value (files)", "carried": "copied",
    "left_out": "left out", "image_size_px": "side, px", "resize": "to a square by",
    "run_id": "run", "cohort_identity": "cohort identity", "weights_sha256": "weights SHA-256", "success": "reading",
    "step": "iteration", "bin": "clean confidence", "rate": "success", "method": "interval", "bin_low": "bin from",
    "bin_high": "to", "confidence": "mean confidence", "ece": "calibration error", "clean_low": "clean from",
    "clean_high": "to", "adversarial_low": "attacked from", "adversarial_high": "to", "surviving": "still correct",
    "label": "class", "predicted": "predicted as", "rate_first": "first", "rate_second": "second",
    "only_first": "misclassified only in the first", "only_second": "only in the second",
    "p_adjusted": "p, Holm over cohorts and ε",
    "step_size": "step size", "remaining": "remaining rise", "remaining_low": "from", "remaining_high": "to",
    "median": "half misclassified by iteration", "visibility_low": "ε over contrast from", "visibility_high": "to",
}  # fmt: skip
"""Column → its words, where they are not its name."""


def columns(keys: str, **words: str) -> list[Column]:
    """Columns by name, a star behind those that are printed once for a group; `words`: headers of this table alone.

    >>> [(c.key, c.header, c.shared) for c in columns("cohort* n", n="of")]
    [('cohort', 'cohort', True), ('n', 'of', False)]
    """
    names = [(key.rstrip("*"), key.endswith("*")) for key in keys.split()]
    headers = HEADERS | words
    return [Column(key, headers.get(key, key.replace("_", " ")), SHOWN.get(key, whole), once) for key, once in names]


def at_level(shown: Sequence[Column], level: float) -> list[Column]:
    """The columns with the confidence level of their intervals in the headers."""
    return [replace(column, header=column.header.replace(LEVEL, f"{100 * level:g} %")) for column in shown]


def of_effects(
    shown: Sequence[Column], kind: Callable[[Mapping[str, Any]], Kind], estimate: str = "estimate", low: str = "low",
    high: str = "high",
) -> list[Column]:  # fmt: skip
    """The columns with an effect and its interval called not determined where the interval is too wide to print.

    `kind` says of a row what its effect is.
    """

    def cell(column: Column) -> Callable[[Mapping[str, Any]], str]:
        def text(row: Mapping[str, Any]) -> str:
            ends = row[low], row[high]
            wide = None not in ends and is_too_wide(kind(row), *ends) and not one_sided(kind(row), *ends)
            return NOT_DETERMINED if wide else column.show(row[column.key])

        return text

    keys = (estimate, low, high)
    return [replace(column, of_row=cell(column)) if column.key in keys else column for column in shown]
