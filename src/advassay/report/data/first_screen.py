"""The answer of a store, in the first sentences of its page.

Of one cohort it is told in sentences; of several in one line each (`headlines.py`), with what they have in common said
before. Every number is one of the report's tables, or a function of analysis that they are made with; what the data do
not carry is not said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from advassay.checked_files import read_model
from advassay.report.data.headlines import Headline, Share, headlines
from advassay.report.data.several_cohorts import several_cohorts
from advassay.report.data.units import images_of, level_text, scale, unit_text
from advassay.report.text.not_shown import not_shown
from advassay.store_documents import Evaluation, PlantedTest
from advassay.store_layout import Store

if TYPE_CHECKING:
    from advassay.report.data.findings import Findings

HEALED = "`advassay evaluate` with the same MODEL, IMAGES and --store writes it anew."
FEW_FOUND = 0.75
"""Share of the planted adversarials below which an attack is called weak. PGD finds more on networks of known strength
(docs/explanation/evaluate.md), where the gradient is masked hardly any."""
MANY_BY_ONE_STEP = 0.5
"""Share of the planted adversarials that one step finds above which the test tells little."""


@dataclass(frozen=True)
class FirstScreen:
    """The answer, and what it rests on."""

    sentences: tuple[str, ...]
    """The amplitude at which the networks err; what an attack of the shown amplitude does; evidence that it worked."""
    headlines: tuple[Headline, ...]
    """One for each cohort, in the study's order."""
    not_shown: tuple[str, ...]
    """What these records cannot say, in sentences."""
    model: str
    evaluation: Evaluation | None
    """Of a model that was handed over; null for a store of `run`."""
    labelled: bool
    """Whether the images' true classes are known; else the model's own decisions are attacked."""
    weak: bool
    """Whether the attack missed planted adversarials, so that low success rates do not show robustness."""


def first_screen(findings: Findings) -> FirstScreen | None:
    """The answer; None where a cohort was attacked on several main networks, so that it has several answers."""
    found = findings.headers()
    if not found or len(found) != len({header.cohort for header in found}):
        return None
    path = Store(findings.records.root).evaluation
    evaluation = read_model(path, Evaluation, HEALED) if path.exists() else None
    labelled = evaluation is None or evaluation.labels == "given"
    planted = evaluation.planted if evaluation else None
    lines = headlines(findings)
    told = several_cohorts(findings, lines) if len(lines) > 1 else _one_cohort(findings, lines[0], evaluation, labelled)
    weak = planted is not None and planted.images > 0 and planted.found < FEW_FOUND * planted.images
    return FirstScreen(
        sentences=tuple(told), headlines=lines, not_shown=tuple(not_shown(findings)), model=found[0].architecture,
        evaluation=evaluation, labelled=labelled, weak=weak,
    )  # fmt: skip


def _one_cohort(findings: Findings, line: Headline, evaluation: Evaluation | None, labelled: bool) -> Iterator[str]:
    yield from _half(findings, line, labelled)
    yield from _scores(findings, line, evaluation) if labelled else _kept_decisions(findings, line)
    yield from _worst_case(findings, labelled)
    yield from _planted(evaluation.planted if evaluation else None)
    yield from _controls(findings, line)


def _half(findings: Findings, line: Headline, labelled: bool) -> Iterator[str]:
    """Where half of the images are lost, with its interval, or on which side of the attacked amplitudes."""
    found = line.epsilon50
    text, unit = (found["text_255"] if scale(findings) == 255 else found["text"]), unit_text(findings)
    images = "images this model gets right" if labelled else "images"
    err = "misclassified" if labelled else "decided otherwise"
    if found["side"] == "unknown":
        yield f"Too few {images} ({found['n']}) to say how much an image must change before the model errs."
    elif found["side"] == "below":
        yield (
            f"More than half of the {images} are {err} already by the smallest change that was tried, "
            f"{found['smallest'] * scale(findings):.3g} {unit} ({images_of(found)})."
        )
    elif found["side"] == "above":
        yield (
            f"Even a change of {found['largest'] * scale(findings):.3g} {unit}, the largest that was tried, leaves "
            f"half or more of the {images} as they were ({images_of(found)}). A stronger attack may find more."
        )
    elif found["method"] == "bracket":
        between = text if text.startswith(("between ", "at ")) else f"this size: {text}"
        yield f"Half of the {images} are {err} by a change of {between} {unit} ({images_of(found)})."
    else:
        yield f"Half of the {images} are {err} by a change of at most {text} {unit} ({images_of(found)})."


POSITIVE = {"last": " (the last class; --positive names another)", "name": " (the finding, by its name)"}
"""What says which class is the positive one → how it is said beside its sensitivity."""


def _scores(findings: Findings, line: Headline, evaluation: Evaluation | None) -> Iterator[str]:
    """Accuracy, sensitivity, specificity and AUROC, clean and under an attack of the shown amplitude."""
    parts: list[str] = []
    for score in line.scores:
        name = score.name
        if name == "sensitivity":
            name += f" for {line.positive}{POSITIVE.get(evaluation.positive_by, '') if evaluation else ''}"
        at = "" if parts else f" at {level_text(findings, findings.epsilon)}"
        parts.append(f"{name if parts else name.capitalize()} {_moves(score.clean, score.attacked)}{at}")
    yield f"{'; '.join(parts)}."


def _kept_decisions(findings: Findings, line: Headline) -> Iterator[str]:
    """Of images without labels: how many decisions an attack of the shown amplitude leaves as they were."""
    yield (
        f"The images have no labels, so the model's own decisions are what is attacked: {line.scores[0].attacked} of "
        f"them are left as they were at {level_text(findings, findings.epsilon)}. How often the model is right is not "
        "known."
    )


def _moves(before: Share, after: Share) -> str:
    """From one figure to another, as written; without a direction where one of them is unknown."""
    if str(before) == str(after):
        return f"stays at {after}"
    if before.value is None or after.value is None:
        return f"goes from {before} to {after}"
    return f"{'falls' if after.value < before.value else 'rises'} from {before} to {after}"


def _worst_case(findings: Findings, labelled: bool) -> Iterator[str]:
    """What is left after all attacks together, where several were run."""
    frame = findings.tables.get("worst_case", pl.DataFrame())  # only where several arms attacked
    norm = findings.headers()[0].attack.get("norm")
    of_norm = (pl.col("norm") == norm, pl.col("epsilon") == findings.epsilon)
    if frame.is_empty() or (here := frame.filter(*of_norm)).is_empty():
        return
    row = here.row(0, named=True)
    robust = Share(row["rate"], row["low"], row["high"])
    what = "are still classified correctly" if labelled else "keep their decision"
    attacks = findings.tables["worst_case_by_attack"].filter(*of_norm)
    yield (
        f"Under the worst of {row['arms']} attacks, image by image, {robust} of the "
        f"images {what} at {level_text(findings, findings.epsilon)}: an upper bound, since an attack that was not run "
        f"may find more. {_gradient_free(attacks, labelled)} No certified bound was computed: one would have to "
        f"prove the {_images(row['robust'])} that no attack misclassified."
    )


def _images(number: int) -> str:
    return f"{number} image{'' if number == 1 else 's'}"


def _gradient_free(attacks: pl.DataFrame, labelled: bool) -> str:
    """What attacks without gradients found that no attack with gradients did: a sign of masked gradients."""
    free = attacks.filter(~pl.col("gradients"))
    if free.is_empty():
        return "No gradient-free attack was run at this amplitude."
    told = [
        f"{row['arm']} {row['beyond_gradients']} of {row['n']}"
        for row in free.sort("n", "arm", descending=True).to_dicts()
    ]
    what = "Misclassified" if labelled else "Decided otherwise"
    return f"{what} without gradients and by no attack that follows them: {', '.join(told)}."


def _planted(found: PlantedTest | None) -> Iterator[str]:
    """What the active test says of the attack."""
    if found is None:
        return
    if not found.images:
        yield (
            f"No adversarial could be planted in {found.left_out} images: no random change moves what the model knows "
            "of them, so whether the attack would find one is not tested."
        )
        return
    share = found.found / found.images
    told = (
        f"The attack found {share:.0%} of planted adversarials ({found.found} of {found.images}); one step alone finds "
        f"{found.one_step}, random noise {found.noise}."
    )
    if share < FEW_FOUND:
        told += " It is weak on this model: low success rates here do not show robustness."
    elif found.one_step > MANY_BY_ONE_STEP * found.images:
        told += " One step finds most of them too, so this test tells little about this model."
    yield told


def _controls(findings: Findings, line: Headline) -> Iterator[str]:
    """What random noise of the shown size does, and what a stronger attack still finds."""
    if line.noise is not None:
        misclassified, n = line.noise
        what = "changes nothing" if misclassified == 0 else f"changes the decision on {misclassified}"
        yield f"Random noise of the same size {what} ({n} images)."
    controls = findings.headers()[0].controls
    if controls is None:
        return
    missed = max((counts["missed"] for counts in controls.cross_check.values()), default=0)
    if missed:
        images = max(counts["images"] for counts in controls.cross_check.values())
        yield f"A stronger attack misclassifies up to {missed} more of {images} images."
