"""Who attacks in each arm, in the words of NIST AI 100-2: goal, capability, knowledge; and what risk these leave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import polars as pl

from advassay.records.run_header import RunHeader
from advassay.report.data.several_cohorts import half_text
from advassay.report.data.units import level_text, unit_text
from advassay.report.page_sections import PASSAGES, Passage
from advassay.report.text.not_shown import has_transfers
from advassay.report.text.number_format import listed, percent
from advassay.spec.attack_components import UPDATE_RULES, Knowledge

if TYPE_CHECKING:
    from advassay.report.data.findings import Findings

SCHEMA = dict.fromkeys(("arm", "goal", "capability", "knowledge", "query_access", "attack"), pl.String)
KNOWLEDGE: dict[Knowledge, str] = {
    "white box": "white-box: architecture, weights and gradients",
    "scores": "black-box, score-based: class scores of its queries",
    "decisions": "black-box, decision-based: decisions of its queries alone",
}
"""Of an update rule; the words of NIST AI 100-2 E2025, sections 2.1 and 2.2."""
WHO: dict[Knowledge, str] = {
    "white box": "an attacker who knows the network",
    "scores": "an attacker who sees the network’s scores",
    "decisions": "an attacker who sees the network’s decisions alone",
}
UNKNOWN = "not known: the update rule is not registered here"
SURROGATE = "black-box, transfer: a surrogate network that is trained on the same images or a part of them"


def threat_model(findings: Findings) -> pl.DataFrame:
    """Columns: arm, goal, capability, knowledge, query_access, attack; one row an arm with records, one of transfer."""
    arms = [(arm, findings.headers(arm)) for arm in findings.records.arms]
    rows = [_of_arm(arm, headers) for arm, headers in arms if headers]
    transferred = [run.header for run in findings.records.transfers]
    if has_transfers(findings):
        given = {"knowledge": SURROGATE, "query_access": "none to the attacked network"}
        rows.append(_of_arm(transferred[0].arm, transferred) | {"arm": f"{transferred[0].arm}, transfer"} | given)
    return pl.DataFrame(rows, schema=SCHEMA)


def _of_arm(arm: str, headers: list[RunHeader]) -> dict[str, str]:
    rules = headers[0].attack
    rule = UPDATE_RULES.find(rules.get("update"))
    grid = sorted({point.epsilon for header in headers for point in header.points if point.epsilon > 0})
    norm = {"linf": "each pixel", "l2": "the image, in L2 length,"}.get(str(rules.get("norm")), str(rules.get("norm")))
    bounded = rule is None or rule.bounds_the_image
    change = (
        f"changes {norm} by at most ε" if bounded else "changes the image; ε bounds the gradient, not the whole change"
    )
    aim = "targeted" if rules.get("targeted") else "untargeted"
    return {
        "arm": arm,
        "goal": f"integrity violation: evasion, {aim} misclassification of single images",
        "capability": f"{change}, ε from {grid[0]:g} to {grid[-1]:g} of the [0, 1] range; before the network, in the "
        "image as it takes it; no control of training data or model",
        "knowledge": UNKNOWN if rule is None else KNOWLEDGE[rule.knowledge],
        "query_access": "" if rule is None else _queries(rule.knowledge, rules.get("steps", headers[0].steps)),
        "attack": f"{rules.get('update')}, {rules.get('loss')} loss, {rules.get('steps', headers[0].steps)} iterations",
    }  # fmt: skip


def _queries(knowledge: Knowledge, steps: object) -> str:
    asked = {"scores": f"{steps} queries an image at most", "decisions": f"queries of {steps} steps"}
    return asked.get(knowledge, "not limited")


def residual_risk(findings: Findings) -> list[str]:
    """What a reader who has to judge a risk should take from the records, and what they leave open."""
    return list(_risks(findings))


def _risks(findings: Findings) -> Iterator[str]:
    found = findings.first_screen
    if found is not None:
        rules = [UPDATE_RULES.find(header.attack.get("update")) for header in findings.headers(findings.plan.arm)]
        knows = WHO[rules[0].knowledge] if rules and rules[0] is not None else "an attacker"
        at = level_text(findings, findings.epsilon)
        for line in found.headlines:
            if line.success.value is not None:
                inside = line.epsilon50["side"] == "inside"
                half = f", half of them at {half_text(findings, line)} {unit_text(findings)}" if inside else ""
                yield (
                    f"{line.cohort}: {knows} turns at least "
                    f"{percent(line.success.value, 0)} of the decisions that are right, with a change of at most "
                    f"{at}{half}."
                )
    yield (
        "Not estimated: how likely such an attacker is, what access a hospital’s systems would give, and what harm a "
        "wrong decision does. These belong to the risk analysis of the device (ISO 14971)."
    )
    yield (
        "Not evaluated: means of preventing or detecting an attack. No bound below which the networks are safe was "
        "proved."
    )
    kinds = sorted({kind for kind in findings.cohorts.values()})
    yield f"Not transferable without a test: other networks, other data than these of {listed(kinds)}, other sizes."


PASSAGES.register(Passage("residual-risk", "regulation", 20, residual_risk, heading="What risk remains"))
