"""From a mark of a figure to the images behind it: which filters of the table of images each mark stands for.

The images that are listed are those that the mark counts (its datum's `events`): misclassified ones in curves of
success, others as `LINKS` says. Marks that pool several amplitudes, or count no attacked images, lead nowhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from advassay.report.data.findings import Findings
from advassay.report.text.number_format import amplitude, grey_levels

Filters = dict[str, Any]


@dataclass(frozen=True)
class Links:
    """base: filters of every mark · fields: entry of a mark's datum → the filter that takes its value · labels: entry →
    its text → filters. A mark whose datum lacks an entry, or has another text, leads nowhere."""

    base: Filters
    fields: dict[str, str] = field(default_factory=dict)
    labels: dict[str, dict[str, Filters]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        return asdict(self)


def links_of(findings: Findings, key: str) -> Links | None:
    """The links of a figure; None where its marks lead nowhere."""
    return LINKS[key](findings) if key in LINKS else None


def _main(findings: Findings, **base: Any) -> Filters:
    """Misclassified by the main arm, success as the plan reads it."""
    return {"network": "main", "arm": findings.main_arm, "reading": findings.plan.success, "success": True} | base


def _cohorts(findings: Findings) -> dict[str, dict[str, Filters]]:
    sizes = findings.shown_step_sizes()
    return {"cohort": {cohort: {"cohort": cohort, "step_size": size} for cohort, size in sizes.items()}}


def _epsilons(findings: Findings) -> dict[str, Filters]:
    return {amplitude(e): {"epsilon": e} for e in findings.tables["success_by_iteration"]["epsilon"].unique().to_list()}


def _surface(findings: Findings) -> Links:
    frame = findings.tables["success_by_iteration"]
    runs = frame.select("cohort", "arm", "step_size").unique().iter_rows()
    panels = {f"{c} · arm {a}": {"cohort": c, "arm": a, "step_size": s} for c, a, s in runs}
    rows = {f"{e:g} ({grey_levels(e)})": {"epsilon": e} for e in frame["epsilon"].unique().to_list()}
    base = {"network": "main", "reading": findings.plan.success, "success": True}
    return Links(base, {"step": "step"}, {"panel": panels, "row": rows})


def _arms(findings: Findings) -> Links:
    pairs = findings.tables["success_by_arm"].select("arm", "step_size").unique().rows()
    both = {f"arm {arm}, step {size}": {"arm": arm, "step_size": size} for arm, size in pairs}
    alone = {f"arm {arm}": {"arm": arm, "step_size": size} for arm, size in pairs}
    base = {"network": "main", "reading": findings.plan.success, "success": True}
    return Links(base, {"cohort": "cohort", "epsilon": "epsilon"}, {"curve": both | alone})


def _survival(findings: Findings) -> Links:
    frame = findings.tables["iteration_survival"]
    told = frame.select("arm", "step_size", "epsilon").unique().iter_rows()
    panels = {f"Arm {a}, {amplitude(e)}": {"arm": a, "step_size": s, "epsilon": e} for a, s, e in told}
    base = {"network": "main", "reading": "any", "success": False, "attackable": True}
    return Links(base, {"cohort": "cohort", "step": "step"}, {"panel": panels})


def _accuracy(findings: Findings) -> Links:
    """The clean point stands at a place of its own on the axis, which is no amplitude: it leads nowhere."""
    shown = {repr(e): {"epsilon": e} for e in findings.tables["success_by_iteration"]["epsilon"].unique().to_list()}
    base = _main(findings, success=False, attackable=True, reading="last")
    return Links(base, {}, _cohorts(findings) | {"shown": shown})


def _transitions(findings: Findings) -> Links:
    base = {"network": "main", "arm": findings.main_arm, "epsilon": findings.epsilon}
    return Links(base, {"label": "label", "predicted": "predicted"}, _cohorts(findings) | {
        "state": {f"ε = {findings.epsilon}, predicted as": {}},
    })  # fmt: skip


def _flags(findings: Findings) -> Links:
    names = findings.tables["flags_by_epsilon"]["flag"].unique().to_list()
    flags = {name.replace("_", " "): {"flag": name} for name in names}
    return Links({"network": "main"}, {"arm": "arm", "epsilon": "epsilon"}, {"flag": flags})


LINKS: dict[str, Callable[[Findings], Links]] = {
    "fig-3a": lambda findings: Links(_main(findings), {"epsilon": "epsilon"}, _cohorts(findings)),
    "fig-3b": lambda findings: Links(_main(findings, epsilon=findings.epsilon), {"step": "step"}, _cohorts(findings)),
    "fig-3b-all": lambda findings: Links(
        _main(findings), {"step": "step"}, _cohorts(findings) | {"panel": _epsilons(findings)}
    ),
    "fig-3c": lambda findings: Links(
        _main(findings),
        {"epsilon": "epsilon", "step": "step", "bin_low": "confidence_from", "bin_high": "confidence_to"},
        _cohorts(findings),
    ),
    "fig-surface": _surface,
    "fig-arms": _arms,
    "fig-readings": lambda findings: Links(
        {name: value for name, value in _main(findings).items() if name != "reading"},
        {"epsilon": "epsilon", "curve": "reading"},
        _cohorts(findings),
    ),
    "fig-epsilon50": lambda _: Links(
        {"network": "main", "attackable": True, "sort": "smallest_epsilon"},
        {"cohort": "cohort", "arm": "arm", "step_size": "step_size"},
    ),
    "fig-survival": _survival,
    "fig-accuracy": _accuracy,
    "fig-transitions": _transitions,
    "fig-flags": _flags,
}
"""Figure → the links of its marks. In figure 6 the images listed are those that are still classified correctly, in the
survival curves those that no iterate so far has misclassified, in figure 7 all of the cell."""
