"""What must hold for every attack, judged by code that is not the attack."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_networks import small_cnn
from torch import nn

import advassay as aa
from advassay.attacks import Item, tune_batch_size
from advassay.attacks.attack_step import PERTURBATION_COLUMNS, measure_perturbation
from advassay.attacks.engine.scheduler import BatchScheduler
from advassay.attacks.stream import stream
from advassay.errors import AttackError
from advassay.trajectory import TrajectoryRows

UPDATES = [("projected-sign", 0.01), ("projected-gradient", 10.0), ("literal", 1.0), ("apgd", 0.01)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rule=st.sampled_from(UPDATES),
    norm=st.sampled_from(["linf", "l2"]),
    loss=st.sampled_from(["cross-entropy", "probability", "margin", "dlr"]),
    epsilon=st.sampled_from([1e-3, 0.02, 5 / 255, 0.3, 1.0]),
    random_start=st.booleans(),
    seed=st.integers(0, 3),
)
def test_perturbations_stay_in_the_ball_and_the_pixel_range(rule, norm, loss, epsilon, random_start, seed):
    classifier = aa.Classifier(small_cnn(side=8, seed=seed))
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(seed)).round(decimals=1)
    labels = torch.tensor([0, 1, 2])
    attack = aa.PGD(epsilon, rule[1], steps=4, update=rule[0], norm=norm, loss=loss, random_start=random_start)
    t = aa.attack(classifier, images, labels, attack)
    assert t.adversarial_images.min() >= 0
    assert t.adversarial_images.max() <= 1
    delta = (t.adversarial_images.astype(np.float64) - images.double().numpy()).reshape(3, -1)
    if norm == "linf":
        assert rule[0] == "literal" or np.abs(delta).max() <= epsilon + 2**-24
        np.testing.assert_allclose(t.linf[-1], np.abs(delta).max(1), rtol=1e-6)
    else:
        slack = 1e-6 if epsilon >= 0.1 else 1e-4  # below that, rounding of pixels near 1 is larger than 1e-6 of ε
        assert rule[0] == "literal" or np.linalg.norm(delta, axis=1).max() <= epsilon * (1 + slack)
        np.testing.assert_allclose(t.l2[-1], np.linalg.norm(delta, axis=1), rtol=1e-6)


@pytest.mark.parametrize("rules", [dict(epsilon=0), dict(epsilon=0.1, steps=0), dict(epsilon=0.1, step_size=0)])
def test_no_amplitude_no_steps_or_no_step_size_leave_the_image_and_the_accuracy(classifier, images, labels, rules):
    labels = (labels + torch.arange(8) % 2) % 3
    t = aa.attack(classifier, images, labels, aa.PGD(**{"steps": 3, **rules}))
    np.testing.assert_array_equal(t.adversarial_images, images.numpy())
    assert t.robust_accuracy()[-1] == t.robust_accuracy()[0] == 0.5


@pytest.mark.parametrize("precision", ["exact", "fast32", "fast"])
def test_order_neighbours_and_shards_do_not_change_a_bit_at_one_compute_shape(images, labels, precision):
    network = small_cnn(side=16)
    classifier = aa.Classifier(network)
    arm = aa.Arm(epsilons=(0.01, 0.02, 0.05), step_sizes=(0.01, "epsilon/4"), steps=5, precision=precision)
    points = frozenset((s, e) for s in ("0.01", "epsilon/4") for e in arm.epsilons)
    items = [Item(str(i), x.numpy(), int(y), points) for i, (x, y) in enumerate(zip(images, labels, strict=True))]
    shape = tune_batch_size(classifier, items[0].image, precision=precision, most=4).model_copy(
        update={"batch_size": 4}
    )

    def paths(parts: list[list[Item]]) -> dict[tuple, tuple[np.ndarray, ...]]:
        """Everything recorded of each row; where steering is cheap, the logits that float32 always judges."""
        rows = TrajectoryRows.concatenate([b for part in parts for b in stream(classifier, part, arm, shape=shape)])
        whole = (rows.logits, rows.gradient_norm, rows.linf, rows.l2, rows.boundary_share, rows.scored_float32)
        kept = whole if precision == "exact" else (rows.logits[:, [0, -1]], _first_successes(rows))
        keys = zip(rows.image_id, rows.step_size, rows.epsilon, strict=True)
        return {(str(i), str(s), float(e)): tuple(k[r] for k in kept) for r, (i, s, e) in enumerate(keys)}

    whole = paths([items])
    other = paths([items[5:][::-1], items[:2], items[2:5]])
    assert whole.keys() == other.keys()
    assert len(whole) == 8 * 6
    for key, path in whole.items():
        for ours, theirs in zip(path, other[key], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def _first_successes(rows: TrajectoryRows) -> np.ndarray:
    """Step of each row's first success and its logits, (row, 1 + class); 0 where there is none."""
    first = (rows.logits.argmax(-1) != rows.label[:, None]).argmax(1)
    return np.column_stack([first, rows.logits[np.arange(len(rows)), first]])


def test_random_start_is_keyed_by_image_and_seed_not_by_place(classifier, images, labels):
    attack = aa.PGD(0.05, steps=2, random_start=True, seed=7)
    ids = [f"image-{i}" for i in range(8)]
    forward = aa.attack(classifier, images, labels, attack, image_ids=ids, batch_size=1)
    back = aa.attack(classifier, images.flip(0), labels.flip(0), attack, image_ids=ids[::-1], batch_size=1)
    np.testing.assert_array_equal(forward.adversarial_images, back.adversarial_images[::-1])
    other = aa.attack(classifier, images, labels, attack.model_copy(update={"seed": 8}), image_ids=ids)
    assert not np.array_equal(other.adversarial_images, forward.adversarial_images)


def test_a_grey_image_gets_one_perturbation_for_all_channels(labels):
    classifier = aa.Classifier(small_cnn(channels=3, side=16), mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 3.0])
    grey = torch.rand(8, 1, 16, 16)
    t = aa.attack(classifier, grey, labels, aa.PGD(0.05, steps=3))
    assert t.adversarial_images.shape == (8, 1, 16, 16)


def test_restarts_run_for_survivors_only_and_stay_out_of_the_declared_rows(classifier, images, labels):
    arm = aa.Arm(epsilons=(0.01, 0.05), steps=3, random_start=True, restarts=3, precision="exact")
    points = frozenset({("0.01", 0.01), ("0.01", 0.05)})
    items = [Item(str(i), x.numpy(), int(y), points) for i, (x, y) in enumerate(zip(images, labels, strict=True))]
    shape = tune_batch_size(classifier, items[0].image, precision="exact", most=4)
    rows = TrajectoryRows.concatenate(list(stream(classifier, items, arm, shape=shape)))
    fell = (rows.logits[:, -1].argmax(1) != rows.label) & (rows.logits[:, 0].argmax(1) == rows.label)
    begun = {(i, e, r): down for i, e, r, down in zip(rows.image_id, rows.epsilon, rows.restart, fell, strict=True)}
    for (i, e, r), _ in begun.items():
        assert r == 0 or not begun[i, e, r - 1]
    for (i, e, r), down in begun.items():
        assert down or r == 2 or (i, e, r + 1) in begun
    assert {r for _, _, r in begun} > {0}


@pytest.mark.parametrize("step_sizes", [None, [0.01, "epsilon/2"]])
def test_restarts_enter_the_worst_case_alone(classifier, images, labels, step_sizes):
    rules = dict(steps=2, random_start=True, seed=4)
    epsilons = [0.004, 0.01, 0.02, 0.05]
    alone, again = (
        aa.sweep(
            classifier, images, labels, aa.PGD(0.02, 0.01, restarts=n, **rules), epsilons, step_sizes, precision="exact"
        )
        for n in (1, 6)
    )
    np.testing.assert_array_equal(alone.logits, again.logits)
    np.testing.assert_array_equal(alone.worst_case_success_rate(), alone.attack_success_rate()[..., -1])
    worst, declared = again.worst_case_success_rate(), again.attack_success_rate()[..., -1]
    assert (worst >= declared).all()
    assert (worst > declared).any()
    rows = again.restarts
    keys = {(s, e, i, r) for s, e, i, r in zip(rows.step_size, rows.epsilon, rows.image_id, rows.restart, strict=True)}
    assert len(keys) == len(rows)
    felled = rows.logits[:, -1].argmax(1) != rows.label
    assert (worst - declared).sum() == pytest.approx(felled.sum() / 8)


def test_one_attack_reads_its_worst_case_over_restarts_too(classifier, images, labels):
    attack = aa.PGD(0.05, 0.01, steps=2, random_start=True, restarts=6, seed=4)
    t = aa.attack(classifier, images, labels, attack)
    s = aa.sweep(classifier, images, labels, attack, [0.05], precision="exact")
    assert t.worst_case_success_rate() == s.worst_case_success_rate()[0] > t.attack_success_rate()[-1]


def test_first_success_only_gives_the_same_any_curve_for_fewer_gradients(classifier, images, labels):
    epsilons = [0.005, 0.01, 0.02, 0.05]
    for precision in ("exact", "fast"):
        whole = aa.sweep(classifier, images, labels, aa.PGD(0.02, 0.005), epsilons, precision=precision)
        short = aa.sweep(
            classifier, images, labels, aa.PGD(0.02, 0.005), epsilons, precision=precision, first_success_only=True
        )
        np.testing.assert_array_equal(whole.attack_success_rate("any"), short.attack_success_rate("any"))
        assert short.cost.gradient_evaluations < whole.cost.gradient_evaluations
        retired = short.flags["retired"]
        assert retired.any()
        assert np.isnan(short.linf[:, -1][retired]).all()
        assert np.isnan(short.ssim[retired]).all()
        for rate in (short.attack_success_rate, short.robust_accuracy):
            with pytest.raises(AttackError, match="any"):
                rate("last")


@pytest.mark.parametrize("update", ["projected-sign", "apgd"])
def test_iterates_that_wait_are_bounded_by_the_batch_whatever_the_number_of_images(update, monkeypatch):
    """And their places are used again: at 64 images a batch, a place a trajectory would be gigabytes."""
    places = []
    run_batch = BatchScheduler.run_batch

    def looked(scheduler):
        run_batch(scheduler)
        places.append(len(scheduler._pool))

    monkeypatch.setattr(BatchScheduler, "run_batch", looked)
    classifier = aa.Classifier(small_cnn())
    attack, most = aa.PGD(0.02, "epsilon/4", steps=3, update=update), []
    for n in (16, 160):
        images = torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        aa.sweep(classifier, images, classifier(images).argmax(1), attack, [0.01, 0.02, 0.05], batch_size=4)
        most.append(max(places))
        places.clear()
    assert most[1] <= 1.5 * most[0]


@pytest.mark.parametrize("at_once", [1, 2000])
@pytest.mark.parametrize("update", ["projected-sign", "literal", "apgd"])
def test_what_is_projected_and_measured_together_changes_no_bit(
    classifier, images, labels, update, at_once, monkeypatch
):
    def sweep() -> aa.Sweep:
        return aa.sweep(classifier, images, labels, aa.PGD(0.02, 0.01, steps=4, update=update), [0.01, 0.05],
                        precision="exact")  # fmt: skip

    whole = sweep()
    monkeypatch.setattr("advassay.attacks.engine.scheduler.AT_ONCE", at_once)
    pieces = sweep()
    for name in ("logits", "linf", "l2", "boundary_share"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(pieces, name))


class Counting(nn.Module):
    """Remembers the sizes of the batches it is given."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.sizes = inner, set()

    def forward(self, x):
        self.sizes.add(len(x))
        return self.inner(x)


def test_batches_have_one_shape_however_many_images_are_left(images, labels):
    module = Counting(small_cnn())
    run = aa.sweep(
        aa.Classifier(module), images[:7], labels[:7], aa.PGD(0.02), [0.02, 0.1], batch_size=3, precision="exact"
    )
    assert run.cost.batch_size == 3
    assert module.sizes - {1, 2} == {3}  # the guards look at two images, and at one alone


@pytest.mark.parametrize("epsilon", [1e-5, 0.0005, 0.001, 5 / 255, 0.02, 0.2])
def test_a_pixel_put_on_the_boundary_counts_as_on_it_whatever_float32_made_of_it(epsilon):
    clean = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1)) * (1 - 2 * epsilon) + epsilon
    amplitudes = torch.full((2,), epsilon)
    inside = clean + 0.9 * epsilon
    share = PERTURBATION_COLUMNS.index("boundary_share")
    assert measure_perturbation(clean + epsilon, clean, amplitudes, "linf")[:, share].tolist() == [1, 1]
    assert measure_perturbation(inside, clean, amplitudes, "linf")[:, share].max() == 0
