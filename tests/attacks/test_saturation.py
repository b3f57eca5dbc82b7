"""Scaling the logits changes no decision; what a loss loses by it must be flagged, and recovered by the re-run."""

import numpy as np
import pytest
import torch
from torch import nn

import advassay as aa

SCALES = (1, 3, 10, 30, 100, 300, 1000)


class Scaled(nn.Module):
    def __init__(self, module: nn.Module, scale: float) -> None:
        super().__init__()
        self.module, self.scale = module, scale

    def forward(self, x):
        return self.module(x) * self.scale


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A small confident network on images whose brighter half gives the class."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(256, 1, 8, 8, generator=generator)
    y = (x[..., :4].mean((1, 2, 3)) > x[..., 4:].mean((1, 2, 3))).long()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(200):
        loss = nn.functional.cross_entropy(network(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval(), x[:64], network(x[:64]).argmax(1)


def sweep(module: nn.Module, x: torch.Tensor, y: torch.Tensor, loss: str, precision: str = "exact") -> aa.Sweep:
    return aa.sweep(aa.Classifier(module), x, y, aa.PGD(0.02, 0.005, steps=10, loss=loss), [0.02], precision=precision)


def fell(s: aa.Sweep, y: torch.Tensor) -> np.ndarray:
    return s.logits[0, -1].argmax(1) != y.numpy()


def test_margin_success_is_the_same_at_every_scale_and_losses_of_cross_entropy_are_flagged(trained):
    network, x, y = trained
    reference = fell(sweep(network, x, y, "margin"), y)
    assert 0.2 < reference.mean() < 0.9
    lost = 0
    for scale in SCALES:
        scaled = Scaled(network, scale)
        assert np.array_equal(fell(sweep(scaled, x, y, "margin"), y), reference)
        s = sweep(scaled, x, y, "cross-entropy")
        missing = reference & ~fell(s, y)
        flagged = s.flags["zero_gradient"][0] | s.flags["saturated"][0]
        assert flagged[missing].all()
        lost += missing.sum()
    assert lost > 20  # the table would prove nothing if no success were lost


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_the_linked_rerun_recovers_what_saturation_hid_and_overwrites_nothing(trained, precision):
    network, x, y = trained
    s = sweep(Scaled(network, 1000), x, y, "cross-entropy", precision)
    assert s.attack_success_rate()[0, -1] < 0.1
    assert s.rerun is not None
    assert s.rerun.attack.loss == "margin"
    numb = s.flags["zero_gradient"][0] | s.flags["saturated"][0]
    assert s.rerun.image_ids == tuple(np.array(s.image_ids)[numb])
    recovered = dict(zip(s.rerun.image_ids, s.rerun.logits[0, -1].argmax(1) != s.rerun.labels, strict=True))
    expected = fell(sweep(network, x, y, "margin"), y)
    agree = [recovered[i] == expected[int(i)] for i in s.rerun.image_ids]
    assert np.mean(agree) > (0.99 if precision == "exact" else 0.9)
    assert sweep(network, x, y, "margin").rerun is None


def test_a_sigmoid_head_does_not_make_positives_look_more_robust(trained):
    """(N, 1) head z = z₁ − z₀: the same decisions as the two-logit network, class by class, under every loss."""
    network, x, y = trained

    class OneOutput(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x):
            z = self.network(x)
            return z[:, 1:] - z[:, :1]

    for loss in ("cross-entropy", "margin"):
        for scale in (1, 3):
            one, two = (fell(sweep(Scaled(m, scale), x, y, loss), y) for m in (OneOutput(), network))
            for label in (0, 1):
                of_class = y.numpy() == label
                assert abs(one[of_class].mean() - two[of_class].mean()) <= 1.5 / of_class.sum()


def test_a_multi_label_head_is_attacked_on_the_finding_it_is_asked_about(trained):
    network, x, y = trained

    class TwoFindings(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x):
            z = self.network(x)
            return torch.stack([torch.full_like(z[:, 0], 50.0), z[:, 1] - z[:, 0]], dim=1)

    classifier = aa.Classifier(TwoFindings(), finding=1)
    attack = aa.PGD(0.02, 0.005, steps=10, loss="margin")
    found = aa.sweep(classifier, x, y, attack, [0.02], precision="exact")
    np.testing.assert_array_equal(fell(found, y), fell(sweep(network, x, y, "margin"), y))
