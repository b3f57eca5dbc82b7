"""The execution configuration: the batch size, and whether compiling pays."""

import numpy as np
import pytest
import torch
from tiny_networks import small_cnn
from torch import nn

import advassay as aa
from advassay.attacks import Item, batch_tuning, tune_batch_size
from advassay.attacks.batch_tuning import best_batch, execution_config
from advassay.attacks.stream import stream
from advassay.attacks.surrogate.build import build_surrogate
from advassay.attacks.surrogate.compile import compile_surrogate
from advassay.errors import AdvassayWarning
from advassay.trajectory import TrajectoryRows

SPEEDS = {1: 12.0, 2: 24.0, 4: 45.0, 8: 80.0, 16: 136.0, 32: 186.0, 64: 225.0}
"""Images per second of InceptionV3 at 80 px on two CPU cores."""


@pytest.mark.parametrize(("rows", "batch"), [(1, 1), (2, 2), (3, 4), (12, 16), (36, 64), (100, 32), (4096, 64)])
def test_the_batch_is_the_one_that_ends_the_work_soonest_padding_included(rows, batch):
    """100 rows: four batches of 32 take 0.69 s, two of 64 only 0.57 s: those within 5 % only give way to smaller."""
    seconds = {size: -(-rows // size) * size / speed for size, speed in SPEEDS.items()}
    chosen = best_batch(SPEEDS, [rows])
    assert seconds[chosen] * 0.95 <= min(seconds.values())
    assert all(seconds[size] * 0.95 > min(seconds.values()) for size in SPEEDS if size < chosen)
    assert chosen == batch or rows == 100


def test_any_number_of_rows_takes_the_fastest_batch():
    assert best_batch(SPEEDS) == 64
    assert best_batch({1: 10.0, 2: 19.5, 4: 20.0}) == 2


@pytest.fixture
def tried(monkeypatch) -> dict[bool, list[int]]:
    """Batch sizes timed, by whether the network was compiled; speeds as of a machine where batches are free."""
    sizes: dict[bool, list[int]] = {False: [], True: []}

    def fake(network, image, batch_size):
        compiled = isinstance(network.module, torch._dynamo.eval_frame.OptimizedModule)
        sizes[compiled].append(batch_size)
        return batch_size * (sizes_gain[0] if compiled else 1.0)

    sizes_gain = [1.0]
    sizes["gain"] = sizes_gain  # type: ignore[assignment]
    monkeypatch.setattr(batch_tuning, "images_per_second", fake)
    return sizes


def test_measuring_costs_no_more_than_a_share_of_the_work(classifier, images, tried):
    small, large = (tune_batch_size(classifier, images[0].numpy(), precision="exact", steps=n) for n in (40, 100_000))
    assert sum(tried[False]) - 127 <= batch_tuning.MEASURING * 40 / batch_tuning.PASSES
    assert small.batch_size < large.batch_size == 64


def test_no_batch_is_measured_that_the_rows_cannot_fill(classifier, images, tried):
    tune_batch_size(classifier, images[0].numpy(), precision="exact", rows=[5, 3], steps=100_000)
    assert tried[False] == [4, 8]


def test_compiling_is_kept_where_it_wins_and_only_tried_where_the_attack_is_long(classifier, images, tried):
    def rewrites(gain: float, steps: int) -> tuple[str, ...]:
        tried["gain"][0] = gain
        chosen = tune_batch_size(
            classifier, images[0].numpy(), precision="fast32", steps=steps, most=4, backend="aot_eager"
        )
        return chosen.rewrites

    unfused, uncompiled = ("folded", "channels-last"), execution_config(4, precision="fast32").rewrites
    assert rewrites(gain=2.0, steps=100_000) == (*unfused, "compiled:aot_eager")
    assert tried[True] == [4]
    assert rewrites(gain=0.73, steps=100_000) == uncompiled
    assert tried[True] == [4, 4]
    assert rewrites(gain=2.0, steps=20) == uncompiled
    assert tried[True] == [4, 4]


def test_a_compiled_network_steers_and_the_unmodified_one_judges(images):
    network = small_cnn()
    classifier = aa.Classifier(network).eval()
    labels = network(images).argmax(1)
    arm = aa.Arm(epsilons=(0.02, 0.1), step_sizes=(0.01,), steps=5, precision="fast32")
    points = frozenset({("0.01", e) for e in arm.epsilons})
    items = [Item(str(i), x.numpy(), int(y), points) for i, (x, y) in enumerate(zip(images, labels, strict=True))]
    plain = execution_config(4, precision="fast32").model_copy(update={"rewrites": ("folded", "channels-last")})
    runs = []
    for extra in ((), ("compiled:aot_eager",)):
        run = stream(classifier, items, arm, shape=plain.model_copy(update={"rewrites": (*plain.rewrites, *extra)}),
                     keep_images=lambda image_id: True)  # fmt: skip
        runs.append(TrajectoryRows.concatenate(list(run)))
        assert not [note for note in run.notes if "taken back" in note and "compiled" in note]
    eager, compiled = (rows.take(np.lexsort((rows.epsilon, rows.image_id))) for rows in runs)
    np.testing.assert_allclose(compiled.logits, eager.logits, atol=1e-3)
    np.testing.assert_array_equal(compiled.logits[:, -1].argmax(1), eager.logits[:, -1].argmax(1))
    assert compiled.scored_float32[:, [0, -1]].all()
    for (image_id, _, epsilon), x in compiled.final_images.items():
        row = (compiled.image_id == image_id) & (compiled.epsilon == epsilon)
        judged = network(torch.from_numpy(x)[None]).detach()[0]
        np.testing.assert_allclose(compiled.logits[row, -1][0], judged, atol=1e-5)


def test_what_cannot_be_compiled_is_attacked_without_and_says_so(classifier, images):
    with classifier.attack_mode():
        steering = build_surrogate(classifier, images[:2], ("channels-last",))
        failed = compile_surrogate(steering, images[:2], 4, backend="no-such-backend")
    assert failed.module is steering.module
    assert failed.rewrites == steering.rewrites
    assert failed.notes[-1].startswith("compiled: taken back: ")
    with pytest.warns(AdvassayWarning, match="goes on without"):
        chosen = tune_batch_size(
            classifier, images[0].numpy(), precision="fast32", steps=10**9, most=2, backend="no-such-backend"
        )
    assert chosen.rewrites == execution_config(2, precision="fast32").rewrites


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch tells of every break in the graph
def test_a_module_with_code_that_no_graph_holds_is_compiled_as_far_as_it_goes(images):
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.seen = small_cnn(), []

        def forward(self, x):
            self.seen.append(float(x.detach().mean()))
            return self.network(x if self.seen[-1] > 0 else x + 1)

    classifier = aa.Classifier(Odd()).eval()
    with classifier.attack_mode():
        steering = build_surrogate(classifier, images[:2], ("channels-last",))
        compiled = compile_surrogate(steering, images[:2], 4, backend="aot_eager")
    assert compiled.rewrites[-1] == "compiled:aot_eager"
    torch.testing.assert_close(compiled.module(images[:4]), classifier(images[:4]), rtol=1e-4, atol=1e-4)
