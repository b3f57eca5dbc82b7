"""What these numbers cannot show, said from what was done; and what a reader must know first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.analysis.classifier_performance import chance_reach
from advassay.report.text.number_format import count, listed
from advassay.spec.source_spec import PhantomSource

if TYPE_CHECKING:
    from advassay.report.data.findings import Findings

ONE_CLASS = (
    "The network gives one class to every clean image: {}. Its answer does not depend on the image, so a low success "
    "rate there does not show robustness, not even 0 %."
)
CHANCE = (
    "The network is not shown to do better than chance (AUROC 0.5) on the clean images: {}. Where "
    "a network knows little, an attack has little to overturn. Neither a low nor a high success rate there says how "
    "robust the image type is."
)


def degenerate_classifiers(transitions: pl.DataFrame, performance: pl.DataFrame) -> list[str]:
    """One sentence for each way in which networks know nothing, naming the cohorts and what was seen.

    Frames of findings, one arm: `transitions` (cohort, epsilon, label, predicted, n), `performance` (cohort, epsilon,
    n, patients (null where none is known: each image counts as its own), auroc). A cohort that answers one class is not
    named again for its AUROC.
    """
    clean = transitions.filter(pl.col("epsilon") == 0)
    constant = dict(_constant(clean))
    rows = performance.filter(pl.col("epsilon") == 0).iter_rows(named=True)
    chance = [told for row in rows if row["cohort"] not in constant and (told := _by_chance(row, clean))]
    found = ((ONE_CLASS, list(constant.values())), (CHANCE, chance))
    return [sentence.format(listed(cohorts)) for sentence, cohorts in found if cohorts]


def _constant(clean: pl.DataFrame) -> Iterator[tuple[str, str]]:
    """Cohorts of at least two classes whose clean images are all predicted as one of them."""
    for (cohort,), part in clean.filter(pl.col("n") > 0).group_by("cohort", maintain_order=True):
        if part["predicted"].n_unique() == 1 and part["label"].n_unique() > 1:
            yield str(cohort), f"{cohort} (all {count(int(part['n'].sum()))} predicted as {part['predicted'][0]})"


def _by_chance(row: dict[str, Any], clean: pl.DataFrame) -> str:
    """What is said of a cohort whose AUROC is within the reach of chance, or below it; empty where it is above."""
    area, clusters = row["auroc"], row["n"] if row["patients"] is None else row["patients"]
    labels = clean.filter(cohort=row["cohort"]).group_by("label").agg(pl.col("n").sum())["n"].to_list()
    reach = chance_reach([n * clusters / sum(labels) for n in labels]) if sum(labels) else math.nan
    if area is None or not area - reach <= 0.5:
        return ""
    patients = "" if clusters == row["n"] else f" of {count(clusters)} patients"
    return (
        f"{row['cohort']} (AUROC {area:.2f} over {count(row['n'])} images{patients}, chance "
        f"reaches {min(0.5 + reach, 1.0):.2f})"
    )


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
    unknowing = []
    if "transitions" in findings.tables and "performance" in findings.tables:
        unknowing = degenerate_classifiers(findings.of_main_arm("transitions"), _on_whole_split(findings))
    return phantom + unknowing + findings.missing + findings.warnings


def _on_whole_split(findings: Findings) -> pl.DataFrame:
    """`performance` of the main arm with the clean AUROC of Table 1, that of the whole validation split, where there is
    one: the page gives one AUROC for one network.
    """
    frame = findings.of_main_arm("performance")
    rows = []
    for row in frame.filter(epsilon=0.0).iter_rows(named=True):
        header = next(h for h in findings.headers() if h.cohort == row["cohort"])
        training, prepared = (
            findings.records.training(header.classifier),
            findings.records.preparations.get(header.cohort),
        )
        if training is not None and prepared is not None and training.validation.auroc is not None:
            patients = prepared.patients.get("validation") if prepared.patients_known else None
            row |= {"auroc": training.validation.auroc, "n": training.validation.images, "patients": patients}
        rows.append(row)
    return pl.DataFrame(rows, schema=frame.schema)


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
    """Whether the verdicts' intervals include how trainings vary, which only several networks of a cohort show."""
    networks: dict[str, set[str]] = {cohort: set() for cohort in findings.cohorts}
    for header in findings.runs:
        if header.full and header.arm == findings.main_arm and header.cohort in networks:
            networks[header.cohort].add(header.classifier)
    several = [f"{cohort} ({len(found)})" for cohort, found in networks.items() if len(found) > 1]
    single = [cohort for cohort, found in networks.items() if len(found) < 2]
    sampled = "images and patients" if findings.patients_known else "images"
    if not several:
        return (
            f"Each cohort has one trained network. The intervals of verdicts 1 to 4 include the sampling of {sampled}. "
            "They do not include how far another training would differ."
        )
    has = "has" if len(single) == 1 else "have"
    rest = f" {listed(single)} {has} one network, so that it is not included there." if single else ""
    return (
        f"Trained several times on the same images: {listed(several)}. There the intervals of verdicts 1 to 4 also "
        f"include the variation between trainings.{rest}"
    )


def _limits(findings: Findings) -> Iterator[str]:
    yield (
        "The success rate of one attack is a lower bound: a stronger attack may misclassify more images. A low rate is "
        "evidence of robustness only as far as the controls support it."
    )
    if any(run.header.source_classifier != run.header.classifier for run in findings.records.transfers):
        yield (
            "Transfer is between networks of this study, which share training images and the procedure of training; "
            "those of one architecture and seed also share the weights that they begin with. To a network that "
            "somebody else trained on other data less may transfer; an attack made to transfer would do so more."
        )
    sizes = sorted({header.image_size_px for header in findings.runs})
    yield (
        f"Images are attacked at {listed([f'{size} × {size}' for size in sizes])} px, the size that the "
        "network takes. The same ε is another disturbance at the size of the detector."
    )
    smallest = min(header.images for header in findings.headers())
    yield f"The smallest cohort has {smallest} attacked images; the width of the intervals shows what that allows."
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
        yield (
            f"{listed(by_image)} are split by image: a patient may have images in training and in validation, so that "
            "scores may be too high."
        )
    single = {(h.cohort, h.train_size) for h in findings.headers()}
    yield (
        f"Each of the {len(single)} main curves rests on one trained network: differences between cohorts include "
        "the variation between trainings."
    )
    if len(findings.cohorts) < 8:
        yield (
            f"{len(findings.cohorts)} cohorts stand for their image types: a difference between types is a "
            "difference between these cohorts."
        )
