from __future__ import annotations

from pathlib import Path

from simulate import COHORTS, make_store, population, trajectories
from written_report import SMALL_ARMS

from advassay.records import RunWriter, attack_rules, open_records, run_identity
from advassay.report.tables.evidence_tables import reruns
from advassay.store_layout import Store
from advassay.success import correct_on_clean, has_succeeded


def test_images_that_only_the_second_attack_fells_are_counted(tmp_path: Path) -> None:
    """Counts against a plain loop over images."""
    cohort, arm = COHORTS[0], SMALL_ARMS["A"]
    again = arm.model_copy(update={"loss": "margin"})
    make_store(tmp_path / "store", (cohort,), {"A": arm}, gallery=False)
    store = Store(tmp_path / "store")
    declared = open_records(store.root).run(open_records(store.root).headers[0].run_id)
    run_id = run_identity(
        classifier=declared.header.classifier, arm=again, cohort_identity=declared.header.cohort_identity,
        rerun_of=declared.header.run_id,
    )  # fmt: skip
    header = declared.header.model_copy(
        update={"run_id": run_id, "rerun_of": declared.header.run_id, "attack": attack_rules(again), "points": ()}
    )
    flagged = population(cohort).image_ids[:9].tolist()
    stronger = trajectories(cohort, population(cohort), again, extra=1.0)
    stronger = stronger.take([image in flagged for image in stronger.image_id])
    writer = RunWriter(store.run(run_id), header)
    writer.add_images(declared.images.filter(declared.images["image_id"].is_in(flagged)))
    writer.append(stronger)
    writer.finish()

    frame = reruns(open_records(store.root))
    rows = declared.rows()
    for row in frame.iter_rows(named=True):
        n = only = 0
        for image in flagged:
            a, b = (r.take((r.image_id == image) & (r.epsilon == row["epsilon"])) for r in (rows, stronger))
            first, second = (r.logits.swapaxes(0, 1) for r in (a, b))
            if correct_on_clean(first, a.label)[0]:
                n += 1
                only += bool(has_succeeded(second, b.label)[-1, 0] and not has_succeeded(first, a.label)[-1, 0])
        assert (row["n"], row["only_again"]) == (n, only)
    assert frame["only_again"].sum() > 0
    assert frame["loss"].unique().to_list() == ["margin"]
