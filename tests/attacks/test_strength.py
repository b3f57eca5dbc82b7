"""APGD against the published implementation, and the controls that use it."""

import warnings

import numpy as np
import pytest
import torch
from tiny_networks import small_cnn
from torch import nn

import advassay as aa
from advassay.attacks import run_controls, tune_batch_size
from advassay.attacks.attack_step import Visit
from advassay.attacks.random_init import sign_noise
from advassay.attacks.ssim import similarities, ssim
from advassay.attacks.update_rules.auto_pgd import AutoPGD, checkpoints
from advassay.trajectory import TrajectoryRows

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # imports modules that its own dependencies have deprecated
    torchattacks = pytest.importorskip("torchattacks")


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    x = torch.rand(320, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    y = x[:, :, 4:9, 4:9].mean((2, 3)).argmax(1)
    network = small_cnn()
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(60):
        loss = nn.functional.cross_entropy(network(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval(), x[:64], y[:64]


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.01), ("l2", 0.2)])
@pytest.mark.parametrize("loss", ["cross-entropy", "dlr", "margin"])
def test_apgd_is_as_strong_as_torchattacks_apgd(trained, norm, epsilon, loss):
    network, x, y = trained
    attack = aa.PGD(epsilon, steps=20, update="apgd", loss=loss, norm=norm)
    ours = aa.attack(aa.Classifier(network), x, y, attack).robust_accuracy()[-1]
    peer = torchattacks.APGD(
        network, norm={"linf": "Linf", "l2": "L2"}[norm], eps=epsilon, steps=20, loss="dlr" if loss == "dlr" else "ce"
    )
    theirs = float((network(peer(x, y)).argmax(1) == y).float().mean())
    clean = float((network(x).argmax(1) == y).float().mean())
    assert theirs < clean - 0.1
    assert ours <= theirs + 1.5 / 64


def test_targeted_apgd_reaches_its_target(trained):
    _, x, _ = trained
    network = small_cnn(classes=5, seed=2)
    labels = network(x).argmax(1)
    targets = (labels + 1) % 5
    attack = aa.PGD(0.3, steps=20, update="apgd", loss="dlr", targeted=True)
    t = aa.attack(aa.Classifier(network), x, labels, attack, targets=targets)
    assert t.attack_success_rate()[-1] > 0.9


def test_success_is_never_lost_under_apgd(trained):
    network, x, y = trained
    t = aa.attack(aa.Classifier(network), x, y, aa.PGD(0.01, steps=20, update="apgd", loss="margin", random_start=True))
    np.testing.assert_array_equal(t.attack_success_rate("last"), t.attack_success_rate("any"))
    assert not t.flags["success_lost"].any()


def test_checkpoints_are_the_papers():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]


def test_apgd_for_first_successes_fells_the_same_images_with_fewer_gradients(trained):
    network, x, y = trained
    attack, grid = aa.PGD(0.01, steps=20, update="apgd", loss="margin", restarts=2), [0.003, 0.01, 0.3]
    whole, first = (
        aa.sweep(aa.Classifier(network), x, y, attack, grid, precision="exact", batch_size=16, first_success_only=only)
        for only in (False, True)
    )
    np.testing.assert_array_equal(whole.attack_success_rate("any")[:, -1], first.attack_success_rate("any")[:, -1])
    assert first.cost.gradient_evaluations < whole.cost.gradient_evaluations
    assert first.flags["retired"][-1].mean() > 0.9


@pytest.mark.parametrize("first_success_only", [True, False])
def test_restarts_and_what_runs_beside_them_change_no_bit(trained, first_success_only):
    """Restarts take the places of rows that have ended, beside rows at any other step."""
    network, x, y = trained
    attack, grid = aa.PGD(0.01, steps=10, update="apgd", loss="margin", restarts=4), [0.003, 0.01, 0.3]

    def run(some):
        ids = [str(i) for i in range(3)][some]
        classifier, only = aa.Classifier(network), dict(first_success_only=first_success_only)
        return aa.sweep(classifier, x[:3][some], y[:3][some], attack, grid, image_ids=ids, batch_size=16, **only)

    together, alone = run(slice(3)), [run(slice(i, i + 1)) for i in range(3)]
    again = together.restarts, TrajectoryRows.concatenate([s.restarts for s in alone if s.restarts is not None])
    assert len(again[0]) > 3
    places = [np.lexsort([r.restart, r.epsilon, r.image_id]) for r in again]
    for name in ("image_id", "epsilon", "restart", "logits", "gradient_norm", "linf", "ssim"):
        np.testing.assert_array_equal(*(getattr(r, name)[p] for r, p in zip(again, places, strict=True)), err_msg=name)
    np.testing.assert_array_equal(together.logits, np.concatenate([s.logits for s in alone], axis=2))


def test_apgd_counts_rises_of_the_loss_from_the_start_point_on():
    rule, rules, x = AutoPGD(), aa.PGD(0.1, steps=10, loss="margin"), torch.zeros(1, 1, 1, 1)
    state = rule.initial_state(x, torch.tensor([0.1]), classes=2)
    for step, value in enumerate((1.0, 2.0, 1.5, 3.0)):
        visit = Visit(
            x, x, torch.ones_like(x), torch.tensor([[0.0, value]]), torch.tensor([0]), None, torch.tensor([0.1]),
            torch.tensor([0.1]), torch.tensor([step]), state,
        )  # fmt: skip
        state = rule.observe(visit, rules)
    assert state[-1][:, rule.RISES].tolist() == [2.0]


def test_apgd_counts_every_pass(trained):
    network, x, y = trained
    cost = aa.attack(aa.Classifier(network), x[:5], y[:5], aa.PGD(0.01, steps=3, update="apgd"), batch_size=4).cost
    assert (cost.forward_passes, cost.gradient_evaluations) == (10, 15)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_noise_has_the_attacks_amplitude_in_the_attacks_norm(norm):
    grey = torch.full((3, 8, 8), 0.5)
    delta = (sign_noise(grey, 0.3, norm, 0, "a") - grey).flatten()
    size = delta.abs().max() if norm == "linf" else delta.norm()
    assert float(size) == pytest.approx(0.3, rel=1e-5)
    assert 60 < int((delta > 0).sum()) < 132


def test_controls_find_nothing_at_epsilon_zero_little_by_noise_and_what_a_blunt_attack_missed(trained):
    network, x, y = trained
    classifier = aa.Classifier(network)
    blunt = aa.Arm(epsilons=(0.005, 0.01), step_sizes=(0.0001,), steps=2, precision="exact")
    shape = tune_batch_size(classifier, x[0].numpy(), precision="exact", most=8)
    ids = [str(i) for i in range(16)]
    controls = run_controls(classifier, x[:16].numpy(), y[:16].numpy(), ids, blunt, shape=shape, seed=0)
    assert controls.images == 16
    assert controls.epsilon_zero_changed == 0
    fallen, attackable = controls.noise["0.01"]
    check = controls.cross_check["0.01"]
    assert fallen < check["stronger"] <= attackable <= 16
    assert check["missed"] > 0
    assert "apgd" in controls.stronger


def test_ssim_equals_scikit_image():
    from skimage.metrics import structural_similarity

    a = torch.rand(3, 3, 24, 20, generator=torch.Generator().manual_seed(0))
    b = (a + 0.05 * torch.randn(a.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    expected = [
        structural_similarity(p, q, channel_axis=0, data_range=1.0) for p, q in zip(a.numpy(), b.numpy(), strict=True)
    ]
    np.testing.assert_allclose(ssim(a, b), expected, atol=1e-5)


@pytest.mark.parametrize("side", [8, 40, 160])
def test_similarity_is_the_same_bits_alone_and_among_others(side) -> None:
    a, b, c, d = torch.rand(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    pairs = [(a, b), (a, c), (d, b), (a, d)]
    together = similarities(torch.stack([a, d]), torch.stack([y for _, y in pairs]), torch.tensor([0, 0, 1, 0]))
    assert together.tolist() == [ssim(x[None], y[None]).item() for x, y in pairs]


def test_ssim_takes_images_smaller_than_its_window():
    assert ssim(torch.rand(1, 1, 1, 5), torch.rand(1, 1, 1, 5)).shape == (1,)


@pytest.mark.parametrize(
    ("flag", "rules"),
    [
        ("epsilon_inactive", dict(epsilon=0.2, step_size=1e-4, steps=3)),
        ("not_converged", dict(epsilon=0.2, step_size=1e-4, steps=8)),
        ("unchanged", dict(epsilon=0.2, step_size=1e-12, steps=3, update="projected-gradient", loss="probability")),
    ],
)
def test_an_attack_that_did_too_little_is_flagged(trained, flag, rules):
    network, x, y = trained
    t = aa.attack(aa.Classifier(network), x, y, aa.PGD(**rules))
    stands = (t.logits[0].argmax(1) == y.numpy()) & (t.logits[-1].argmax(1) == y.numpy())
    assert stands.sum() > 5
    assert t.flags[flag][stands].mean() > 0.9


def test_success_lost_and_non_monotone_say_what_they_say():
    """A network whose decision is a stripe in brightness: a coarse step jumps over it, a larger ε can overshoot it."""

    class Stripe(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x):
            brightness = x.mean((1, 2, 3)) * self.scale
            return torch.stack([(brightness - 0.53).abs() * 10, torch.full_like(brightness, 0.1)], dim=1)

    images, labels = torch.full((1, 1, 4, 4), 0.5), torch.tensor([0])
    attack = aa.PGD(0.02, 0.031, steps=2, loss="margin")
    s = aa.sweep(aa.Classifier(Stripe()), images, labels, attack, [0.028, 0.2], precision="exact")
    down = s.logits.argmax(-1)[..., 0] == 1
    np.testing.assert_array_equal(down, [[False, True, True], [False, True, False]])
    np.testing.assert_array_equal(s.flags["success_lost"][:, 0], [False, True])
    np.testing.assert_array_equal(s.flags["non_monotone"][:, 0], [False, True])
