"""Which amplitudes are compared: those that cohorts share, and those that are one trajectory and count as one."""

from __future__ import annotations

from collections.abc import Sequence

from advassay.report.findings import Findings
from advassay.report.wording import listed


def shared(findings: Findings) -> list[str]:
    """A sentence where cohorts of the main arm were attacked at different ε; none where all have the same."""
    size = findings.step_size(findings.main_arm)
    grids = {
        h.cohort: tuple(p.epsilon for p in h.points if p.epsilon > 0 and p.step_size == size)
        for h in findings.headers()
    }
    if len({frozenset(grid) for grid in grids.values()}) < 2:
        return []
    common = sorted(set.intersection(*map(set, grids.values())))
    own = [f"{cohort} {min(grid):g} to {max(grid):g}" for cohort, grid in grids.items() if grid]
    at = listed([f"{epsilon:g}" for epsilon in common]) if common else "none"
    return [
        f"The cohorts were attacked at different amplitudes ({'; '.join(own)}). Questions 1 and 3 compare them at the "
        f"amplitudes that all share: ε = {at}. ε50 rests on each cohort's own."
    ]


def unreachable(findings: Findings, arms: Sequence[str] | None = None) -> list[str]:
    """One sentence per arm and step size with amplitudes that the attack could not use: they are one trajectory.

    `arms`: None = all of the store.
    """
    from advassay.analysis.dose_response.thresholds import reachable
    from advassay.analysis.packed import packed, step_sizes
    from advassay.analysis.selection import runs_of

    beyond: dict[tuple[str, str], dict[float, float]] = {}
    for arm in arms or findings.records.arms:
        for run in runs_of(findings.records, arm):
            for step_size in step_sizes(run):
                pack = packed(run, step_size)
                grid = zip(pack.epsilons.tolist(), reachable(pack).tolist(), strict=True)
                out = {epsilon: used for epsilon, used in grid if used < epsilon * (1 - 1e-9)}
                beyond.setdefault((arm, step_size), {}).update(out)
    return [_unreachable(arm, step_size, out) for (arm, step_size), out in beyond.items() if out]


def _unreachable(arm: str, step_size: str, out: dict[float, float]) -> str:
    limit = f"{max(out.values()):g}"
    return (
        f"Arm {arm}, step {step_size}: all iterations together move no pixel farther than {limit}. The larger "
        f"amplitudes (ε = {listed([f'{epsilon:g}' for epsilon in sorted(out)])}) are therefore one and the same "
        f"attack; ε50 and the verdicts count them once, at {limit}."
    )
