"""Tables for regulators and reviewers: the threat model of each arm, and which evidence answers which item."""

from __future__ import annotations

from advassay.report.tables.column_labels import columns
from advassay.report.tables.table import TABLES, Printed, Table
from advassay.report.text.regulations import answers_told, regulations
from advassay.report.text.threat_model import threat_model

TABLES.register(
    Table(
        "threat_model",
        about="goal, capability, knowledge and queries of the attacker, every arm",
        build=threat_model,
        printed=(
            Printed(
                columns("arm goal capability knowledge query_access attack", query_access="queries"),
                "Who attacks, by arm, in the words of NIST AI 100-2 E2025: goal, capability, knowledge and queries.",
                "regulation", 10,
            ),
        ),
    )
)  # fmt: skip
TABLES.register(
    Table(
        "regulations",
        about="which evidence of the report answers which item of regulations, standards and reporting guidelines",
        build=regulations,
        needs=(
            "cohorts", "controls_by_arm", "epsilon50", "flow", "left_out", "participants", "performance", "reliability",
            "runs", "selection", "subgroups", "success_by_arm", "success_by_epsilon", "threat_model", "training",
            "transfer_by_kind", "transfer_matrix", "transitions", "worst_case", "worst_case_by_attack",
        ),
        printed=(
            Printed(
                columns("document* item asks answer says where", asks="asks for", says="what these records hold",
                        where="in"),
                lambda findings: "What regulations, standards and reporting guidelines ask, in our words, and which "
                "tables (CSV) and files of the store answer: "
                f"{answers_told(findings.tables['regulations']['answer'])}. "
                "Only items whose text was at hand are named. This is no legal advice.",
                "regulation", 30, group="document",
                fold="Which evidence answers what regulations and guidelines ask",
            ),
        ),
    )
)  # fmt: skip
