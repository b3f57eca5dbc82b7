"""Which rows of evidence answer what regulations, standards and reporting guidelines ask about adversarial inputs.

Only items whose text was at hand are named, in our words. Each answer says which tables of the report, or which files
of the store, hold the evidence; what the store does not hold is said to be not covered. Nothing here is legal advice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import polars as pl

from advassay.report.text.not_shown import has_transfers, without_gradients
from advassay.report.text.number_format import listed
from advassay.spec.attack_components import UPDATE_RULES

if TYPE_CHECKING:
    from advassay.report.data.findings import Findings

Answered = Literal["evidence", "partly", "not covered"]
ANSWERS: tuple[Answered, ...] = ("evidence", "partly", "not covered")


@dataclass(frozen=True)
class Answer:
    """Whether a store holds evidence, of what, and where: names of tables (CSV) and of files in the store."""

    answer: Answered
    says: str
    tables: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """What one item of a document asks, in our words, and how a store answers."""

    document: str
    item: str
    asks: str
    of: Callable[[Findings], Answer]


def regulations(findings: Findings) -> pl.DataFrame:
    """Columns: document, item, asks, answer (evidence | partly | not covered), says, where; one row an item."""
    rows = [_row(item, item.of(findings), findings) for item in ITEMS]
    return pl.DataFrame(rows, schema=dict.fromkeys(("document", "item", "asks", "answer", "says", "where"), pl.String))


def _row(item: Item, found: Answer, findings: Findings) -> dict[str, str]:
    csv = [f"{name}.csv" for name in found.tables if name in findings.tables]
    return {
        "document": item.document, "item": item.item, "asks": item.asks, "answer": found.answer, "says": found.says,
        "where": ", ".join([*csv, *found.files]),
    }  # fmt: skip


def _not_covered(says: str) -> Callable[[Findings], Answer]:
    return lambda findings: Answer("not covered", says)


def _evasion(findings: Findings) -> Answer:
    kinds = "attacks with and without gradients" if without_gradients(findings) else "attacks that know the network"
    return Answer(
        "evidence",
        f"How often {kinds} make the network err, by size of the change, with intervals, beside random noise of the "
        "same size. Prevention and detection are not evaluated.",
        ("success_by_epsilon", "epsilon50", "worst_case", "performance", "controls_by_arm"),
    )


def _declared_accuracy(findings: Findings) -> Answer:
    return Answer(
        "partly",
        "Accuracy, sensitivity, specificity and AUROC of each network on its scored images. Which level is "
        "appropriate, and the instructions for use, are the provider’s.",
        ("cohorts", "performance"),
    )


def _domain(findings: Findings) -> Answer:
    norms = listed(sorted({_norm(header.attack.get("norm")) for header in findings.runs}))
    grid = [point.epsilon for header in findings.runs for point in header.points if point.epsilon > 0]
    return Answer(
        "evidence",
        f"Around each attacked image: all images within ε in {norms}, ε from {min(grid):g} to {max(grid):g} of the "
        "[0, 1] range, pixel values kept in [0, 1].",
        ("runs",), ("records/*/header.json", "study.yaml"),
    )  # fmt: skip


def _stability(findings: Findings) -> Answer:
    return Answer(
        "partly",
        "Counterexamples: images whose decision does not stay the same within the domain, and an upper bound of the "
        "share for which it does. No formal method was used, so nothing is proved.",
        ("success_by_epsilon", "worst_case"),
    )


def _threat_model(findings: Findings) -> Answer:
    return Answer("evidence", "Goal, capability and knowledge of the attacker, by arm.", ("threat_model",))


def _white_box(findings: Findings) -> Answer:
    arms = [arm for arm in findings.records.arms if _knows_network(findings, arm)]
    told = (
        "All arms have the network and its weights."
        if len(arms) == len(findings.records.arms)
        else f"Arm {listed(arms)}: the network and its weights."
    )
    if not arms:
        return Answer("not covered", "No arm used the network’s weights.")
    return Answer("evidence", told, ("runs", "success_by_arm"))


def _knows_network(findings: Findings, arm: str) -> bool:
    """Whether an arm's rule is of white-box attacks; one that is not registered here counts as such."""
    rules = (UPDATE_RULES.find(header.attack.get("update")) for header in findings.headers(arm))
    return any(rule is None or rule.knowledge == "white box" for rule in rules)


def _transferred(findings: Findings) -> Answer:
    if not has_transfers(findings):
        return Answer("not covered", "No other network was attacked in its place.")
    return Answer(
        "partly",
        "Images attacked on other networks of the cohort, which share training images with it, were scored.",
        ("transfer_matrix", "transfer_by_kind"),
    )


def _black_box(findings: Findings) -> Answer:
    if without_gradients(findings):
        return Answer(
            "partly",
            "Arms without gradients use the network’s logits or decisions alone. They were not limited as a remote "
            "attacker would be.",
            ("worst_case_by_attack", "success_by_arm"),
        )
    if has_transfers(findings):
        return Answer(
            "partly",
            "Images attacked on another network of the cohort were scored. No attack worked from the network’s answers "
            "alone.",
            ("transfer_matrix", "transfer_by_kind"),
        )
    return Answer("not covered", "No attack worked from the network’s answers alone.")


def _flow(findings: Findings) -> Answer:
    if "flow" not in findings.tables:
        return Answer("not covered", "The store does not hold how its images were selected.")
    return Answer(
        "evidence", "Images entering, left out (why) and kept at each stage, by class.", ("flow", "left_out", "cohorts")
    )


def _who(findings: Findings) -> Answer:
    if "participants" not in findings.tables:
        return Answer("not covered", "The images’ source has no age, sex or view.", ("cohorts",))
    without = [name for name in findings.cohorts if name not in set(findings.tables["participants"]["cohort"])]
    rest = f" Not of {listed(without)}, whose source has none." if without else ""
    return Answer(
        "partly",
        f"Age, sex and view by split, with what is missing.{rest} Dates, treatments and follow-up are not recorded.",
        ("participants",),
    )


def _compared(findings: Findings) -> Answer:
    if "participants" not in findings.tables:
        return _who(findings)
    return Answer(
        "partly", "The splits side by side, all of one source: no data of another place.", ("participants", "cohorts")
    )


def _in_each_analysis(findings: Findings) -> Answer:
    counted = "Images, and patients where they are known," if findings.patients_known else "Images"
    return Answer(
        "evidence", f"{counted} behind each number.",
        ("cohorts", "success_by_epsilon", "performance"),
    )  # fmt: skip


def _with_intervals(findings: Findings) -> Answer:
    named = ("cohorts", "performance", "epsilon50", "subgroups")
    clustered = ", clustered by patient where patients are known" if findings.patients_known else ""
    groups = " By subgroup where the study asks for it." if "subgroups" in findings.tables else ""
    return Answer(
        "partly",
        f"Accuracy, AUROC and every attack success rate with confidence intervals{clustered}.{groups} "
        "Sensitivity and specificity have theirs on the first screen.",
        named,
    )


def _limits(findings: Findings) -> Answer:
    return Answer("evidence", "Sections Limits and Not shown of this page.")


def _perturbed(findings: Findings) -> Answer:
    return Answer(
        "evidence", "Stability against changes chosen to make the network err; random changes as a control.",
        ("success_by_epsilon", "controls_by_arm"),
    )  # fmt: skip


def _partitioning(findings: Findings) -> Answer:
    kinds = {p.split for name, p in findings.records.preparations.items() if name in findings.cohorts}
    known = all(p.patients_known for name, p in findings.records.preparations.items() if name in findings.cohorts)
    if not kinds:
        return Answer("not covered", "The network was trained elsewhere: how its images were divided is not recorded.")
    if kinds == {"patient"} and known:
        return Answer(
            "evidence", "Each patient is on one side of the split; no change of pixels is fitted to the images.",
            ("selection",), ("cohorts/*/preparation.json",),
        )  # fmt: skip
    return Answer(
        "partly", "How each cohort was divided; not of all is it known that a person is on one side alone.",
        ("selection",), ("cohorts/*/preparation.json",),
    )  # fmt: skip


def _scores_and_loss(findings: Findings) -> Answer:
    curves = " Loss curves of the training." if "training" in findings.tables else ""
    return Answer(
        "evidence", f"AUROC, sensitivity, specificity and confusion matrices, clean and attacked.{curves}",
        ("cohorts", "performance", "transitions", "training"),
    )  # fmt: skip


def _uncertainty(findings: Findings) -> Answer:
    return Answer("evidence", "Intervals with their method and level beside each rate.", ("success_by_epsilon",))


def _calibration(findings: Findings) -> Answer:
    return Answer("evidence", "Reliability and calibration error, clean and attacked.", ("reliability",))


def _norm(name: object) -> str:
    return {"linf": "L∞", "l2": "L2"}.get(str(name), str(name))


AI_ACT = "Regulation (EU) 2024/1689 (AI Act)"
FDA = "FDA draft guidance on AI-enabled device software functions, 7 January 2025"
ISO = "ISO/IEC 24029-2:2023 (scope and contents alone were at hand)"
NIST = "NIST AI 100-2e2023"
TRIPOD = "TRIPOD+AI (BMJ 2024;385:e078378)"
CLAIM = "CLAIM (Radiol. Artif. Intell. 2020;2:e200029)"
CLAIM_2024 = "CLAIM 2024 update (Radiol. Artif. Intell. 2024;6:e240300)"
METRICS = "METRICS (Insights Imaging 2024;15:8)"
POISONING = "Nothing was done to training data or to pre-trained parts."
PRIVACY = "Nothing was inferred about training data or the network."

ITEMS: tuple[Item, ...] = (
    Item(AI_ACT, "Art. 15(5): adversarial examples or model evasion",
         "measures against inputs designed to make the model err", _evasion),
    Item(AI_ACT, "Art. 15(5): data and model poisoning", "measures against manipulated training data or pre-trained "
         "components", _not_covered(POISONING)),
    Item(AI_ACT, "Art. 15(5): confidentiality attacks", "measures against them", _not_covered(PRIVACY)),
    Item(AI_ACT, "Art. 15(3): accuracy in the instructions for use", "levels of accuracy and the metrics for it",
         _declared_accuracy),
    Item(FDA, "Cybersecurity: model evasion", "input samples crafted to deceive the model, as a threat", _evasion),
    Item(FDA, "Cybersecurity: data poisoning", "malicious training data, as a threat", _not_covered(POISONING)),
    Item(FDA, "Cybersecurity: model inversion and theft, data leakage", "as threats", _not_covered(PRIVACY)),
    Item(FDA, "Cybersecurity: performance drift", "as a threat", _not_covered("One time and one source alone.")),
    Item(ISO, "5.2 Notion of domain", "the inputs about which a statement is made", _domain),
    Item(ISO, "5.3 Stability", "that the decision stays the same over the domain", _stability),
    Item(ISO, "5.4 to 5.6 Sensitivity, relevance, reachability", "further properties of the network",
         _not_covered("These properties were not tested.")),
    Item(NIST, "2.1.2 to 2.1.4", "goals, capabilities and knowledge of the attacker", _threat_model),
    Item(NIST, "2.2.1 White-box evasion", "attacks that know the network", _white_box),
    Item(NIST, "2.2.2 Black-box evasion", "attacks that see its answers alone", _black_box),
    Item(NIST, "2.2.3 Transferability", "attacks made on another network", _transferred),
    Item(NIST, "2.3 Poisoning, 2.4 Privacy", "further kinds of attack", _not_covered(f"{POISONING} {PRIVACY}")),
    Item(TRIPOD, "20a", "flow of participants", _flow),
    Item(TRIPOD, "20b", "characteristics of each data source, with missing data", _who),
    Item(TRIPOD, "20c", "evaluation data beside development data", _compared),
    Item(TRIPOD, "21", "participants and outcome events in each analysis", _in_each_analysis),
    Item(TRIPOD, "23a", "performance with confidence intervals, also of key subgroups", _with_intervals),
    Item(TRIPOD, "26", "limitations", _limits),
    Item(CLAIM, "29", "statistical significance and uncertainty", _uncertainty),
    Item(CLAIM, "30", "robustness or sensitivity analysis", _perturbed),
    Item(CLAIM, "32", "validation or testing on external data", _not_covered("No data of another place were asked.")),
    Item(CLAIM, "33", "flow of participants or cases", _flow),
    Item(CLAIM, "34", "demographic and clinical characteristics in each partition", _who),
    Item(CLAIM, "36", "estimates of diagnostic accuracy and their precision", _with_intervals),
    Item(CLAIM_2024, "all", "the items of 2020, revised and numbered anew",
         _not_covered("Its text was not at hand, so its items are not named; those of 2020 stand above.")),
    Item(METRICS, "17", "stability of an end-to-end network against changed images", _perturbed),
    Item(METRICS, "18", "a split made before all processing, of persons and not of scans", _partitioning),
    Item(METRICS, "20", "suitable metrics, a confusion matrix, loss curves", _scores_and_loss),
    Item(METRICS, "21", "uncertainty", _uncertainty),
    Item(METRICS, "22", "calibration", _calibration),
    Item(METRICS, "27", "external testing", _not_covered("No data of another place were asked.")),
)  # fmt: skip


def answers_told(answers: Iterable[str]) -> str:
    """How often each answer was given, e.g. "12 evidence, 3 not covered"."""
    given = list(answers)
    return ", ".join(f"{given.count(kind)} {kind}" for kind in ANSWERS if kind in given)
