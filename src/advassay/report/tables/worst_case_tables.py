"""Tables of the worst case: robust accuracy under all attacks together, and which attack found what."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl

from advassay.analysis import worst_case_by_attack, worst_case_robust_accuracy
from advassay.report.tables.column_labels import columns
from advassay.report.tables.table import TABLES, Printed, Table

if TYPE_CHECKING:
    from advassay.records import Records
    from advassay.report.data.findings import Findings


def _of_several(findings: Findings, build: Callable[[Records], pl.DataFrame]) -> pl.DataFrame:
    """The table where several arms attacked the main networks; of a single one it would say what its curves say."""
    arms: dict[tuple[str, str], set[str]] = {}
    for run in findings.records.runs:
        if run.header.primary and len(run.index):
            arms.setdefault((run.header.cohort, str(run.header.attack.get("norm"))), set()).add(run.header.arm)
    return build(findings.records) if any(len(of) > 1 for of in arms.values()) else pl.DataFrame()


TABLES.register(
    Table(
        "worst_case",
        about="robust accuracy under the worst of all attacks, image by image: an upper bound",
        build=lambda findings: _of_several(
            findings, lambda records: worst_case_robust_accuracy(records, level=findings.level)
        ),
        says=("level",),
        printed=(
            Printed(
                columns(
                    "cohort* norm epsilon n robust rate low high arms",
                    n="images", robust="misclassified by none", rate="robust accuracy, at most", arms="attacks",
                ),
                "Robust accuracy under the worst of all attacks, image by image: an image counts only where no attack "
                "misclassified it at this or a smaller amplitude. An upper bound: an attack that was not run may find "
                "more. No certified bound was computed; one would have to prove the images misclassified by none.",
                "results", 185, group="cohort", companion=True,
                fold="Robust accuracy under the worst of all attacks",
            ),
        ),
    )
)  # fmt: skip
TABLES.register(
    Table(
        "worst_case_by_attack",
        about="which attack misclassified how many images at every amplitude, and how many it alone",
        build=lambda findings: _of_several(findings, worst_case_by_attack),
        printed=(
            Printed(
                columns(
                    "cohort* norm* epsilon* arm update n found alone queries", n="images attacked, correct when clean",
                    found="misclassified", alone="by it alone", queries="forward passes, mean",
                ),
                "Which attack found what, at the amplitude of the figures (other ε: CSV), of the images that the model "
                "gets right: misclassified at this or a smaller amplitude. Some attack a sample only. Forward passes "
                "are counted for searches, of one image at this amplitude; fab and hopskipjump search once for all "
                "amplitudes.",
                "results", 186, group="cohort", companion=True,
                rows=lambda frame, findings: frame.filter(pl.col("epsilon") == findings.epsilon),
                fold="Which attack found what",
            ),
        ),
    )
)  # fmt: skip
