"""Linear classifiers: the best perturbation is known, so success has no excuse."""

import numpy as np
import pytest
import torch
from torch import nn

import advassay as aa


def linear(shape: tuple[int, ...], seed: int) -> tuple[aa.Classifier, np.ndarray]:
    """A two-class linear network and w = w₀ − w₁ (what the margin of class 0 is the product with)."""
    torch.manual_seed(seed)
    layer = nn.Linear(int(np.prod(shape)), 2)
    weight = layer.weight.detach().double().numpy()
    return aa.Classifier(nn.Sequential(nn.Flatten(), layer).eval()), weight[0] - weight[1]


@pytest.mark.parametrize("shape", [(1, 4, 6), (3, 5, 7), (1, 1, 8)])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
@pytest.mark.parametrize("loss", ["cross-entropy", "margin", "probability"])
def test_success_exactly_where_the_margin_is_below_epsilon_times_the_dual_norm(shape, batch_size, norm, dual, loss):
    classifier, w = linear(shape, seed=3)
    images = 0.5 + 0.1 * (torch.rand(8, *shape, generator=torch.Generator().manual_seed(0)) - 0.5)
    flat = images.flatten(1).double().numpy()
    classifier.module[1].bias.data = torch.tensor([-np.median(flat @ w), 0.0]).float()  # margins around 0
    clean = classifier(images).detach().double().numpy()
    labels = clean.argmax(1)
    margin = np.abs(clean[:, 0] - clean[:, 1])
    needed = margin / np.linalg.norm(w, dual)
    epsilon = float(np.median(needed))
    assert epsilon < 0.4  # so the box never binds
    clear = np.abs(needed / epsilon - 1) > 1e-4
    attack = aa.PGD(epsilon=epsilon, step_size=epsilon / 4, steps=4, norm=norm, loss=loss)  # optimum in ⌈ε/step⌉ steps
    t = aa.attack(classifier, images, labels, attack, batch_size=batch_size)
    fell = t.logits[-1].argmax(1) != labels
    np.testing.assert_array_equal(fell[clear], (needed < epsilon)[clear])
    reached = margin - epsilon * np.linalg.norm(w, dual)
    left = t.logits[-1, np.arange(8), labels] - t.logits[-1, np.arange(8), 1 - labels]
    np.testing.assert_allclose(left, reached, atol=1e-5)


def test_apgd_finds_the_optimum_of_a_linear_classifier():
    classifier, w = linear((1, 4, 6), seed=1)
    images = torch.full((1, 1, 4, 6), 0.5)
    clean = classifier(images).detach().numpy()[0]
    attack = aa.PGD(epsilon=0.1, steps=10, update="apgd", loss="margin")
    t = aa.attack(classifier, images, torch.tensor([int(clean.argmax())]), attack)
    left = np.sort(t.logits[-1, 0]) if t.logits[-1, 0].argmax() == clean.argmax() else -np.sort(t.logits[-1, 0])
    expected = abs(clean[0] - clean[1]) - 0.1 * np.abs(w).sum()
    assert abs(abs(left[1] - left[0]) - abs(expected)) < 1e-5


def test_literal_and_projected_gradient_as_worked_out_by_hand():
    """One pixel pair, logits (2a − b, 0): the gradient of −z₀ + z₁ (margin) is (−2, +1) everywhere."""
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = torch.tensor([[2.0, -1.0], [0.0, 0.0]])
    classifier = aa.Classifier(nn.Sequential(nn.Flatten(), layer).eval())
    images = torch.tensor([[[[0.5, 0.5]]]])

    def end(update: str, **rules: float) -> np.ndarray:
        attack = aa.PGD(update=update, loss="margin", **rules)
        return aa.attack(classifier, images, torch.tensor([0]), attack).adversarial_images.ravel()

    # literal: gradient clipped to ±0.3, two steps of 0.1: moves 2·0.1·0.3 = 0.06 down and up
    np.testing.assert_allclose(end("literal", epsilon=0.3, step_size=0.1, steps=2), [0.44, 0.56], atol=1e-7)
    # clipped to ±1: (−1, 1); nothing is projected
    np.testing.assert_allclose(end("literal", epsilon=1.0, step_size=0.1, steps=2), [0.3, 0.7], atol=1e-7)
    # literal in L2: (−2, 1) has length √5; clipped to length 0.5
    np.testing.assert_allclose(
        end("literal", epsilon=0.5, step_size=0.1, steps=1, norm="l2"),
        [0.5 - 0.1 * 2 * 0.5 / 5**0.5, 0.5 + 0.1 * 0.5 / 5**0.5],
        atol=1e-7,
    )
    # projected-gradient: step 0.02·(−2, 1), then clamp to ±0.05: after two steps (−0.05, +0.04)
    np.testing.assert_allclose(
        end("projected-gradient", epsilon=0.05, step_size=0.02, steps=2), [0.45, 0.54], atol=1e-7
    )
    # the image is clipped to [0, 1] even when ε allows more
    np.testing.assert_allclose(end("literal", epsilon=1.0, step_size=1.0, steps=3), [0.0, 1.0], atol=1e-7)


def test_literal_moves_no_pixel_further_than_step_times_epsilon_times_k(classifier, images, labels):
    t = aa.attack(classifier, images, labels, aa.PGD(0.05, step_size=0.5, steps=6, update="literal"))
    assert (t.linf <= 0.5 * 0.05 * np.arange(7)[:, None] + 1e-6).all()
