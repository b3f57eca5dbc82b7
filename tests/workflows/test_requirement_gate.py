"""--require: the interval's end that speaks against the model decides, and files say what was found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from advassay.errors import SpecError
from advassay.workflows import EvaluationResult, parse_requirement
from advassay.workflows.requirement_gate import Outcome, write_junit, write_sarif


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("robust_accuracy@2/255", "QUANTITY.* >= NUMBER"),
        ("robust_accuracy >= 0.5", "robust_accuracy needs an amplitude, as in @2/255"),
        ("accuracy@2/255 >= 0.5", "accuracy has no amplitude"),
        ("robust_accuracy@two >= 0.5", "an amplitude such as 2/255 or 0.01, got 'two'"),
        ("robust_accuracy@2/255 >= half", "a number such as 0.5 or 1/255, got 'half'"),
        ("robust_accuracy@2/255 >= 50", "a share or an amplitude is at most 1, got 50"),
        ("auroc >= 0.9", "one of robust_accuracy, .*, which have intervals, got 'auroc'"),
        ("robust_accuracy@2/255 == 0.5", "QUANTITY.* >= NUMBER"),
    ],
)
def test_a_requirement_that_cannot_be_read_says_which_part(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_requirement(text)


def test_spaces_and_both_ways_to_write_an_amplitude_are_read() -> None:
    assert parse_requirement("robust_accuracy @ 2/255>=0.5").epsilon == 2 / 255
    assert parse_requirement(" epsilon50 > 1/255 ").bound == 1 / 255
    assert parse_requirement("attack_success_rate@0.01<=0.2").sign == "<="


def test_the_lower_end_decides_what_must_be_at_least_and_the_upper_end_what_must_be_at_most(
    quick: EvaluationResult,
) -> None:
    found = quick.robust_accuracy("1/255")
    assert found.low is not None
    assert found.high is not None
    assert found.value is not None
    assert found.low < found.value < found.high
    for text, met in (
        (f"robust_accuracy@1/255 >= {found.low - 0.001}", True),
        (f"robust_accuracy@1/255 >= {found.value}", False),
        (f"robust_accuracy@1/255 <= {found.high + 0.001}", True),
        (f"robust_accuracy@1/255 <= {found.value}", False),
    ):
        assert parse_requirement(text).check(quick).met is met, text


def test_an_end_that_is_not_determined_meets_nothing(quick: EvaluationResult) -> None:
    assert parse_requirement("epsilon50 >= 0").check(quick).met is (quick.epsilon50.low is not None)
    assert not parse_requirement("epsilon50 >= 1").check(quick).met


def test_a_weak_attack_meets_no_claim_of_robustness_and_every_claim_of_success(
    quick: EvaluationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    weak = replace(quick.answer, weak=True)
    monkeypatch.setitem(vars(quick), "answer", weak)
    robust = parse_requirement("robust_accuracy@1/255 >= 0").check(quick)
    assert (robust.met, robust.weak) == (False, True)
    assert "robustness is not shown" in robust.sentence
    assert not parse_requirement("attack_success_rate@1/255 <= 1").check(quick).met
    assert parse_requirement("attack_success_rate@1/255 >= 0").check(quick).met
    assert parse_requirement("accuracy >= 0").check(quick).met


def test_robust_accuracy_is_that_under_the_worst_of_all_attacks(quick: EvaluationResult) -> None:
    found = parse_requirement("robust_accuracy@1/255 >= 0").check(quick).found
    assert found.value == quick.worst_case("1/255").value


def test_accuracy_of_images_without_labels_is_refused(quick: EvaluationResult, monkeypatch: pytest.MonkeyPatch) -> None:
    assert quick.answer.evaluation is not None
    without = replace(quick.answer, evaluation=quick.answer.evaluation.model_copy(update={"labels": "model"}))
    monkeypatch.setitem(vars(quick), "answer", without)
    with pytest.raises(SpecError, match="accuracy: expected images with labels"):
        parse_requirement("accuracy >= 0.5").check(quick)


@pytest.fixture
def outcomes(quick: EvaluationResult) -> list[Outcome]:
    texts = ("robust_accuracy@16/255 >= 0.9", "accuracy >= 0.1")
    return [parse_requirement(text).check(quick) for text in texts]


def test_sarif_has_what_its_schema_requires(outcomes: list[Outcome], tmp_path: Path) -> None:
    log = json.loads(write_sarif(tmp_path / "a.sarif", outcomes, "TinyCnn", "0.1.0").read_text())
    assert (log["version"], log["$schema"].endswith("sarif-schema-2.1.0.json")) == ("2.1.0", True)
    (run,) = log["runs"]
    driver, results = run["tool"]["driver"], run["results"]
    assert driver["name"] == "advassay"
    assert [(r["kind"], r["level"]) for r in results] == [("fail", "error"), ("pass", "none")]
    for result in results:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        (location,) = result["locations"]
        assert set(location) == {"logicalLocations"}
    allowed = {"ruleId", "ruleIndex", "kind", "level", "message", "locations"}
    assert all(set(result) <= allowed for result in results)


def test_junit_counts_its_cases(outcomes: list[Outcome], tmp_path: Path) -> None:
    root = ElementTree.parse(write_junit(tmp_path / "a.xml", outcomes, "TinyCnn")).getroot()
    assert root.tag == "testsuites"
    (suite,) = root
    cases = suite.findall("testcase")
    assert suite.get("tests") == str(len(cases)) == "2"
    assert suite.get("failures") == str(len(suite.findall("testcase/failure"))) == "1"
    assert all(case.get("name") and case.get("classname") for case in cases)
    assert "NOT met" in (cases[0].find("failure").text or "")  # type: ignore[union-attr]
