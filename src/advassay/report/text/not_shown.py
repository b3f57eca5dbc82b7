"""What a store's records cannot say, for the first screen: what was not tried, and what does not follow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from advassay.report.text.number_format import listed
from advassay.spec.attack_components import UPDATE_RULES

if TYPE_CHECKING:
    from advassay.report.data.findings import Findings


def not_shown(findings: Findings) -> Iterator[str]:
    """One sentence for each; what was tried in this store is not among them."""
    if not without_gradients(findings):
        if has_transfers(findings):
            yield "Attackers who use the network's answers alone: every attack here followed gradients of some network."
        else:
            yield (
                "Attackers who do not know the network: every attack here had the network and its weights. No attack "
                "used the network's answers alone, or another network."
            )
    yield ("That the rest of the images is safe: an attack that was not run may misclassify more. No bound was proved.")
    yield "Whether a person would notice the change: no reader was asked."
    sizes = sorted({header.image_size_px for header in findings.headers()})
    yield (
        f"Changes to the file of a scanner: images were changed as the network takes them, at "
        f"{listed([f'{size} × {size}' for size in sizes])} pixels."
    )
    if len({header.classifier for header in findings.runs if header.full}) <= len(findings.cohorts):
        networks = "the network" if len(findings.cohorts) == 1 else "a cohort's network"
        yield f"How far another training of {networks} would differ: each was trained once."


def has_transfers(findings: Findings) -> bool:
    """Whether images that were attacked on one network were scored by another."""
    return any(run.header.source_classifier != run.header.classifier for run in findings.records.transfers)


def without_gradients(findings: Findings) -> bool:
    """Whether an arm attacked without gradients; one of a rule that is not registered here is not counted."""
    rules = (UPDATE_RULES.find(header.attack.get("update")) for header in findings.runs)
    return any(rule is not None and not rule.needs_gradient for rule in rules)
