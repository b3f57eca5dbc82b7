"""NaN logits at an iterate: neither success nor robustness; left out of both denominators, counted and flagged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_networks import small_cnn
from torch import nn

import advassay as aa
from advassay.errors import AttackWarning


class Fragile(nn.Module):
    """NaN for images whose first pixel has left its clean value by much: the logarithm of what is below 0."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.network, self.limit = small_cnn(), limit

    def forward(self, x):
        return self.network(x) + 0 * (self.limit - (x[:, :, 0, 0].sum(1) - 1.5).abs()).log()[:, None]


@pytest.fixture
def fragile():
    """Eight images with the first pixel in the middle; those of every other are free to leave it."""
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    images[:, :, 0, 0] = 0.5
    images[::2, :, 0, 0] = torch.tensor([0.5, 0.5, 0.52])
    return Fragile(limit=0.05).eval(), images


@pytest.mark.parametrize("precision", ["exact", "fast32"])
def test_images_that_end_in_nan_are_left_out_counted_and_flagged(fragile, precision):
    module, images = fragile
    labels = module(images).argmax(1).numpy()
    with pytest.warns(AttackWarning, match=r"nan: \d images have NaN logits"):
        s = aa.sweep(aa.Classifier(module), images, labels, aa.PGD(0.1, 0.02, steps=3), [0.1], precision=precision)
    undecided = np.isnan(s.logits[0, -1]).any(-1)
    assert 0 < undecided.sum() < 8
    assert np.array_equal(s.flags["nan"][0], np.isnan(s.logits[0]).any((0, 2)))
    assert f"{int(s.flags['nan'].sum())} images" in next(note for note in s.notes if note.startswith("nan"))
    assert f"nan {int(s.flags['nan'].sum())}" in repr(s)
    for indicator in ("success_lost", "non_monotone", "not_converged", "epsilon_inactive"):  # of images that stand
        assert not (s.flags[indicator][0] & undecided).any()
    kept, last = ~undecided, s.logits[0, -1].argmax(-1)
    expected = (last != labels)[kept].mean()
    np.testing.assert_allclose(s.attack_success_rate()[0, -1], expected)
    np.testing.assert_allclose(s.robust_accuracy()[0, -1], 1 - expected)
    np.testing.assert_allclose(s.worst_case_success_rate()[0], expected)


def test_what_a_restart_felled_counts_though_the_declared_run_ended_in_nan(classifier, images, labels):
    """Images 0 and 1 are NaN at the end of the declared run; a restart fells the first of them."""
    t = aa.attack(classifier, images, labels, aa.PGD(0.01, 0.005, steps=2, random_start=True, restarts=2))
    assert t.worst_case_success_rate() == 0
    logits, again = t.logits.copy(), t.restarts.logits.copy()
    logits[-1, :2] = np.nan
    again[t.restarts.image_id == "0", -1] = -again[t.restarts.image_id == "0", -1]
    changed = replace(t, logits=logits, restarts=replace(t.restarts, logits=again))
    assert changed.worst_case_success_rate() == 1 / 7
    assert changed.attack_success_rate()[-1] == 0
