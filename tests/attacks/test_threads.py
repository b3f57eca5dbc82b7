"""Several threads attack at once: no error, every network and setting as it was, results as alone."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from tiny_networks import small_cnn

import advassay as aa
from advassay.attacks.batch_tuning import execution_config
from advassay.attacks.float32_settings import _OPERATIONS, _get, _own
from advassay.attacks.stream import Item, stream


def settings():
    kernels = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark, torch.backends.mkldnn.enabled
    own = [(_own(each), _get(each)) for each in _OPERATIONS]
    return kernels, own, torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()


def in_threads(*works):
    errors = []

    def guarded(work):
        try:
            work()
        except Exception as problem:
            errors.append(problem)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    [thread.start() for thread in threads]
    [thread.join(60) for thread in threads]
    assert not any(thread.is_alive() for thread in threads)
    assert not errors, errors


@pytest.mark.parametrize("precision", ["exact", "fast32", "fast"])
def test_networks_attacked_in_threads_give_what_they_give_alone(images, precision):
    def attacked(network):
        labels = torch.zeros(len(images), dtype=torch.int64)
        attack = aa.PGD(0.03, steps=4)
        return aa.sweep(aa.Classifier(network), images, labels, attack, [0.01, 0.03], precision=precision).logits

    before = settings()
    alone = [attacked(small_cnn(seed=seed)) for seed in range(3)]
    networks = [small_cnn(seed=seed) for seed in range(3)]
    got = {}
    in_threads(*(lambda i=i: got.update({i: attacked(networks[i])}) for i in range(3)))
    for i in range(3):
        np.testing.assert_array_equal(got[i], alone[i])
        assert all(p.requires_grad for p in networks[i].parameters())
    assert settings() == before


def test_one_network_attacked_in_threads_is_as_it_was_and_no_thread_sees_anothers_mode(images):
    """In train mode, which each call has to notice: while another attacks, the network is in eval mode."""
    network = small_cnn().train()
    classifier, labels, before = aa.Classifier(network), torch.zeros(len(images), dtype=torch.int64), settings()
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    flagged = []

    def work(steps):
        for _ in range(3):
            result = aa.attack(classifier, images, labels, aa.PGD(0.03, steps=steps))
            flagged.append("train_mode" in result.flags)

    in_threads(*(lambda s=s: work(s) for s in (2, 5, 9)))
    assert flagged == [True] * 9
    assert all(part.training for part in network.modules())
    assert all(p.requires_grad for p in network.parameters())
    assert all(torch.equal(weights[name], value) for name, value in network.state_dict().items())
    assert settings() == before


def test_streams_in_threads_take_turns_block_by_block(images):
    """A block ends a turn: of two streams of one network neither waits for the other's end."""
    classifier = aa.Classifier(small_cnn())
    arm = aa.Arm(epsilons=(0.03,), steps=3, precision="exact")
    shape = execution_config(2, precision="exact")
    point = frozenset({("0.01", 0.03)})
    items = [Item(str(i), image, 0, point) for i, image in enumerate(images.numpy())]
    alone = [block.logits for block in stream(classifier, items, arm, shape=shape)]
    meet, got = threading.Barrier(2, timeout=60), {0: [], 1: []}

    def work(i):
        for block in stream(classifier, items, arm, shape=shape):
            got[i].append(block.logits)
            meet.wait()  # both are between two blocks

    in_threads(lambda: work(0), lambda: work(1))
    for mine in got.values():
        np.testing.assert_array_equal(np.concatenate(mine), np.concatenate(alone))
