"""Tables of evidence that the attack worked: controls, flags, linked re-runs; what each run was and cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.records.run_header import RunHeader
from advassay.records.run_reader import Run
from advassay.records.store_reader import Records
from advassay.report.tables.column_labels import columns
from advassay.report.tables.table import TABLES, Printed, Table
from advassay.success import counted, has_succeeded

if TYPE_CHECKING:
    from advassay.report.data.findings import Findings

FLAG_MEANING = {
    "nan": "a logit of some iterate is not a number: the image counts neither as success nor as robustness there",
    "zero_gradient": "the loss gradient was exactly zero at some iterate, so that update moved nothing",
    "saturated": "the probability of the true class is 1 in float32 or within 4 spacings of it, where softmax losses "
    "lose their gradient or part of it",
    "unchanged": "the last iterate is the clean image",
    "nan_gradient": "the gradient was not a number at some iterate; it was set to zero there",
    "audit_changed": "float32 changed a verdict outside the band: iterates scored in low precision may be wrong",
    "epsilon_inactive": "still correct, and ε was not reached at any iterate: a larger ε would change nothing",
    "not_converged": "still correct, and the loss was still rising in the last quarter of the iterations",
    "success_lost": "misclassified at some iterate, not at the last",
    "non_monotone": "still correct at the last iterate, although a smaller ε misclassified it",
    "retired": "ended at its first success, because only that was asked for",
    "epsilon_large": "ε is more than half of the [0, 1] range",
    "step_coarse": "the step is more than twice the largest ε",
    "probabilities": "the network may put out a probability instead of a logit",
    "loss_saturated": "the loss has no gradient on any image tried",
    "gradient_cut": "the network does not change as its gradient says: part of it gives no gradient, so that success "
    "is a lower bound",
    "train_mode": "the network, or a part of it, came in train mode and was attacked in eval mode",
    "normalisation": "mean or standard deviation are on the scale of grey levels, not of [0, 1]",
    "stateful": "passes in eval mode change the network, so that its numbers may depend on the images seen before",
    "not_deterministic": "the same images gave slightly different logits: verdicts near the boundary are random",
    "float64": "the network computes in float64; its logits are recorded in float32",
}
"""Flag → what it says, for readers; a flag that is not here is shown by its name."""


def controls(runs: Sequence[RunHeader]) -> pl.DataFrame:
    """One row per run and control. Columns: cohort, arm, train_size, control, epsilon, n, events, reading."""
    return pl.DataFrame([row for header in runs for row in _controls(header)], schema=CONTROLS)


CONTROLS = {
    "cohort": pl.String, "arm": pl.String, "train_size": pl.Int64, "control": pl.String, "epsilon": pl.Float64,
    "n": pl.Int64, "events": pl.Int64, "meaning": pl.String,
}  # fmt: skip


KINDS = ("ε = 0", "random sign noise", "stronger attack")


def _controls(header: RunHeader) -> list[dict[str, Any]]:
    found = header.controls
    if found is None:
        return []
    run = {"cohort": header.cohort, "arm": header.arm, "train_size": header.train_size}
    zero = {"control": KINDS[0], "epsilon": 0.0, "n": found.images, "events": found.epsilon_zero_changed,
            "meaning": "decisions that differ from the clean pass; must be 0"}  # fmt: skip
    noise = [
        {"control": KINDS[1], "epsilon": float(epsilon), "n": n, "events": misclassified,
         "meaning": "images misclassified under noise of the same size"}
        for epsilon, (misclassified, n) in found.noise.items()
    ]  # fmt: skip
    cross = [
        {"control": KINDS[2], "epsilon": float(epsilon), "n": counts["images"], "events": counts["missed"],
         "meaning": f"images that only the stronger attack misclassified ({found.stronger})"}
        for epsilon, counts in found.cross_check.items()
    ]  # fmt: skip
    return [run | row for row in (zero, *noise, *cross)]


FLAGS = {
    "cohort": pl.String, "arm": pl.String, "train_size": pl.Int64, "flag": pl.String, "rows": pl.Int64,
    "of": pl.Int64, "share": pl.Float64, "meaning": pl.String,
}  # fmt: skip


def flags(runs: Sequence[RunHeader]) -> pl.DataFrame:
    """One row per run and flag. Columns: cohort, arm, train_size, flag, rows, of (all rows), share, meaning."""
    rows = [
        {"cohort": header.cohort, "arm": header.arm, "train_size": header.train_size, "flag": flag, "rows": count,
         "of": header.rows, "share": count / header.rows if header.rows else None,
         "meaning": FLAG_MEANING.get(flag, flag.replace("_", " "))}
        for header in runs for flag, count in header.flag_counts.items()
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=FLAGS)


def controls_by_arm(frame: pl.DataFrame) -> pl.DataFrame:
    """`controls` summed over runs. Columns: arm, control, epsilon, events, n, where (runs with events), meaning."""
    order = pl.col("control").replace_strict({name: i for i, name in enumerate(KINDS)}, return_dtype=pl.Int64)
    return _summed(frame, ["arm", "control", "epsilon", "meaning"], "n").sort("arm", order, "epsilon")


def flags_by_arm(frame: pl.DataFrame) -> pl.DataFrame:
    """`flags` that occurred, summed over runs. Columns: flag, meaning, arm, events, n, where, share."""
    summed = _summed(frame.rename({"rows": "events"}), ["flag", "meaning", "arm"], "of").rename({"of": "n"})
    return summed.filter(pl.col("events") > 0).with_columns(share=pl.col("events") / pl.col("n")).sort("flag", "arm")


def flags_by_epsilon(records: Records) -> pl.DataFrame:
    """Flagged images of the main networks, pooled over the cohorts of an arm; flags that never occurred left out.

    Columns: arm, flag, epsilon, events, n (image × step size), share.
    """
    from advassay.analysis import flags_summary

    found = flags_summary(records)
    summed = found.group_by("arm", "flag", "epsilon", maintain_order=True).agg(
        events=pl.col("flagged").sum(), n=pl.col("n").sum()
    )
    occurred = pl.col("events").sum().over("flag") > 0
    shares = summed.filter(occurred, pl.col("n") > 0).with_columns(share=pl.col("events") / pl.col("n"))
    return shares.sort("arm", "flag", "epsilon")


def _summed(frame: pl.DataFrame, keys: list[str], total: str) -> pl.DataFrame:
    told = pl.when(pl.col("events") > 0).then(pl.format("{} {}", "cohort", "events"))
    by_cohort = frame.group_by([*keys, "cohort"], maintain_order=True).agg(pl.col("events", total).sum())
    return (
        by_cohort.with_columns(told=told)
        .group_by(keys, maintain_order=True)
        .agg(pl.col("events", total).sum(), where=pl.col("told").drop_nulls().str.join(", "))
    )


RUNS = {
    "cohort": pl.String, "arm": pl.String, "train_size": pl.Int64, "seed": pl.Int64, "primary": pl.Boolean,
    "update": pl.String, "loss": pl.String, "norm": pl.String, "step_sizes": pl.String, "epsilons": pl.String,
    "steps": pl.Int64, "images": pl.Int64, "rows": pl.Int64, "gradient_evaluations": pl.Int64,
    "forward_passes": pl.Int64, "seconds": pl.Float64, "rescored": pl.Int64, "changed": pl.Int64,
    "sessions_started": pl.Int64, "sessions_finished": pl.Int64, "precision": pl.String, "device": pl.String,
    "batch_size": pl.Int64, "classifier": pl.String, "weights_sha256": pl.String, "cohort_identity": pl.String,
    "run_id": pl.String,
}  # fmt: skip


def table_of_runs(runs: Sequence[RunHeader]) -> pl.DataFrame:
    """One row per run: its attack, its grid, what it cost and every identity that a stranger would check."""
    return pl.DataFrame([_run(header) for header in runs], schema=RUNS)


def _run(header: RunHeader) -> dict[str, Any]:
    cost = header.cost.model_dump()
    return {
        **{name: getattr(header, name) for name in RUNS if hasattr(header, name)},
        **{name: header.attack.get(name) for name in ("update", "loss", "norm", "precision")},
        **{name: value for name, value in cost.items() if name in RUNS},
        "step_sizes": " ".join(dict.fromkeys(point.step_size for point in header.points)),
        "epsilons": " ".join(f"{e:g}" for e in sorted({point.epsilon for point in header.points})),
        "device": header.compute.device_name or header.compute.device if header.compute else None,
        "batch_size": header.compute.batch_size if header.compute else None,
    }


MODEL_PROOFS = {
    "cohort": pl.String, "architecture": pl.String, "runtime": pl.String, "compared": pl.String, "images": pl.Int64,
    "largest_difference": pl.Float64, "tolerance": pl.Float64, "decisions_equal": pl.Int64, "decisions": pl.Int64,
    "gradient_error": pl.Float64, "gradient_tolerance": pl.Float64, "arithmetic": pl.String, "train_mode": pl.String,
    "converter": pl.String, "weights_sha256": pl.String,
}  # fmt: skip


def model_proofs(runs: Sequence[RunHeader]) -> pl.DataFrame:
    """One row per model of another maker and cohort: the figures of its proof."""
    proved = {(header.cohort, header.classifier): header for header in runs if header.model_proof is not None}
    return pl.DataFrame([_proof(header) for header in proved.values()], schema=MODEL_PROOFS)


def _proof(header: RunHeader) -> dict[str, Any]:
    found = header.model_proof
    assert found is not None
    gradient = found.gradient
    return {
        **{name: getattr(header, name) for name in ("cohort", "architecture", "weights_sha256")},
        **{name: getattr(found, name) for name in MODEL_PROOFS if hasattr(found, name)},
        "gradient_error": gradient.largest_error if gradient else None,
        "gradient_tolerance": gradient.tolerance if gradient else None,
        "arithmetic": gradient.arithmetic if gradient else None,
    }


RERUNS = {
    "cohort": pl.String, "arm": pl.String, "train_size": pl.Int64, "loss": pl.String, "epsilon": pl.Float64,
    "n": pl.Int64, "declared": pl.Int64, "again": pl.Int64, "only_again": pl.Int64,
}  # fmt: skip


def reruns(records: Records) -> pl.DataFrame:
    """One row per run that was attacked again and ε, over its attackable images that were.

    n images; those misclassified at the last iterate (at any step size) under the declared attack, under the one again,
    and under that one only: at least so many were missed.
    """
    frames = [_compared(records, header.run_id, header.rerun_of) for header in records.reruns if header.rerun_of]
    return pl.concat(frames) if frames else pl.DataFrame(schema=RERUNS)


def _compared(records: Records, again: str, declared: str) -> pl.DataFrame:
    run = records.run(again)
    both = _misclassified(run).rename({"misclassified": "again"}).join(
        _misclassified(records.run(declared)).rename({"misclassified": "declared"}), on=["image_id", "epsilon"]
    )  # fmt: skip
    summed = both.group_by("epsilon").agg(
        pl.len().cast(pl.Int64).alias("n"),
        pl.col("declared", "again").sum().cast(pl.Int64),
        (pl.col("again") & ~pl.col("declared")).sum().cast(pl.Int64).alias("only_again"),
    )
    about = {
        "cohort": run.header.cohort, "arm": run.header.arm, "train_size": run.header.train_size,
        "loss": run.header.attack.get("loss"),
    }  # fmt: skip
    named = summed.sort("epsilon").with_columns(pl.lit(value, RERUNS[key]).alias(key) for key, value in about.items())
    return named.select(pl.col(name).cast(kind) for name, kind in RERUNS.items())


def _misclassified(run: Run) -> pl.DataFrame:
    """(image_id, epsilon, misclassified) of attackable images, ε > 0, restart 0."""
    rows = run.rows()
    path = rows.logits.swapaxes(0, 1)  # success takes (step, image, class); a row is its image here
    frame = pl.DataFrame(
        {
            "image_id": rows.image_id.tolist(),
            "epsilon": rows.epsilon,
            "misclassified": has_succeeded(path, rows.label)[-1],
            "counts": counted(path, rows.label)[-1] & (rows.epsilon > 0) & (rows.restart == 0),
        }
    )
    return frame.filter("counts").group_by("image_id", "epsilon").agg(pl.col("misclassified").any())


def with_largest_noise(frame: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    """Of random noise only the largest ε of each arm, where it is most likely to misclassify an image."""
    noise = pl.col("control") == KINDS[1]
    return frame.filter(~noise | (pl.col("epsilon") == pl.col("epsilon").max().over("arm", "control")))


TABLES.register(
    Table(
        "controls",
        about="ε = 0, random noise and a stronger attack beside every run",
        build=lambda findings: controls(findings.runs),
    )
)
TABLES.register(
    Table(
        "controls_by_arm",
        about="the controls, summed over the runs of each arm",
        build=lambda findings: controls_by_arm(findings.tables.get("controls", pl.DataFrame(schema=CONTROLS))),
        needs=("controls",),
        printed=(
            Printed(
                columns(
                    "arm* control epsilon events n where meaning", events="counted", n="of", meaning="what is counted"
                ),
                "Controls, summed over each arm’s runs; random noise at the arm’s largest ε (each run and every ε: "
                "controls.csv below).",
                "evidence", 10, name="controls", group="arm", rows=with_largest_noise,
                absent="No controls are recorded. Low success rates must not be read as robustness.",
            ),
        ),
    )
)  # fmt: skip
TABLES.register(
    Table(
        "flags", about="guards and failure indicators of every run", build=lambda findings: flags(findings.runs)
    )
)  # fmt: skip
TABLES.register(
    Table(
        "flags_by_arm",
        about="the guards and failure indicators that occurred, summed over the runs of each arm",
        build=lambda findings: flags_by_arm(findings.tables.get("flags", pl.DataFrame(schema=FLAGS))),
        needs=("flags",),
        printed=(
            Printed(
                columns("flag* meaning* arm events n share where", events="rows", n="of"),
                "Guards and failure indicators that occurred; a row is an image × ε × step size (each run: flags.csv "
                "below).",
                "evidence", 20, name="flags", group="flag",
                absent="No row carries a guard or failure indicator.",
            ),
        ),
    )
)  # fmt: skip
TABLES.register(
    Table(
        "flags_by_epsilon",
        about="flagged images of the main networks at every ε, summed over the cohorts of each arm",
        build=lambda findings: flags_by_epsilon(findings.records),
        of_figure=columns("arm* flag epsilon events n share", events="images", n="of"),
    )
)
TABLES.register(
    Table(
        "model_proof",
        about="how closely models of other makers equal their own runtimes, found before the first step",
        build=lambda findings: model_proofs(findings.runs),
        printed=(
            Printed(
                columns(
                    "cohort architecture runtime compared images largest_difference tolerance decisions_equal "
                    "decisions gradient_error gradient_tolerance arithmetic train_mode converter",
                    runtime="compared with", compared="what", largest_difference="largest difference",
                    tolerance="allowed", decisions_equal="same decisions", decisions="of",
                    gradient_error="gradient error",
                    gradient_tolerance="allowed", arithmetic="differences in", train_mode="train mode",
                ),
                "The attacked model beside its own runtime on the first images, each also with a little colour noise; "
                "its gradient beside finite differences, as a share of the slope. A model that differs by more than "
                "what is allowed is not attacked.",
                "evidence", 5,
            ),
        ),
    )
)  # fmt: skip
TABLES.register(
    Table(
        "reruns",
        about="flagged images attacked again under the margin loss: misclassified under each, and only then",
        build=lambda findings: reruns(findings.records),
        printed=(
            Printed(
                columns(
                    "cohort* arm train_size epsilon n declared again only_again", n="attackable images",
                    declared="misclassified as declared", again="misclassified again",
                ),
                "Images whose gradient had vanished, attacked again under the margin loss. The last column counts "
                "those that the declared attack missed for a numerical reason. Main curves keep the declared attack.",
                "evidence", 40, group="cohort",
            ),
        ),
    )
)  # fmt: skip
TABLES.register(
    Table(
        "runs",
        about="every run: attack, cost, identities",
        build=lambda findings: table_of_runs(findings.runs),
        printed=(
            Printed(
                columns(
                    "cohort* arm train_size seed images rows gradient_evaluations forward_passes rescored changed "
                    "seconds precision device"
                ),
                "What each run cost, and how many iterates a float32 pass of the unmodified network judged again.",
                "evidence", 60, name="cost", group="cohort", title="what each run cost",
                fold="Cost, precision and verdicts judged again",
            ),
            Printed(
                columns("cohort* arm train_size seed run_id classifier cohort_identity weights_sha256"),
                "Hashes of content: equal hashes mean equal inputs.", "reproduce", 10, name="identities",
                group="cohort", title="identities of runs, networks and cohorts",
                fold="Identities of runs, networks and cohorts",
            ),
        ),
    )
)  # fmt: skip
