"""What a model must reach, and whether it is shown to: for pipelines, with SARIF and JUnit.

A requirement is compared with the end of the interval that speaks against it: a model passes where the data show that
it does, and not where they merely allow it.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree as xml

from advassay.errors import SpecError
from advassay.spec.attack_spec import parse_amplitude
from advassay.store_layout import writing

if TYPE_CHECKING:
    from advassay.workflows.evaluation_result import Estimate, EvaluationResult, Quantity

UNMET = 8
"""Exit code of `advassay evaluate` where a requirement is not shown to hold."""
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
QUANTITIES: Mapping[str, bool] = {
    "robust_accuracy": True, "attack_success_rate": True, "accuracy": False, "epsilon50": False,
}  # fmt: skip
"""Quantity → whether it is stated at an amplitude."""
_FORM = re.compile(
    r"\s*(?P<quantity>[A-Za-z_0-9]+)\s*(?:@\s*(?P<epsilon>[^<>=]+?))?\s*(?P<sign>>=|<=|>|<)\s*(?P<bound>.+?)\s*$"
)
_EXAMPLE = "Write for example 'robust_accuracy@2/255 >= 0.5' or 'epsilon50 >= 1/255'."


@dataclass(frozen=True)
class Requirement:
    """One comparison of a quantity with a number."""

    text: str
    quantity: Quantity
    epsilon: float | None
    sign: Literal[">=", "<=", ">", "<"]
    bound: float

    def check(self, result: EvaluationResult) -> Outcome:
        """Whether the result shows it: by the lower end of the interval for >= and >, by the upper one for <= and <."""
        found = result.quantity(self.quantity, self.epsilon)
        end = found.low if self.sign in (">=", ">") else found.high
        met = end is not None and COMPARISONS[self.sign](end, self.bound)
        weak = result.answer.weak and self.claims_robustness
        return Outcome(self, found, met=met and not weak, compared=end, weak=weak)

    @property
    def claims_robustness(self) -> bool:
        """Whether it asks that the attack fails: a weak attack cannot show that."""
        rises = self.sign in (">=", ">")
        if self.quantity == "attack_success_rate":
            return not rises
        return rises and self.quantity != "accuracy"


@dataclass(frozen=True)
class Outcome:
    """A requirement, what was found, and whether it is shown to hold."""

    requirement: Requirement
    found: Estimate
    met: bool
    compared: float | None
    """The end of the interval that was compared; null where the data do not determine it."""
    weak: bool = False
    """Whether it asks for robustness and the attack missed planted adversarials, so that nothing is shown."""

    @property
    def sentence(self) -> str:
        """In words."""
        side = "lower" if self.requirement.sign in (">=", ">") else "upper"
        verdict = "met" if self.met else "NOT met"
        if self.weak:
            return (
                f"{self.requirement.text}: NOT met; the attack missed planted adversarials, so robustness is not shown."
            )
        if self.compared is None:
            return f"{self.requirement.text}: {verdict}; {self.found.text}, and the {side} end is not determined."
        return (
            f"{self.requirement.text}: {verdict}; {self.found.text} (n = {self.found.n}), the {side} end of the "
            f"{100 * self.found.level:g} % interval is compared."
        )


def parse_requirement(text: str) -> Requirement:
    """A requirement from its text. Raises SpecError, saying which part is wrong.

    >>> parse_requirement("robust_accuracy@2/255 >= 0.5").epsilon == 2 / 255
    True
    >>> parse_requirement("auroc >= 0.9")
    Traceback (most recent call last):
    advassay.errors.SpecError: require: one of robust_accuracy, attack_success_rate, accuracy, epsilon50, which have \
intervals, got 'auroc' in 'auroc >= 0.9'. Write for example 'robust_accuracy@2/255 >= 0.5' or 'epsilon50 >= 1/255'.
    """
    match = _FORM.match(text)
    if match is None:
        raise SpecError(f"require: expected QUANTITY[@AMPLITUDE] >= NUMBER (or <=, >, <), got {text!r}.", _EXAMPLE)
    quantity, written = match["quantity"], match["epsilon"]
    if quantity not in QUANTITIES:
        raise SpecError(
            f"require: one of {', '.join(QUANTITIES)}, which have intervals, got {quantity!r} in {text!r}.", _EXAMPLE
        )
    if QUANTITIES[quantity] != (written is not None):
        need = "needs an amplitude, as in @2/255" if QUANTITIES[quantity] else "has no amplitude"
        raise SpecError(f"require: {quantity} {need}, got {text!r}.", _EXAMPLE)
    epsilon = None if written is None else _number(written, text, "an amplitude such as 2/255 or 0.01")
    bound = _number(match["bound"], text, "a number such as 0.5 or 1/255")
    if bound > 1:
        raise SpecError(
            f"require: a share or an amplitude is at most 1, got {match['bound']} in {text!r}.",
            "Write 50 % as 0.5, and 2 grey levels as 2/255.",
        )
    return Requirement(text.strip(), quantity, epsilon, match["sign"], bound)  # type: ignore[arg-type]


def _number(written: str, text: str, needed: str) -> float:
    try:
        return parse_amplitude(written)
    except ValueError:
        raise SpecError(f"require: expected {needed}, got {written!r} in {text!r}.", _EXAMPLE) from None


def write_sarif(path: Path, outcomes: Sequence[Outcome], model: str, version: str) -> Path:
    """A SARIF 2.1.0 log: one result for each requirement, kind "pass" or "fail".

    OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0, sections 3.27.9 (kind) and 3.27.10 (level).
    """
    rules = [
        {
            "id": outcome.requirement.text,
            "shortDescription": {"text": f"Requirement {outcome.requirement.text}"},
            "helpUri": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html",
        }
        for outcome in outcomes
    ]
    results = [
        {
            "ruleId": outcome.requirement.text,
            "ruleIndex": number,
            "kind": "pass" if outcome.met else "fail",
            "level": "none" if outcome.met else "error",
            "message": {"text": outcome.sentence},
            "locations": [{"logicalLocations": [{"name": model, "kind": "resource"}]}],
        }
        for number, outcome in enumerate(outcomes)
    ]
    driver = {"name": "advassay", "version": version, "rules": rules}
    log = {
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return _write(path, json.dumps(log, indent=2, ensure_ascii=False) + "\n")


def write_junit(path: Path, outcomes: Sequence[Outcome], model: str) -> Path:
    """A JUnit XML file: one test case for each requirement."""
    failed = sum(not outcome.met for outcome in outcomes)
    counts = {"tests": str(len(outcomes)), "failures": str(failed), "errors": "0", "skipped": "0"}
    root = xml.Element("testsuites", counts)
    suite = xml.SubElement(root, "testsuite", {"name": f"advassay evaluate {model}", **counts})
    for outcome in outcomes:
        case = xml.SubElement(
            suite, "testcase", {"classname": f"advassay.{model}", "name": outcome.requirement.text, "time": "0"}
        )
        if not outcome.met:
            failure = xml.SubElement(case, "failure", {"type": "requirement", "message": outcome.sentence})
            failure.text = outcome.sentence
        else:
            xml.SubElement(case, "system-out").text = outcome.sentence
    xml.indent(root)
    return _write(path, xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n")


def _write(path: Path, text: str) -> Path:
    with writing(path) as beside:
        beside.write_text(text, encoding="utf-8")
    return path
