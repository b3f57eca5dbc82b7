"""The answer about one model on one data set, in the first sentences of its page.

Only where a store holds one cohort and one network: with several, the verdicts are the answer. Every number is one of
the report's tables, or a function of analysis that they are made with; what the data do not carry is not said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.analysis import robust_accuracy_curve
from advassay.checked_files import read_model
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
    """The amplitude at which the model errs; what an attack of the shown amplitude does; evidence that it worked."""
    model: str
    evaluation: Evaluation | None
    """Of a model that was handed over; null for a store of `run`."""
    labelled: bool
    """Whether the images' true classes are known; else the model's own decisions are attacked."""
    weak: bool
    """Whether the attack missed planted adversarials, so that low success rates do not show robustness."""


def first_screen(findings: Findings) -> FirstScreen | None:
    """The answer; None where the store is about several cohorts or several networks."""
    networks = {header.classifier for header in findings.runs if header.arm == findings.main_arm}
    if len(findings.cohorts) != 1 or len(networks) != 1:
        return None
    path = Store(findings.records.root).evaluation
    evaluation = read_model(path, Evaluation, HEALED) if path.exists() else None
    labelled = evaluation is None or evaluation.labels == "given"
    planted = evaluation.planted if evaluation else None
    told = [
        *_half(findings, labelled),
        *(_scores(findings, evaluation) if labelled else _kept_decisions(findings)),
        *_worst_case(findings, labelled),
        *_planted(planted),
        *_controls(findings),
    ]
    weak = planted is not None and planted.images > 0 and planted.found < FEW_FOUND * planted.images
    return FirstScreen(tuple(told), findings.headers()[0].architecture, evaluation, labelled, weak)


def _row(findings: Findings, table: str) -> pl.DataFrame:
    """The deciding arm's rows of a table, at its step size."""
    frame = findings.of_main_arm(table)
    return frame.filter(pl.col("step_size") == findings.step_size(findings.main_arm))


def _half(findings: Findings, labelled: bool) -> Iterator[str]:
    """Where half of the images are lost, with its interval, or on which side of the attacked amplitudes."""
    found: dict[str, Any] = _row(findings, "epsilon50").row(0, named=True)
    linf = findings.headers()[0].attack.get("norm") == "linf"
    text = found["text_255"] if linf else found["text"]
    unit = "grey levels of 255" if linf else "in L2 length (images in [0, 1])"
    images = "images this model gets right" if labelled else "images"
    err = "misclassified" if labelled else "decided otherwise"
    scale = 255 if linf else 1
    if found["side"] == "unknown":
        yield f"Too few {images} ({found['n']}) to say how much an image must change before the model errs."
    elif found["side"] == "below":
        yield (
            f"More than half of the {images} are {err} already by the smallest change that was tried, "
            f"{found['smallest'] * scale:.3g} {unit} ({_images(found)})."
        )
    elif found["side"] == "above":
        yield (
            f"Even a change of {found['largest'] * scale:.3g} {unit}, the largest that was tried, leaves half or more "
            f"of the {images} as they were ({_images(found)}). A stronger attack may find more."
        )
    elif found["method"] == "bracket":
        between = text if text.startswith(("between ", "at ")) else f"this size: {text}"
        yield f"Half of the {images} are {err} by a change of {between} {unit} ({_images(found)})."
    else:
        yield f"Half of the {images} are {err} by a change of at most {text} {unit} ({_images(found)})."


def _images(found: dict[str, Any]) -> str:
    """How many images a number rests on, and patients where they are known."""
    patients = found.get("patients")
    return f"{found['n']} images" + (f" of {patients} patients" if patients is not None else "")


POSITIVE = {"last": " (the last class; --positive names another)", "name": " (the finding, by its name)"}
"""What says which class is the positive one → how it is said beside its sensitivity."""


def _scores(findings: Findings, evaluation: Evaluation | None) -> Iterator[str]:
    """Accuracy, sensitivity and AUROC, clean and under an attack of the shown amplitude."""
    frame = _row(findings, "performance")
    clean = frame.row(by_predicate=pl.col("epsilon") == 0, named=True)
    attacked = frame.row(by_predicate=pl.col("epsilon") == findings.epsilon, named=True)
    at = _level(findings.epsilon, findings)
    parts = [f"Accuracy {_moves(_rate(clean), _rate(attacked), clean['accuracy'], attacked['accuracy'])} at {at}"]
    if (found := _sensitivity(findings)) is not None:
        before, after = found
        moves = _moves(_rate(before), _rate(after), before["accuracy"], after["accuracy"])
        why = POSITIVE.get(evaluation.positive_by, "") if evaluation else ""
        parts.append(f"sensitivity for {findings.headers()[0].positive}{why} {moves}")
    if clean["auroc"] is not None and attacked["auroc"] is not None:
        area = clean["auroc"], attacked["auroc"]
        parts.append(f"AUROC {_moves(f'{area[0]:.2f}', f'{area[1]:.2f}', *area)}")
    yield f"{'; '.join(parts)}."


def _sensitivity(findings: Findings) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Recall of the positive class with its interval, (clean, at the last iterate); two classes only."""
    header = findings.headers()[0]
    if len(header.class_names) != 2:
        return None
    curve = robust_accuracy_curve(
        findings.records, "step", by="class", arm=findings.main_arm, epsilon=findings.epsilon,
        step_size=findings.step_size(findings.main_arm), level=findings.level,
    )  # fmt: skip
    rows = curve.frame.filter(pl.col("class") == header.positive, pl.col("n") > 0).sort("step")
    if rows.is_empty():
        return None
    return tuple(_named(row) for row in (rows.row(0, named=True), rows.row(-1, named=True)))  # type: ignore[return-value]


def _named(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"accuracy": row["rate"]}


def _kept_decisions(findings: Findings) -> Iterator[str]:
    """Of images without labels: how many decisions an attack of the shown amplitude leaves as they were."""
    attacked = _row(findings, "performance").row(by_predicate=pl.col("epsilon") == findings.epsilon, named=True)
    yield (
        f"The images have no labels, so the model's own decisions are what is attacked: {_rate(attacked)} of them are "
        f"left as they were at {_level(findings.epsilon, findings)}. How often the model is right is not known."
    )


def _moves(before: str, after: str, from_value: float | None, to_value: float | None) -> str:
    """From one figure to another, as written; without a direction where one of them is unknown."""
    if before == after:
        return f"stays at {after}"
    known = from_value is not None and to_value is not None
    verb = ("falls" if to_value < from_value else "rises") if known else "goes"  # type: ignore[operator]
    return f"{verb} from {before} to {after}"


def _rate(row: dict[str, Any]) -> str:
    """A rate with its interval."""
    if row["accuracy"] is None:
        return "unknown"
    return f"{row['accuracy']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def _level(epsilon: float, findings: Findings) -> str:
    """An amplitude in grey levels, "2/255"; of L2 attacks as it is."""
    linf = findings.headers()[0].attack.get("norm") == "linf"
    return f"{epsilon * 255:.3g}/255" if linf else f"an L2 length of {epsilon:.3g}"


def _worst_case(findings: Findings, labelled: bool) -> Iterator[str]:
    """What is left after all attacks together, where several were run."""
    frame = findings.tables.get("worst_case", pl.DataFrame())  # only where several arms attacked
    norm = findings.headers()[0].attack.get("norm")
    of_norm = (pl.col("norm") == norm, pl.col("epsilon") == findings.epsilon)
    if frame.is_empty() or (here := frame.filter(*of_norm)).is_empty():
        return
    row = here.row(0, named=True)
    what = "are still classified correctly" if labelled else "keep their decision"
    attacks = findings.tables["worst_case_by_attack"].filter(*of_norm)
    yield (
        f"Under the worst of {row['arms']} attacks, image by image, {_rate(_named(row))} of the "
        f"images {what} at {_level(findings.epsilon, findings)}: an upper bound, since an attack that was not run may "
        f"find more. {_gradient_free(attacks, labelled)} No certified bound was computed: one would have to prove the "
        f"{row['robust']} images that no attack misclassified."
    )


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


def _controls(findings: Findings) -> Iterator[str]:
    """What random noise of the shown size does, and what a stronger attack still finds."""
    controls = findings.headers()[0].controls
    if controls is None:
        return
    misclassified, n = controls.noise.get(f"{findings.epsilon:.12g}", (0, 0))
    if n:
        what = "changes nothing" if misclassified == 0 else f"changes the decision on {misclassified}"
        yield f"Random noise of the same size {what} ({n} images)."
    missed = max((counts["missed"] for counts in controls.cross_check.values()), default=0)
    if missed:
        images = max(counts["images"] for counts in controls.cross_check.values())
        yield f"A stronger attack misclassifies up to {missed} more of {images} images."
