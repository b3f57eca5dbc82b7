"""The words of table columns: under which header each is printed, and how its values are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from advassay.analysis.interval_text import NOT_DETERMINED, Kind, is_too_wide, one_sided
from advassay.report.output.table_format import Column, Show, share, shown, whole
from advassay.report.text.number_format import number, points


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
cohort image_type class arm division cluster scaling resize meaning where control text success bin method precision
device run_id classifier cohort_identity label predicted median step_size question answer evidence store attack cohorts
versions test text_255 method stage part what met carried columns_checked rule verdict dose estimator subgroup
group reference
"""
SHARES = """
accuracy sensitivity specificity balanced_accuracy rate low high share confidence surviving rate_first rate_second
bin_low bin_high share_to_flip clean_low clean_high adversarial_low adversarial_high remaining remaining_low
remaining_high robust_accuracy robust_accuracy_low robust_accuracy_high
"""
NUMBERS = "tiles tiles_to_flip visibility_low visibility_high q25 q75 auroc published_score ece p p_adjusted p_holm"
SHOWN: Mapping[str, Show] = (
    dict.fromkeys(TEXTS.split(), text)
    | dict.fromkeys(SHARES.split(), share)
    | dict.fromkeys(NUMBERS.split(), number)
    | {"median": shown, "quantity": quantity, "flag": spaced}
    | {"difference": points, "epsilon": amplitude, "level": level, "seconds": seconds, "weights_sha256": hash_start}
)
"""Column → how its values are written; counts where it is not named."""

LEVEL = "95 %"
"""The level as headers are written; `at_level` puts another in its place."""

HEADERS = {
    "image_type": "image type", "total": "in all", "auroc": "AUROC", "published_images": "published: images",
    "published_score": "score", "epsilon": "ε", "low": f"{LEVEL} from", "high": "to",
    "balanced_accuracy": "balanced accuracy",
    "events": "fallen", "train_size": "training images", "gradient_evaluations": "gradients",
    "forward_passes": "forward passes", "rescored": "judged again in float32", "changed": "verdicts changed by it",
    "division": "split", "cluster": "patient column", "without_patient": "rows without a patient",
    "candidates": "candidate rows", "met": "tags with a value (files)", "carried": "carried along",
    "left_out": "left out", "image_size_px": "side, px", "resize": "to a square by",
    "run_id": "run", "cohort_identity": "cohort identity", "weights_sha256": "weights SHA-256", "success": "reading",
    "step": "iteration", "bin": "clean confidence", "rate": "success", "method": "interval", "bin_low": "bin from",
    "bin_high": "to", "confidence": "mean confidence", "ece": "calibration error", "clean_low": "clean from",
    "clean_high": "to", "adversarial_low": "attacked from", "adversarial_high": "to", "surviving": "still standing",
    "label": "class", "predicted": "taken for", "rate_first": "first", "rate_second": "second",
    "only_first": "fell only in the first", "only_second": "only in the second",
    "p_adjusted": "p, Holm over cohorts and ε",
    "step_size": "step size", "remaining": "remaining rise", "remaining_low": "from", "remaining_high": "to",
    "median": "half fallen by iteration", "visibility_low": "ε over contrast from", "visibility_high": "to",
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
