"""All figures of a report, in order; one that the records cannot fill is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import polars as pl

from advassay.layout import Store
from advassay.records.gallery import Example
from advassay.report import captions
from advassay.report.figures.accuracy_by_epsilon import accuracy_by_epsilon
from advassay.report.figures.examples import example_rows
from advassay.report.figures.figure import Figure
from advassay.report.figures.pairs import pair_rows
from advassay.report.figures.plates import plate
from advassay.report.figures.success_by_arm import last_against_any, success_by_arm
from advassay.report.figures.success_by_confidence import success_by_confidence
from advassay.report.figures.success_by_epsilon import success_by_epsilon
from advassay.report.figures.success_by_iteration import success_by_iteration, success_by_iteration_at_every_epsilon
from advassay.report.figures.success_by_training_size import success_by_training_size
from advassay.report.figures.training_curves import training_curves
from advassay.report.findings import Findings
from advassay.report.theme import styles
from advassay.report.wording import amplitude, listed, percent

Maker = Callable[[Findings], Figure | None]


def figures(findings: Findings) -> Iterator[Figure]:
    """Every figure that can be drawn."""
    for make in MAKERS:
        figure = make(findings)
        if figure is not None:
            yield figure


def _step_sizes(findings: Findings) -> dict[str, str]:
    """Cohort → the step size of the main curves (the first recorded one, as analysis takes it)."""
    return {row["cohort"]: row["step_size"] for row in findings.tables["success_by_epsilon"].iter_rows(named=True)}


def _examples(findings: Findings) -> list[Example]:
    """Kept images of the runs that the image figures are about: the main arm of every main network."""
    runs = {header.run_id for header in findings.headers()}
    return [example for example in findings.examples if example.run_id in runs]


def fig1(findings: Findings) -> Figure | None:
    drawn = styles(findings.cohorts)
    rows = example_rows(
        Store(findings.records.root).gallery, _examples(findings), _step_sizes(findings), drawn, findings.epsilon
    )
    if not rows:
        return None
    return Figure(
        "fig-1", "1", "Example images and their adversarial versions over ε",
        f"One image per cohort, original and after the last iteration, with what was added below it. "
        f"{captions.attack(findings.headers())}. Under each image: the predicted class with its probability, "
        "bold where "
        "it is no longer the true one. Differences are magnified by the stated factor around mid-grey. Images are "
        "enlarged by whole factors (nearest neighbour) and shown over their full grey range, 16-bit ones from 0 to "
        "65 535, without a window. Of the kept images that were classified correctly, the one that fell at the "
        "smallest ε is shown, the first by id of several.",
        f"Images of {listed([row.title for row in rows])}: original, adversarial at rising ε, magnified differences.",
        lambda width: plate(rows, stacked=True, columns=5 if width > 500 else 2), rows=tuple(rows),
    )  # fmt: skip


def fig2(findings: Findings) -> Figure | None:
    drawn = styles(findings.cohorts)
    rows = pair_rows(
        Store(findings.records.root).gallery, _examples(findings), _step_sizes(findings), drawn, findings.epsilon
    )
    if not rows:
        return None
    return Figure(
        "fig-2", "2", f"Successful attacks at {amplitude(findings.epsilon)}",
        f"Pairs original | adversarial of images that fell, at {amplitude(findings.epsilon)}, last iteration. "
        f"{captions.attack(findings.headers())}. Under each image: class and the network's confidence in it. Kept "
        "images only (a few per class, drawn before any result was known); each class transition is shown once before "
        "one is repeated.",
        "Pairs of original and adversarial images, by cohort: "
        + listed([f"{row.title} ({len(row.cells)})" for row in rows]) + ".",
        lambda width: plate(rows, stacked=False, columns=2 if width > 500 else 1), rows=tuple(rows),
    )  # fmt: skip


def fig3a(findings: Findings) -> Figure:
    frame = findings.tables["success_by_epsilon"]
    return Figure(
        "fig-3a", "3a", "Success against amplitude",
        f"Attack success rate against ε after the last iteration. {captions.attack(findings.headers())}. "
        f"{captions.LAST} {_statistics(frame, findings)}.{_coinciding(frame)}",
        _ends(frame, "epsilon", "ε"),
        lambda width: success_by_epsilon(frame, styles(findings.cohorts), width=width), "success_by_epsilon", frame,
    )  # fmt: skip


def fig3b(findings: Findings) -> Figure:
    frame = findings.tables["success_by_iteration"].filter(epsilon=findings.epsilon)
    return Figure(
        "fig-3b", "3b", f"Success against iterations at {amplitude(findings.epsilon)}",
        f"Attack success rate after 1 to {max(frame['step'].to_list())} iterations at {amplitude(findings.epsilon)}, "
        "each iterate "
        f"judged by itself (reading: last). {captions.attack(findings.headers())}. {_statistics(frame, findings)}.",
        _ends(frame, "step", "iteration"),
        lambda width: success_by_iteration(frame, styles(findings.cohorts), width=width), "success_by_iteration", frame,
    )  # fmt: skip


def fig3b_rest(findings: Findings) -> Figure | None:
    frame = findings.tables["success_by_iteration"].filter(pl.col("epsilon") != findings.epsilon)
    if not len(frame):
        return None
    grid = sorted(set(frame["epsilon"].to_list()))
    return Figure(
        "fig-3b-all", "3b, other ε", "Success against iterations at the other amplitudes",
        f"As figure 3b, one panel for each ε: {listed([f'{e:g}' for e in grid])}. "
        f"{captions.attack(findings.headers())}. {_statistics(frame, findings)}.",
        f"Small multiples of figure 3b at ε from {grid[0]:g} to {grid[-1]:g}.",
        lambda width: success_by_iteration_at_every_epsilon(frame, styles(findings.cohorts), width=width),
        "success_by_iteration", frame,
    )  # fmt: skip


def fig3c(findings: Findings) -> Figure:
    frame = findings.tables["success_by_confidence"].filter(arm=findings.main_arm)
    used = [
        cohort for cohort, below in frame.filter(pl.col("bin_low") < 0.5).select("cohort", "n").iter_rows() if below
    ]
    apart = f" Images of {listed(used)} below 0.5 are a bin of their own." if used else ""
    return Figure(
        "fig-3c", "3c", f"Success against clean confidence at {amplitude(findings.epsilon)}",
        "Attack success rate by the largest probability of the clean image (softmax in float64), in ten bins "
        "[low, high) "
        f"over [0.5, 1], the last one closed, at {amplitude(findings.epsilon)}, last iteration.{apart} "
        f"{captions.attack(findings.headers())}. Numbers above the axis: attackable images n in each bin. "
        f"{captions.intervals(frame, findings.level)}. The other arms are in tables/success_by_confidence.csv.",
        "Success rate with interval in ten bins of clean confidence for "
        + listed([f"{c} ({_high_confidence(frame, c)})" for c in findings.cohorts]) + ".",
        lambda width: success_by_confidence(frame, styles(findings.cohorts), width=width),
        "success_by_confidence", frame,
    )  # fmt: skip


def fig3d(findings: Findings) -> Figure | None:
    frame = findings.tables.get("success_by_training_size")
    if frame is None or findings.series_epsilon is None:
        return None
    seeds = frame["seed"].n_unique()
    return Figure(
        "fig-3d", "3d", f"Success against training-set size at {amplitude(findings.series_epsilon)}",
        "Attack success rate of networks trained on nested subsets, the same validation images and number of "
        "updates for "
        f"every size, at {amplitude(findings.series_epsilon)}, last iteration. One point is one network "
        f"({len(frame)} networks, {seeds} seed{'s' if seeds > 1 else ''}); the dashed line joins the means over seeds. "
        f"{captions.attack(findings.headers())}. {_statistics(frame, findings)}; they hold the images' spread, "
        "not that "
        "between networks.",
        _ends(frame, "train_size", "training images"),
        lambda width: success_by_training_size(frame, styles(findings.cohorts), width=width),
        "success_by_training_size", frame,
    )  # fmt: skip


def fig_arms(findings: Findings) -> Figure | None:
    frame = findings.tables["success_by_arm"].filter(success="last")
    if frame["arm"].n_unique() < 2:
        return None
    told = ". ".join(captions.attack(findings.headers(arm)) for arm in findings.records.arms if findings.headers(arm))
    return Figure(
        "fig-arms", "4", "Success by attack arm",
        f"Attack success rate against ε (logarithmic where arms differ in scale), last iteration. {told}. "
        f"{_statistics(frame, findings)}. Arms may have attacked different numbers of images.",
        "Success against ε for the arms " + listed(findings.records.arms) + ", one panel per cohort.",
        lambda width: success_by_arm(frame, _hues(findings), width=width), "success_by_arm", frame,
    )  # fmt: skip


def fig_readings(findings: Findings) -> Figure:
    first = _step_sizes(findings)
    frame = findings.tables["success_by_arm"].filter(arm=findings.main_arm)
    frame = frame.filter(pl.col("step_size") == pl.col("cohort").replace_strict(first))
    return Figure(
        "fig-readings", "5", "Success at the last iterate and at any iterate",
        "Attack success rate against ε: fallen at the last iterate (last) or at any iterate up to it (any). Where the "
        f"two part, success was reached and lost again. {captions.attack(findings.headers())}. "
        f"{_statistics(frame, findings)}.",
        "Two curves per cohort over ε: success at the last iterate and at any iterate.",
        lambda width: last_against_any(frame, _hues(findings), width=width), "success_by_arm", frame,
    )  # fmt: skip


def fig_accuracy(findings: Findings) -> Figure:
    frame = findings.tables["performance"]
    ends = [f"{c} from {_share_at(frame, c, 0)} clean to {_share_at(frame, c, -1)}" for c in findings.cohorts]
    return Figure(
        "fig-accuracy", "6", "Robust accuracy",
        "Share of all attacked images, natively misclassified ones included, that are classified correctly at the last "
        f"iterate; ε = 0 is the clean accuracy on the attacked images. {captions.attack(findings.headers())}. "
        f"{_statistics(frame, findings)}.",
        f"Robust accuracy against ε: {listed(ends)}.",
        lambda width: accuracy_by_epsilon(frame, styles(findings.cohorts), width=width), "performance", frame,
    )  # fmt: skip


def fig_training(findings: Findings) -> Figure | None:
    if "training" not in findings.tables:
        return None
    mains = {header.classifier for header in findings.headers()}
    order = pl.DataFrame({"cohort": list(findings.cohorts)})
    frame = findings.tables["training"].filter(pl.col("classifier").is_in(mains))
    frame = order.join(frame, on="cohort", maintain_order="left_right")
    if not len(frame):
        return None
    return Figure(
        "fig-training", "7", "Training curves",
        "Training loss, tuning loss and tuning accuracy of each cohort's main network at every evaluation. "
        + _tuned_on(findings),
        "Training curves of " + listed(list(findings.cohorts)) + ".",
        lambda width: training_curves(frame, styles(findings.cohorts), width=width), "training", frame,
    )  # fmt: skip


def _tuned_on(findings: Findings) -> str:
    """On which images the tuning curves were taken, by cohort."""
    documents = [findings.records.training(header.classifier) for header in findings.headers()]
    known = [document for document in documents if document is not None]
    without = [d.cohort for d in known if not any("tuning_loss" in entry for entry in d.history)]
    validated = [d.cohort for d in known if d.cohort not in without and d.spec.get("select_on") == "validation"]
    tuned = [d.cohort for d in known if d.cohort not in without + validated]
    told = []
    if tuned:
        of = "" if len(tuned) == len(known) else f" of {listed(tuned)}"
        told.append(f"The tuning part{of} is neither trained on nor attacked.")
    if validated:
        told.append(f"Tuning curves of {listed(validated)} are on the validation images, which chose the checkpoint.")
    if without:
        told.append(f"{listed(without)} had no tuning part.")
    return " ".join(told)


MAKERS: tuple[Maker, ...] = (
    fig1, fig2, fig3a, fig3b, fig3b_rest, fig3c, fig3d, fig_arms, fig_readings, fig_accuracy, fig_training,
)  # fmt: skip


def _statistics(frame: pl.DataFrame, findings: Findings) -> str:
    return f"{captions.sample(frame)}; {captions.intervals(frame, findings.level)}"


def _coinciding(frame: pl.DataFrame) -> str:
    """A warning where curves of one panel lie on one another, as at 100 %."""
    points = frame.filter(pl.col("n") > 0).group_by("image_type", "epsilon", "rate").len()
    shared = points.filter(pl.col("len") > 1)["rate"].unique().sort().to_list()
    return f" Curves lie on one another at {listed([percent(r, 0) for r in shared])}." if shared else ""


def _hues(findings: Findings) -> dict[str, str]:
    return {cohort: style.colour for cohort, style in styles(findings.cohorts).items()}


def _ends(frame: pl.DataFrame, x: str, unit: str) -> str:
    """Where each cohort's curve begins and ends, for readers who do not see it."""
    told = []
    for (cohort,), part in frame.filter(pl.col("n") > 0).sort(x).group_by("cohort", maintain_order=True):
        first, last = part.row(0, named=True), part.row(-1, named=True)
        told.append(
            f"{cohort} from {percent(first['rate'], 0)} at {unit} {first[x]:g} to {percent(last['rate'], 0)} "
            f"at {last[x]:g}"
        )
    return "Attack success rate: " + "; ".join(told) + "."


def _high_confidence(frame: pl.DataFrame, cohort: str) -> str:
    top = frame.filter(cohort=cohort).sort("bin_low").row(-1, named=True)
    return f"{percent(top['rate'], 0)} of {top['n']} in the highest bin {top['bin']}"


def _share_at(frame: pl.DataFrame, cohort: str, place: int) -> str:
    return percent(frame.filter(cohort=cohort).sort("epsilon")["accuracy"][place], 0)
