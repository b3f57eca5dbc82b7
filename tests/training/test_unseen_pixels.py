"""Pixels at the edges that a network never sees."""

from __future__ import annotations

from advassay.models.timm_networks import unseen_pixels


def test_strides_that_do_not_divide_the_side_leave_pixels_over() -> None:
    found = unseen_pixels("inception_v3", 80)
    assert found is not None
    assert (found.rows, found.columns) == (3, 3)
    assert all(unseen_pixels("inception_v3", side) is None for side in found.seen_whole)
    assert unseen_pixels("inception_v3", 75) is None


def test_residual_blocks_that_start_at_zero_hide_no_pixels() -> None:
    assert unseen_pixels("resnet18", 64) is None
