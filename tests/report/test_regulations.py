"""What answers regulations and guidelines: each answer points to what the store holds, and gaps are said."""

from __future__ import annotations

import pytest
from written_report import Report

from advassay.report import gather
from advassay.report.data.findings import Findings
from advassay.report.tables.table import TABLES
from advassay.report.text.regulations import ANSWERS, ITEMS, answers_told


@pytest.fixture(scope="module")
def findings(report: Report) -> Findings:
    return gather(report.store)


def test_every_answer_points_to_tables_of_the_report(findings: Findings) -> None:
    for item in ITEMS:
        found = item.of(findings)
        assert found.answer in ANSWERS
        assert found.says.endswith("."), item
        assert set(found.tables) <= set(TABLES), item
        if found.answer != "not covered":
            assert found.files or set(found.tables) & set(findings.tables) or "Limits" in found.says, item


def test_each_item_is_named_once() -> None:
    assert len({(item.document, item.item) for item in ITEMS}) == len(ITEMS)


def test_tables_are_made_before_they_are_pointed_to() -> None:
    named = {name for item in TABLES.get("regulations").needs for name in (item,)}
    assert {"success_by_epsilon", "threat_model", "participants"} <= named
    assert named <= set(TABLES)


def test_what_was_not_tried_is_not_covered(findings: Findings) -> None:
    frame = findings.tables["regulations"]
    gaps = frame.filter(answer="not covered")
    assert any("poisoning" in item for item in gaps["item"])
    assert "2.2.2 Black-box evasion" in gaps["item"].to_list()  # the arms of this store follow gradients
    assert gaps["where"].to_list() == [""] * len(gaps) or set(gaps["where"]) <= {"", "cohorts.csv"}
    told = answers_told(frame["answer"])
    assert sum(int(part.split()[0]) for part in told.split(", ")) == len(frame)


def test_each_arm_has_goal_capability_and_knowledge(findings: Findings) -> None:
    frame = findings.tables["threat_model"]
    assert frame["arm"].to_list() == list(findings.records.arms)
    assert set(frame["knowledge"]) == {"white-box: architecture, weights and gradients"}
    assert all("at most ε" in text for text in frame["capability"])


def test_the_page_says_which_risk_remains(report: Report) -> None:
    assert "What risk remains" in report.html
    assert "(ISO 14971)" in report.html
