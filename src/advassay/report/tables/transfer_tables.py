"""Tables of transfer: attacked images of one network scored by the others of its cohort, beside noise of their size."""

from __future__ import annotations

import polars as pl

from advassay.analysis import transfer_by_kind, transfer_matrix
from advassay.report.data.findings import Findings
from advassay.report.tables.column_labels import columns
from advassay.report.tables.table import TABLES, Printed, Table
from advassay.report.text.number_format import amplitude

NO_TRANSFER = pl.DataFrame()
WORDS = {
    "low": "95 % from", "high": "to", "noise_rate": "noise", "noise_low": "95 % from", "noise_high": "to",
    "difference": "attacked less noise, points", "difference_low": "95 % from", "difference_high": "to",
}  # fmt: skip


def nearest(frame: pl.DataFrame, epsilon: float) -> pl.DataFrame:
    """The rows of each cohort at the ε that is nearest to `epsilon`: the judged one of question 6."""
    distance = (pl.col("epsilon") - epsilon).abs()
    return frame.filter(distance == distance.min().over("cohort"))


def _judged(findings: Findings) -> str:
    return f"at {amplitude(findings.plan.epsilon)} or the attacked amplitude nearest to it"


TABLES.register(
    Table(
        "transfer_by_kind",
        about="attacked images scored by other networks of the cohort, by what these are to the attacked one",
        build=lambda findings: transfer_by_kind(findings.records, level=findings.level),
        says=("level",),
        printed=(
            Printed(
                columns(
                    "cohort* epsilon kind pairs images rate low high noise_rate noise_low noise_high difference "
                    "difference_low difference_high",
                    kind="target is", images="images", rate="misled", **WORDS,
                ),
                lambda findings: "Transfer: of images that both networks of a pair classify correctly, the share that "
                "the target misclassifies as attacked on the source, and with random noise of the same size in every "
                f"pixel, {_judged(findings)} (other ε: CSV). Pairs of a kind are pooled; \"itself\" is the attack on "
                "its own source. Networks of one architecture and seed begin with the same weights, whatever "
                "images they learn from: part of what transfers between them may come from there. Intervals of rates "
                "are clustered by patient, of the difference by network too, from three networks on.",
                "results", 187, group="cohort",
                rows=lambda frame, findings: nearest(frame, findings.plan.epsilon),
            ),
        ),
    )
)  # fmt: skip
TABLES.register(
    Table(
        "transfer_matrix",
        about="every pair of a cohort's networks: how often attacked images of one mislead the other, and noise",
        build=lambda findings: transfer_matrix(findings.records, level=findings.level),
        says=("level",),
        printed=(
            Printed(
                columns(
                    "cohort* source* target kind n rate low high noise_rate noise_low noise_high",
                    source="attacked on", target="scored by", n="images", rate="misled", **WORDS,
                ),
                lambda findings: "Transfer from network to network: as above, pair by pair, "
                f"{_judged(findings)} (other ε: CSV).",
                "results", 188, group="source", companion=True,
                rows=lambda frame, findings: nearest(frame, findings.plan.epsilon),
                fold="Transfer from network to network",
            ),
        ),
        of_figure=(),
    )
)  # fmt: skip
