"""What these numbers cannot show, said from what was done; and what a reader must know first."""

from __future__ import annotations

from collections.abc import Iterator

from advassay.report.findings import Findings
from advassay.report.uninformed import uninformed
from advassay.report.wording import count, listed
from advassay.specs import PhantomSource


def notices(findings: Findings) -> list[str]:
    """What comes before any number, because it can change one: made-up images, networks that know nothing, an
    unfinished study, weak evidence.
    """
    made = phantom_cohorts(findings)
    phantom = (
        [f"The images of {listed(made)} are phantoms made by the program: rates describe the method, not any patient."]
        if made
        else []
    )
    clean = [findings.of_main_arm(name) for name in ("transitions", "performance") if name in findings.tables]
    unknowing = uninformed(*clean) if len(clean) == 2 else []
    return phantom + unknowing + findings.missing + findings.warnings


def phantom_cohorts(findings: Findings) -> list[str]:
    """Attacked cohorts whose source makes its images."""
    if findings.study is None:
        return []
    specs = findings.study.cohorts
    sources = findings.study.sources
    return [
        name for name in findings.cohorts
        if name in specs and isinstance(sources.get(specs[name].source), PhantomSource)
    ]  # fmt: skip


def limits(findings: Findings) -> list[str]:
    """One sentence per limit."""
    return list(_limits(findings))


def training_chance(findings: Findings) -> str:
    """Whether the verdicts' intervals hold the chance of training, which only several networks of a cohort show."""
    networks: dict[str, set[str]] = {cohort: set() for cohort in findings.cohorts}
    for header in findings.runs:
        if header.full and header.arm == findings.main_arm and header.cohort in networks:
            networks[header.cohort].add(header.classifier)
    several = [f"{cohort} ({len(found)})" for cohort, found in networks.items() if len(found) > 1]
    single = [cohort for cohort, found in networks.items() if len(found) < 2]
    sampled = "images and patients" if findings.patients_known else "images"
    if not several:
        return (
            f"Each cohort has one trained network. The intervals of verdicts 1 to 4 hold the chance of {sampled}; how "
            "far another training would differ is not in them."
        )
    rest = f" {listed(single)} {'has' if len(single) == 1 else 'have'} one, where it is not." if single else ""
    return (
        f"Trained several times on the same images: {listed(several)}. There the intervals of verdicts 1 to 4 hold the "
        f"chance of training too.{rest}"
    )


def _limits(findings: Findings) -> Iterator[str]:
    yield (
        "A success rate of one attack is a lower bound: a stronger attack may fell more images. A low rate is "
        "evidence of "
        "robustness only as far as the controls below carry."
    )
    sizes = sorted({header.image_size_px for header in findings.runs})
    yield (
        f"Images are attacked at {listed([f'{size} × {size}' for size in sizes])} px, as the network takes "
        "them; an ε at this "
        "size is not the same disturbance at the detector's."
    )
    smallest = min(header.images for header in findings.headers())
    yield f"The smallest cohort has {smallest} attacked images; intervals say how much that allows."
    unknown = [
        name for name, p in findings.records.preparations.items() if not p.patients_known and name in findings.cohorts
    ]
    if unknown:
        yield f"Patients of {listed(unknown)} are not known: if some share a patient, intervals are too narrow."
    own = [
        f"{p.cohort} {count(p.without_patient)} of {count(p.candidates)}"
        for p in findings.records.preparations.values()
        if p.patients_known and p.without_patient and p.cohort in findings.cohorts
    ]
    if own:
        yield (
            f"Rows without a patient, each counted as its own: {listed(own)}. If some share one, intervals are too "
            "narrow."
        )
    by_image = [
        name for name, p in findings.records.preparations.items() if p.split == "image" and name in findings.cohorts
    ]
    if by_image:
        yield f"{listed(by_image)} are split by image: one patient may be on both sides, and scores may be too high."
    single = {(h.cohort, h.train_size) for h in findings.headers()}
    yield (
        f"Each of the {len(single)} main curves rests on one trained network: differences between cohorts hold the "
        "chance of training too."
    )
    if len(findings.cohorts) < 8:
        yield (
            f"{len(findings.cohorts)} cohorts stand for image types: a difference between types is one between "
            "these cohorts."
        )
