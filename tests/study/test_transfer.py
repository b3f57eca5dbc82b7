"""Transfer: what is listed and refused, and that stored scores are those of torchattacks' images scored by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tiny_study import Counting, cpu
from typer.testing import CliRunner

from advassay.analysis import transfer_by_kind, transfer_matrix
from advassay.analysis.conclusions import conclusions
from advassay.analysis.conclusions.conclusion_text import plan_sentences
from advassay.classifier import Classifier
from advassay.cli.program import app
from advassay.cli.transfer import COLUMNS
from advassay.cohorts import open_cohort
from advassay.errors import SpecError, StoreError, TrainingError
from advassay.identity import draw
from advassay.records import Records, open_records
from advassay.report.data.findings import gather
from advassay.report.text.checklist import QUESTIONS
from advassay.report.text.not_shown import not_shown
from advassay.spec.study_spec import Study
from advassay.store_layout import Store
from advassay.study import parse_study, store_study
from advassay.study.jobs import ATTACK, TRAIN, TRANSFER, enumerate_jobs
from advassay.study.plan.study_plan import plan
from advassay.study.run.preregistration import freeze_analysis_plan
from advassay.study.run.runner import run
from advassay.study.upkeep.forget_patient import forget
from advassay.study.upkeep.merge_stores import merge
from advassay.study.upkeep.superseded_runs import prune
from advassay.training import load_classifier

TWO = """
name: two-architectures
image_size_px: 48
sources:
  chest: {kind: phantoms, phantom: chest, images: 150, size_px: 48, signal: 4, prevalence: {tuberculosis: 0.5}}
cohorts:
  X-TB:
    source: chest
    image_type: X-ray
    classes: {tuberculosis: {tuberculosis: present}, norm: {norm: present}}
    per_class: 60
    train_sizes: [0.5]
training: {architectures: [test_resnet, test_vit], updates: 12, batch_size: 16, evaluations: 1, learning_rate: 0.004}
attack:
  steps: 4
  precision: exact
  images: 12
  epsilons: [0.02, 0.04]
  series_epsilons: [0.02]
  controls: false
  transfer: true
"""


@pytest.fixture(scope="module")
def study() -> Study:
    return parse_study(TWO)


@pytest.fixture(scope="module")
def transferred(tmp_path_factory: pytest.TempPathFactory, study: Study) -> Path:
    """A store of two architectures × (all images, half of them), run to its end. Read only."""
    store = tmp_path_factory.mktemp("transferred") / "store"
    run(study, cpu(store))
    return store


def test_every_network_is_attacked_for_every_other_and_only_the_main_architecture_otherwise(study: Study) -> None:
    jobs = enumerate_jobs(study)
    stages = [job.stage for job in jobs]
    assert (stages.count(TRAIN), stages.count(TRANSFER), stages.count(ATTACK)) == (4, 4, 2)
    trained = {job.id for job in jobs if job.stage == TRAIN}
    assert all(trained <= set(job.waits_for) for job in jobs if job.stage == TRANSFER)
    assert [job.what for job in jobs if job.stage == TRANSFER][-1] == (
        "transfer of X-TB, test_vit, 0.5 of the training images, seed 0, arm A"
    )


def test_the_main_networks_of_a_study_with_transfer_are_those_of_one_without(study: Study) -> None:
    """The identities of networks and runs do not depend on what else is trained."""
    alone = parse_study(TWO.replace("architectures: [test_resnet, test_vit]", "architecture: test_resnet")
                           .replace("transfer: true", "transfer: false"))  # fmt: skip
    assert study.training.of() == alone.training
    assert study.training.of("test_vit").architecture == "test_vit"
    assert "architectures" not in alone.training.model_dump()
    assert "transfer" not in alone.attack.model_dump()
    assert "transfer" not in alone.analysis.margins.model_dump()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("transfer: true", "transfer: false", "training.architectures: one name, or attack.transfer: true"),
        (
            "architectures: [test_resnet, test_vit]",
            "architectures: [test_vit, test_vit]",
            "expected each name once",
        ),
        ("architectures: [test", "architecture: test_vit, architectures: [test", "leave it out, or name the first"),
        ("updates: 12", "weights: w.safetensors, updates: 12", "null with several architectures"),
        ("    train_sizes: [0.5]\n", "    split: none\n", "every cohort needs at least two networks"),
    ],
)
def test_combinations_that_mean_nothing_are_refused(before: str, after: str, said: str) -> None:
    assert before in TWO
    with pytest.raises(SpecError, match=said):
        parse_study(TWO.replace(before, after))


def test_one_network_alone_has_nothing_to_transfer_to() -> None:
    text = TWO.replace("architectures: [test_resnet, test_vit]", "architecture: test_resnet")
    with pytest.raises(SpecError, match="not so: X-TB"):
        parse_study(text.replace("    train_sizes: [0.5]\n", ""))


def test_a_further_architecture_that_cannot_take_the_images_is_refused_at_plan(tmp_path: Path) -> None:
    text = TWO.replace("image_size_px: 48", "image_size_px: 40")
    with pytest.raises(TrainingError, match="test_vit cannot take 40 px"):
        plan(parse_study(text), cpu(tmp_path / "s"), timed=False)


def test_the_plan_prices_transfers_and_finds_them_done(study: Study, transferred: Path, tmp_path: Path) -> None:
    before, after = (plan(study, cpu(where), timed=False) for where in (tmp_path / "empty", transferred))
    told = {(row.stage, row.what.split(",")[-1].strip()): row for row in before.rows if row.stage == "scoring"}
    assert sum(row.total for row in before.rows if row.stage == "transfer") == 4 * 12 * (4 + 2)
    assert {row.total for row in told.values()} == {12 * (1 + 2 * 2) * 2}
    assert all(row.have == 0 for row in before.rows)
    assert [(row.stage, row.missing) for row in after.rows if row.missing] == []
    assert {row.architecture for row in after.rows if row.stage == "scoring"} == {"", "test_vit"}


def _noise(clean: torch.Tensor, attacked: torch.Tensor, image_id: str) -> torch.Tensor:
    """The noise of FORMAT.md, written down anew."""
    generator = torch.Generator().manual_seed(draw(0, image_id, "transfer noise") >> 1)
    signs = torch.randint(0, 2, clean.shape, generator=generator).float() * 2 - 1
    return (clean + (attacked - clean).abs() * signs).clamp(0, 1)


def test_stored_scores_are_those_of_torchattacks_images_and_of_noise_scored_by_hand(transferred: Path) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    store, records = Store(transferred), open_records(transferred)
    cohort = open_cohort(store.cohort("X-TB"))
    ids = cohort.attack_sample(12)
    images, labels = torch.from_numpy(cohort.images(ids)), torch.from_numpy(cohort.labels(ids))
    networks = {one.classifier: load_classifier(store.classifier(one.classifier) / "model.safetensors", device="cpu")
                for one in records.trainings}  # fmt: skip
    assert len(records.transfers) == 16
    attacked: dict[tuple[str, float], torch.Tensor] = {}
    for name, network in networks.items():
        with network.attack_mode():
            for epsilon in (0.02, 0.04):
                peer = torchattacks.PGD(network, eps=epsilon, alpha=0.01, steps=4, random_start=False)
                # All twelve at once, one pixel of one image moved the other way on an AMD EPYC (a gradient of about 0).
                parts = zip(images.split(4), labels.split(4), strict=True)
                attacked[name, epsilon] = torch.cat([peer(some, of) for some, of in parts])
    changed = 0
    for opened in records.transfers:
        rows, source = opened.rows(), str(opened.header.source_classifier)
        target = networks[opened.header.classifier]
        for epsilon in (0.02, 0.04):
            here = rows.take(rows.epsilon == epsilon)
            place = [ids.index(image_id) for image_id in here.image_id]
            moved = attacked[source, epsilon][place]
            noise = torch.stack([_noise(images[i], moved[k], ids[i]) for k, i in enumerate(place)])
            with target.attack_mode(), torch.no_grad():
                by_hand = torch.stack([target(x) for x in (images[place], noise, moved)], dim=1).numpy()
            np.testing.assert_allclose(here.logits, by_hand, rtol=1e-4, atol=1e-5)
            assert (here.logits.argmax(-1) == by_hand.argmax(-1)).all()
            size = (moved - images[place]).abs().flatten(1)
            np.testing.assert_allclose(here.linf[:, 2], size.amax(1), rtol=1e-6)
            assert (here.linf[:, 1] <= here.linf[:, 2] + 1e-6).all()
            assert (here.l2[:, 1] <= here.l2[:, 2] + 1e-5).all()
            assert (here.l2[:, 1] >= 0.7 * here.l2[:, 2]).all()
            changed += int((here.logits[:, 0].argmax(-1) != here.logits[:, 2].argmax(-1)).sum())
    assert changed > 12  # the attack does something, or the test would say little


def _success_matrix(
    store: Path, make: Callable[[Classifier, float, torch.Tensor, torch.Tensor], torch.Tensor]
) -> pl.DataFrame:
    """Source × target × ε: n and events, as somebody counts them who has the networks and another library's images."""
    records = open_records(store)
    cohort = open_cohort(Store(store).cohort("X-TB"))
    ids = cohort.attack_sample(12)
    images, labels = torch.from_numpy(cohort.images(ids)), torch.from_numpy(cohort.labels(ids))
    found = []
    networks = {}
    for opened in records.transfers:
        head = opened.header
        networks[_name(head)] = load_classifier(
            Store(store).classifier(head.classifier) / "model.safetensors", device="cpu"
        )

    def right(network: Classifier, of: torch.Tensor) -> torch.Tensor:
        with network.attack_mode(), torch.no_grad():
            return network(of).argmax(1) == labels

    for source, attacked in networks.items():
        for epsilon in (0.02, 0.04):
            with attacked.attack_mode():
                moved = make(attacked, epsilon, images, labels)
            for target, network in networks.items():
                both = right(attacked, images) & right(network, images)
                events = both & ~right(network, moved)
                found.append({"source": source, "target": target, "epsilon": epsilon,
                              "n": int(both.sum()), "events": int(events.sum())})  # fmt: skip
    return pl.DataFrame(found).sort("source", "target", "epsilon")


def _ours(store: Path) -> pl.DataFrame:
    frame = transfer_matrix(open_records(store))
    return frame.select("source", "target", "epsilon", "n", "events").sort("source", "target", "epsilon")


def test_the_success_matrix_is_that_of_torchattacks_images_scored_by_hand(transferred: Path) -> None:
    torchattacks = pytest.importorskip("torchattacks")

    def pgd(network: Classifier, epsilon: float, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torchattacks.PGD(network, eps=epsilon, alpha=0.01, steps=4, random_start=False)(
            images, labels
        )
        return found

    by_hand = _success_matrix(transferred, pgd)
    assert by_hand["events"].sum() > 12
    assert _ours(transferred).equals(by_hand)


def test_the_success_matrix_is_near_that_of_arts_images_scored_by_hand(transferred: Path) -> None:
    """ART clips to the ball in another order, so that pixels differ in the last bit and a sign of a gradient near 0 may
    turn: at most one image in a cell, and one in fifty of all, is decided otherwise."""
    attacks = pytest.importorskip("art.attacks.evasion", reason="the Adversarial Robustness Toolbox is not installed")
    estimators = pytest.importorskip("art.estimators.classification")

    def pgd(network: Classifier, epsilon: float, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        wrapped = estimators.PyTorchClassifier(
            network, torch.nn.CrossEntropyLoss(), tuple(images.shape[1:]), 2, clip_values=(0.0, 1.0), device_type="cpu"
        )
        peer = attacks.ProjectedGradientDescentPyTorch(
            wrapped, eps=epsilon, eps_step=0.01, max_iter=4, num_random_init=0, batch_size=12, verbose=False
        )
        return torch.from_numpy(peer.generate(images.numpy(), np.eye(2, dtype=np.float32)[labels.numpy()]))

    by_hand, ours = _success_matrix(transferred, pgd), _ours(transferred)
    assert by_hand.drop("events").equals(ours.drop("events"))
    apart = (by_hand["events"] - ours["events"]).abs()
    assert by_hand["events"].sum() > 12
    assert apart.max() <= 1  # type: ignore[operator]
    assert apart.sum() <= ours["n"].sum() / 50


def test_the_matrix_counts_what_the_rows_hold(transferred: Path) -> None:
    records = open_records(transferred)
    frame = transfer_matrix(records)
    assert len(frame) == 16 * 2
    runs = {(o.header.source_classifier, o.header.classifier): o.rows() for o in records.transfers}
    for opened in records.transfers:
        head, key = opened.header, (str(opened.header.source_classifier), opened.header.classifier)
        for epsilon in (0.02, 0.04):
            here, own = (rows.take(rows.epsilon == epsilon) for rows in (runs[key], runs[key[0], key[0]]))
            assert here.image_id.tolist() == own.image_id.tolist()
            right = here.logits.argmax(-1) == here.label[:, None]
            both = right[:, 0] & (own.logits[:, 0].argmax(-1) == own.label)
            row = frame.filter(
                (pl.col("epsilon") == epsilon) & (pl.col("target") == _name(head)) & (pl.col("source") == _source(head))
            ).row(0, named=True)
            assert (row["n"], row["events"], row["noise_events"]) == (
                both.sum(), (both & ~right[:, 2]).sum(), (both & ~right[:, 1]).sum()
            )  # fmt: skip
    kinds = transfer_by_kind(records)
    whole = kinds.filter(pl.col("kind") == "all others")
    by_hand = (
        frame.filter(pl.col("kind") != "itself").group_by("epsilon").agg(pl.col("n", "events", "noise_events").sum())
    )
    for row in whole.join(by_hand, on="epsilon", suffix="_sum").iter_rows(named=True):
        assert (row["n"], row["events"], row["noise_events"]) == (
            row["n_sum"], row["events_sum"], row["noise_events_sum"]
        )  # fmt: skip
        assert row["difference"] == pytest.approx((row["events"] - row["noise_events"]) / row["n"])


def _name(head: object) -> str:
    size = "" if head.full else f", {head.train_size} images"  # type: ignore[attr-defined]
    return f"{head.architecture}{size}, seed {head.seed}"  # type: ignore[attr-defined]


def _source(head: object) -> str:
    size = "" if head.source_full else f", {head.source_train_size} images"  # type: ignore[attr-defined]
    return f"{head.source_architecture}{size}, seed {head.source_seed}"  # type: ignore[attr-defined]


def test_the_attack_of_a_transfer_is_the_recorded_one(transferred: Path) -> None:
    """What the source itself scores at its last iterates is what the main arm's own run recorded there."""
    records = open_records(transferred)
    main = next(opened for opened in records.runs if opened.header.primary)
    own = next(
        o for o in records.transfers if o.header.source_classifier == o.header.classifier == main.header.classifier
    )
    rows, scored = main.rows(), own.rows()
    for name in ("image_id", "step_size", "epsilon"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(scored, name))
    np.testing.assert_allclose(scored.logits[:, 2], rows.logits[:, -1], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(scored.linf[:, 2], rows.linf[:, -1])


def _rows(records: Records) -> dict[str, list[list[float]]]:
    return {opened.header.run_id: opened.rows().logits.tolist() for opened in records.transfers}


def test_a_transfer_that_was_stopped_goes_on_to_the_same_records(
    study: Study, transferred: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(transferred, store)
    gone = sorted(store.glob("transfer/*"))
    shutil.rmtree(gone[0])
    for shard in gone[5].glob("shards/*"):
        shard.unlink()
    counted = Counting()
    run(study, cpu(store, progress=counted))
    assert {task.split()[0] for task in counted.tasks if "attack" in task or "transfer" in task} == {"transfer"}
    assert _rows(open_records(store)) == _rows(open_records(transferred))
    again = Counting()
    run(study, cpu(store, progress=again))
    assert not any("transfer" in task for task in again.tasks)


def test_question_6_is_asked_where_images_were_transferred_and_nowhere_else(transferred: Path, finished: Path) -> None:
    assert [one.number for one in conclusions(open_records(transferred))] == [1, 2, 3, 4, 5, 6]
    assert [one.number for one in conclusions(open_records(finished))] == [1, 2, 3, 4, 5]


def test_the_five_questions_do_not_see_networks_that_take_part_in_transfer_alone(transferred: Path) -> None:
    records = open_records(transferred)
    assert {header.architecture for header in records.headers} == {"test_resnet"}
    assert {opened.header.architecture for opened in records.transfers} == {"test_resnet", "test_vit"}


def test_a_study_without_transfer_leaves_earlier_transfers_out_and_prune_removes_them(
    transferred: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(transferred, store)
    text = TWO.replace("architectures: [test_resnet, test_vit]", "architecture: test_resnet")
    run(parse_study(text.replace("transfer: true", "transfer: false")), cpu(store))
    assert open_records(store).transfers == ()
    assert len(prune(Store(store)).runs) == 16
    assert list(store.glob("transfer/*")) == []


def test_a_patient_who_is_taken_out_is_in_no_transfer(transferred: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(transferred, store)
    before = open_records(store).transfers[0].images
    patient = before["patient_id"][0]
    images = before.filter(pl.col("patient_id") == patient)["image_id"].to_list()
    forget(Store(store), patient)
    after = open_records(store).transfers
    assert len(after) == 16
    assert not any(opened.images["image_id"].is_in(images).any() for opened in after)
    assert not any(set(opened.rows().image_id) & set(images) for opened in after)


def test_stores_of_one_study_join_their_transfers(transferred: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(transferred, store)
    for folder in sorted(store.glob("transfer/*"))[:3]:
        shutil.rmtree(folder)
    merge(Store(store), Store(transferred))
    assert _rows(open_records(store)) == _rows(open_records(transferred))


def test_scores_of_a_source_with_other_weights_are_not_joined(transferred: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(transferred, store)
    header = next(store.glob("transfer/*/header.json"))
    content = json.loads(header.read_text())
    del content["content_sha256"]
    header.write_text(json.dumps(content | {"source_weights_sha256": "0" * 64}))
    with pytest.raises(StoreError, match="is of other weights"):
        merge(Store(store), Store(transferred))


def test_the_verb_adds_transfer_to_a_store_and_the_plan_says_that_it_was_added(
    transferred: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    before = TWO.replace("architectures: [test_resnet, test_vit]", "architecture: test_resnet")
    run(parse_study(before.replace("transfer: true", "transfer: false")), cpu(store))
    asked = ["transfer", str(store), "--set", "training.architectures=[test_resnet, test_vit]", "--device", "cpu"]
    done = CliRunner().invoke(app, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    assert _rows(open_records(store)) == _rows(open_records(transferred))
    rows = json.loads(done.stdout)
    assert {row["run_id"] for row in rows} == _rows(open_records(store)).keys()
    assert all(row.keys() == COLUMNS.keys() for row in rows)
    planned = {one.number: one.prespecified for one in conclusions(open_records(store))}
    assert planned == {1: True, 2: True, 3: True, 4: True, 5: True, 6: False}
    assert "transfer asked for yes instead of no" in " ".join(plan_sentences(open_records(store)))
    again = CliRunner().invoke(app, asked)
    assert again.exit_code == 0
    assert "16 pairs of networks" in again.stderr


def test_the_verb_refuses_a_store_of_one_network_and_a_folder_that_is_no_store(tmp_path: Path) -> None:
    alone = TWO.replace("architectures: [test_resnet, test_vit]", "architecture: test_resnet")
    alone = alone.replace("transfer: true", "transfer: false").replace("    train_sizes: [0.5]\n", "")
    (tmp_path / "store").mkdir()
    store_study(Store(tmp_path / "store"), parse_study(alone))
    refused = CliRunner().invoke(app, ["transfer", str(tmp_path / "store"), "--device", "cpu"])
    assert refused.exit_code == SpecError.exit_code
    assert "every cohort needs at least two networks" in " ".join(refused.stderr.split())
    nowhere = CliRunner().invoke(app, ["transfer", str(tmp_path / "nowhere")])
    assert nowhere.exit_code == StoreError.exit_code
    assert not (tmp_path / "nowhere").exists()


def test_the_frozen_plan_says_what_was_asked_and_one_that_does_not_stays_as_it_is(
    study: Study, transferred: Path, tmp_path: Path
) -> None:
    document = open_records(transferred).analysis
    assert document is not None
    assert (document.transfer, document.features) == (True, False)
    assert all(one.prespecified for one in conclusions(open_records(transferred)))
    assert (
        "question 6 (transfer), up to 5 percentage points count as none" in plan_sentences(open_records(transferred))[0]
    )
    store = tmp_path / "store"
    shutil.copytree(transferred, store)
    path = store / "analysis.json"
    older = {name: value for name, value in json.loads(path.read_text()).items()
             if name not in ("transfer", "features", "content_sha256")}  # fmt: skip
    path.write_text(json.dumps(older))
    kept = freeze_analysis_plan(study, Store(store))
    assert (kept.transfer, kept.history) == (None, ())
    assert json.loads(path.read_text()) == older
    assert "question 6" not in plan_sentences(open_records(store))[0]


def test_subsets_of_one_seed_stand_apart_because_their_networks_began_alike(transferred: Path) -> None:
    kinds = transfer_by_kind(open_records(transferred))["kind"].unique().to_list()
    assert "other training subset, same seed" in kinds
    assert "other training subset, other seed" not in kinds  # both networks of an architecture are of seed 0


def test_the_page_does_not_say_that_no_other_network_was_used_where_images_were_transferred(transferred: Path) -> None:
    findings = gather(transferred)
    assert "another network" not in " ".join(not_shown(findings))
    for item in ("2.2.2 Black-box evasion", "2.2.3 Transferability"):
        rows = findings.tables["regulations"].filter(item=item)
        assert rows["answer"].to_list() == ["partly"]
        assert "transfer_matrix" in rows["where"][0]
    answers = {question: ask(findings) for question, ask in QUESTIONS.items()}
    assert answers["Was an attack through a substitute model tried?"].verdict == "yes"
    tried = answers["Were noise, transfer and black-box attacks tried as well?"]
    assert (tried.verdict, tried.evidence.partition("Not tried: ")[2]) == ("partly", "black-box attacks.")
