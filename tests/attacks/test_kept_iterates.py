"""Every iterate of an image handed back, as the reference loop walks it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import advassay as aa
from advassay.attacks import iterates
from advassay.attacks.stream import Item, stream
from advassay.spec.attack_spec import Arm, step_size_name
from advassay.store_documents import ExecutionConfig
from advassay.trajectory import TrajectoryRows

STEPS, EPSILONS = 5, (0.01, 0.05)


def execution(batch_size: int) -> ExecutionConfig:
    known = {"device": "cpu", "device_name": "test", "threads": 1, "memory_format": "contiguous"}
    return ExecutionConfig(batch_size=batch_size, torch=torch.__version__, **known)  # type: ignore[arg-type]


def attacked(classifier: aa.Classifier, images: Tensor, labels: Tensor, arm: Arm) -> TrajectoryRows:
    points = frozenset((step_size_name(rule), epsilon) for rule in arm.step_sizes for epsilon in arm.epsilons)
    items = [Item(str(i), x.numpy(), int(labels[i]), points) for i, x in enumerate(images)]
    kept = stream(
        classifier, items, arm, shape=execution(4), keep_images=lambda image_id: image_id != "0", keep_iterates=True
    )
    return TrajectoryRows.concatenate(list(kept))


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("rules", [{"step_sizes": (0.01,)}, {"step_sizes": (0.02, "epsilon/4"), "norm": "l2"}])
def test_kept_iterates_are_those_of_the_reference_loop(
    classifier: aa.Classifier, images: Tensor, labels: Tensor, rules: dict[str, object], random_start: bool
) -> None:
    arm = Arm(epsilons=EPSILONS, steps=STEPS, precision="exact", random_start=random_start, **rules)  # type: ignore[arg-type]
    rows = attacked(classifier, images[:3], labels[:3], arm)
    assert {image for image, _, _ in rows.iterate_images} == {"1", "2"}
    for (image, step_size, epsilon), kept in rows.iterate_images.items():
        rule = next(r for r in arm.step_sizes if step_size_name(r) == step_size)
        one = slice(int(image), int(image) + 1)
        pgd = aa.PGD(epsilon, step_size=rule, steps=STEPS, norm=arm.norm, random_start=random_start)
        path = [x[0].numpy() for x in iterates(classifier, images[one], labels[one], pgd, image_ids=[image])]
        np.testing.assert_array_equal(kept[0], images[int(image)].numpy())
        if arm.norm == "linf":
            np.testing.assert_array_equal(kept[1:], np.stack(path[1:]))
        else:  # the gradient's last bits are the batch's, and L2 steps keep them
            np.testing.assert_allclose(kept[1:], np.stack(path[1:]), atol=1e-6)
        np.testing.assert_array_equal(kept[-1], rows.final_images[image, step_size, epsilon])


def test_of_auto_pgd_the_kept_points_give_the_recorded_logits(
    classifier: aa.Classifier, images: Tensor, labels: Tensor
) -> None:
    rows = attacked(
        classifier, images[:3], labels[:3], Arm(epsilons=(0.05,), steps=STEPS, update="apgd", precision="exact")
    )
    for row in np.flatnonzero(rows.image_id != "0"):
        key = (str(rows.image_id[row]), str(rows.step_size[row]), float(rows.epsilon[row]))
        with torch.no_grad():
            logits = classifier(torch.from_numpy(rows.iterate_images[key])).numpy()
        np.testing.assert_allclose(logits, rows.logits[row], rtol=1e-5, atol=1e-6)
        assert np.abs(rows.iterate_images[key] - rows.iterate_images[key][0]).max(axis=(1, 2, 3)) == pytest.approx(
            rows.linf[row], abs=1e-7
        )


def test_without_being_asked_for_none_is_kept(classifier: aa.Classifier, images: Tensor, labels: Tensor) -> None:
    arm = Arm(epsilons=EPSILONS, steps=STEPS, precision="exact")
    points = frozenset((step_size_name(arm.step_sizes[0]), epsilon) for epsilon in EPSILONS)
    items = [Item("0", images[0].numpy(), int(labels[0]), points)]
    (block,) = stream(classifier, items, arm, shape=execution(4), keep_images=lambda _: True)
    assert block.iterate_images == {}
    assert len(block.final_images) == 2
