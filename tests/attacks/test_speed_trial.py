"""A surrogate that does not pay is set aside, with a note; what was chosen is kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_networks import small_cnn

import advassay as aa
from advassay.attacks import Item, tune_batch_size
from advassay.attacks.batch_tuning import execution_config
from advassay.attacks.engine.preflight import PreflightCache
from advassay.attacks.stream import stream
from advassay.attacks.surrogate import speed_trial
from advassay.trajectory import TrajectoryRows

KIND = {torch.float32: "fast32", torch.bfloat16: "fast"}


@pytest.fixture
def seconds(monkeypatch):
    """Seconds a pass by kind of network, which a test may set; how often each was timed."""
    told, timed = {"exact": 1e-3, "fast32": 1e-3, "fast": 1e-3}, dict.fromkeys(("exact", "fast32", "fast"), 0)

    def measured(model, *batch):
        kinds = {each.dtype for each in model.module.parameters()}
        changed = model._format == torch.channels_last
        kind = "exact" if not changed else KIND[torch.bfloat16 if torch.bfloat16 in kinds else torch.float32]
        timed[kind] += 1
        return told[kind]

    monkeypatch.setattr(speed_trial, "seconds_per_pass", measured)
    told["timed"] = timed
    return told


def sweep(images, precision, *, seed=0, forget=True):
    if forget:
        speed_trial._CHOSEN.clear()
    classifier = aa.Classifier(small_cnn(seed=seed))
    labels = classifier(images).argmax(1)
    found = aa.sweep(classifier, images, labels, aa.PGD(0.02, 0.005, steps=6), [0.01, 0.05], precision=precision)
    return found, [note for note in found.notes if note.startswith("set aside")]


@pytest.mark.parametrize("precision", ["fast32", "fast"])
def test_a_surrogate_slower_than_the_network_is_set_aside_and_the_attack_is_exact(images, seconds, precision):
    exact, _ = sweep(images, "exact")
    found, notes = sweep(images, precision)
    assert len(notes) == 1
    assert "folded" not in notes[0]  # there is no batch norm to fold: it never held
    assert "channels-last" in notes[0]
    np.testing.assert_array_equal(found.logits[:, :-1], exact.logits[:, :-1])
    np.testing.assert_allclose(found.logits[:, -1], exact.logits[:, -1], atol=1e-5)
    assert found.scored_float32.all()


def test_float32_verdicts_count_against_a_surrogate(images, seconds):
    seconds["fast32"] = 0.97 * seconds["exact"]
    assert sweep(images, "fast32")[1]
    seconds["fast32"] = 0.9 * seconds["exact"]
    assert not sweep(images, "fast32")[1]


@pytest.mark.skipif("bfloat16" not in execution_config(4, precision="fast").rewrites, reason="no bfloat16 here")
def test_bfloat16_is_set_aside_alone_where_float32_copies_are_faster(images, seconds):
    seconds.update(exact=1e-3, fast32=5e-4, fast=8e-4)
    _, notes = sweep(images, "fast")
    assert notes == [speed_trial.set_aside_note(["bfloat16"])]
    seconds.update(fast=4e-4)
    seconds["timed"].update(fast32=0)
    assert not sweep(images, "fast")[1]
    assert seconds["timed"]["fast32"] == 0  # clearly faster: nothing else is built


def test_networks_built_alike_are_timed_once_in_a_process(images, seconds):
    """Timing differs from call to call: a choice made twice would move the last bits of one of them."""
    _, notes = sweep(images, "fast32", seed=1)
    seconds["fast32"] = 1e-4
    timed = dict(seconds["timed"])
    for seed in (1, 2):
        assert sweep(images, "fast32", seed=seed, forget=False)[1] == notes
    assert seconds["timed"] == timed
    assert not sweep(images[:6], "fast32", forget=False)[1]  # another number of images is timed anew


def test_a_second_call_and_a_run_that_goes_on_keep_to_the_choice(classifier, images, labels, seconds):
    attack = aa.PGD(0.02, 0.005, steps=6)

    def run():
        return aa.sweep(classifier, images, labels, attack, [0.01], precision="fast32")

    first = run()
    seconds["fast32"] = 1e-4
    second = run()
    assert first.notes == second.notes
    np.testing.assert_array_equal(first.logits, second.logits)
    arm = aa.Arm(epsilons=(0.01,), step_sizes=(0.005,), steps=6, precision="fast32")
    point = frozenset({("0.005", 0.01)})
    items = [Item(str(i), images[i].numpy(), int(labels[i]), point) for i in range(8)]
    on = stream(classifier, items, arm, shape=execution_config(8, precision="fast32"), known=PreflightCache(held=()))
    assert TrajectoryRows.concatenate(list(on)).scored_float32.all()


def test_a_stores_shape_is_chosen_by_the_same_trial_and_says_what_was_set_aside(classifier, images, labels, seconds):
    def chosen(precision):
        return tune_batch_size(classifier, images[0].numpy(), precision=precision, most=4, steps=1000)

    shape = chosen("fast32")
    assert shape.rewrites == ()
    seconds["fast32"] = 1e-4
    assert chosen("fast32").rewrites == execution_config(4, precision="fast32").rewrites
    arm = aa.Arm(epsilons=(0.01,), step_sizes=(0.005,), steps=6, precision="fast32")
    item = Item("0", images[0].numpy(), int(labels[0]), frozenset({("0.005", 0.01)}))
    run = stream(classifier, [item], arm, shape=shape)
    list(run)
    assert any(note.startswith("set aside: folded, channels-last") for note in run.notes)


def test_the_trial_stays_within_its_budget(classifier, images, labels, monkeypatch):
    """Of a run of 10 s at 10 ms a gradient it takes at most 1 s, and looks at the batch in use where that fits."""
    spent, sizes = [0.0], []

    def measured(model, x, *rest):
        spent[0] += 0.01 * len(x)
        sizes.append(len(x))
        return 0.01 * len(x)

    monkeypatch.setattr(speed_trial, "seconds_per_pass", measured)
    for gradients, batch in ((1000, 64), (1_000_000, 64)):
        spent[0] = 0.0
        trial = speed_trial.SpeedTrial(
            classifier, images[:4], labels[:4], None, loss="margin", batch_size=batch, gradients=gradients
        )
        trial.choose(("channels-last",), lambda names: speed_trial.Surrogate(classifier, names))
        assert spent[0] <= 0.08 + max(1.0, 0.02 * 0.01 * gradients)
    assert max(sizes) == 64
