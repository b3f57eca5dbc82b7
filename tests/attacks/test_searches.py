"""Searches: against closed forms, judged by the network itself, each image alone, and recorded with both ends."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

import advassay as aa
from advassay import optional_libraries
from advassay.attacks.stream import Item, stream
from advassay.attacks.suite.counted_network import CountedNetwork
from advassay.attacks.suite.library_searches import hopskipjump_search
from advassay.attacks.suite.search import SearchResult, SearchRule, SearchTask, ball
from advassay.attacks.suite.square_search import HALVED_AFTER, P_FIRST, share_at, side_at
from advassay.errors import AttackError, ClassifierError, ExtensionError, MissingLibraryError
from advassay.spec.attack_components import UPDATE_RULES
from advassay.spec.attack_spec import Arm, step_size_name
from advassay.store_documents import ExecutionConfig
from advassay.study.gradient_counts import gradient_steps

SIDE = 8
STEPS = {"square": 300, "fab": 15, "hopskipjump": 8, "apgd-targeted": 10}
SLACK = {"square": 1.3, "fab": 1.1, "hopskipjump": 1.8, "apgd-targeted": 1.1}
"""Times the smallest change at which each must have succeeded. HopSkipJump has 8 steps of its usual 64."""


def linear(classes: int) -> tuple[aa.Classifier, torch.Tensor, torch.Tensor, np.ndarray]:
    """A linear network, images inside [0, 1], its decisions, and each image's distance (L∞) to another decision."""
    torch.manual_seed(0)
    layer = nn.Linear(SIDE * SIDE, classes)
    network = nn.Sequential(nn.Flatten(), layer).eval()
    images = torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 0.2 + 0.4
    with torch.no_grad():
        layer.bias -= network(images).mean(0)  # decisions of several classes, all near the boundary
        logits = network(images)
        labels = logits.argmax(1)
        distance = [
            min(
                float((logits[i, y] - logits[i, c]) / (layer.weight[y] - layer.weight[c]).abs().sum())
                for c in range(classes) if c != y
            )
            for i, y in enumerate(labels.tolist())
        ]  # fmt: skip
    return aa.Classifier(network), images, labels, np.array(distance)


def attack(name: str, epsilon: float, **more: object) -> aa.PGD:
    return aa.PGD(epsilon, update=name, steps=STEPS[name], loss="margin", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "classes"), [
    ("square", 2), ("square", 4), ("fab", 2), ("fab", 4), ("hopskipjump", 2), ("apgd-targeted", 3),
])  # fmt: skip
def test_a_search_finds_the_known_smallest_change_of_a_linear_network_and_none_below(name: str, classes: int) -> None:
    classifier, images, labels, distance = linear(classes)
    for i, far in enumerate(distance):
        one = images[i : i + 1], labels[i : i + 1]
        found = aa.sweep(classifier, *one, attack(name, 0.1), [0.99 * far, SLACK[name] * far], image_ids=[str(i)])
        below, above = found.logits[:, -1, 0].argmax(-1) != int(labels[i])
        assert not below
        assert above
        assert found.logits.shape[1] == 2  # both ends alone
        assert (found.linf[:, 0] == 0).all()
        assert (found.linf[:, 1, 0] <= np.float32([0.99 * far, SLACK[name] * far]) + 1e-7).all()  # a pixel's rounding
        assert (found.forward_passes > 0).all()
        assert (found.backward_passes > 0).all() == UPDATE_RULES.get(name).needs_gradient
        assert found.scored_float32.all()


def test_queries_to_success_of_hopskipjump_are_counted_from_what_the_network_was_asked() -> None:
    pytest.importorskip("foolbox")
    classifier, images, labels, distance = linear(2)
    asked: list[torch.Tensor] = []
    classifier.module.register_forward_pre_hook(lambda module, args: asked.append(args[0].detach().clone()))
    network = CountedNetwork(classifier)
    epsilons = tuple(float(factor * distance[0]) for factor in (1.05, 2.0, 6.0))
    task = SearchTask("a", images[0], int(labels[0]), epsilons, (1 - int(labels[0]),))
    shape = ExecutionConfig(batch_size=8, device="cpu", device_name="", threads=1, memory_format="contiguous",
                            torch=torch.__version__)  # fmt: skip
    (result,) = hopskipjump_search(network, iter([task]), attack("hopskipjump", 0.1), shape)
    points = torch.cat(asked)
    assert result.forward_passes.tolist() == [len(points)] * 3
    with torch.no_grad():
        wrong = classifier(points).argmax(1) != labels[0]
    assert result.queries_to_success is not None
    for epsilon, found in zip(epsilons, result.queries_to_success.tolist(), strict=True):
        low, high = ball(task.image, epsilon)
        inside = ((points >= low) & (points <= high)).flatten(1).all(1)
        first = torch.nonzero(wrong & inside).flatten()
        assert found == (int(first[0]) + 1 if len(first) else 0)
    assert result.queries_to_success[2] > 0


class Constant(nn.Module):
    """The same decision for every image, whose logits yet follow the image, so that it has a gradient."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean = images.flatten(1).mean(1)
        return torch.stack([mean + 5, mean * 0.5, -mean], dim=1)


@pytest.mark.parametrize("name", list(STEPS))
def test_no_search_succeeds_on_a_constant_decision(name: str) -> None:
    images = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    found = aa.attack(aa.Classifier(Constant().eval()), images, torch.zeros(2, dtype=torch.int64), attack(name, 0.5))
    assert found.attack_success_rate()[-1] == 0
    assert ((found.adversarial_images >= 0) & (found.adversarial_images <= 1)).all()
    if name == "hopskipjump":
        assert any("could not go on for 2 images (no misclassified image to begin at)" in note for note in found.notes)


class Stairs(nn.Module):
    """A linear network of pixels that are rounded: its gradient is a made-up, tiny one that points the wrong way."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rounded = (images * 64).round() / 64
        return self.layer(rounded.detach() - 1e-3 * images)


def test_square_finds_what_a_masked_gradient_hides_from_pgd() -> None:
    classifier, images, labels, distance = linear(2)
    masked = aa.Classifier(Stairs(classifier.module).eval())
    labels = masked(images).argmax(1)
    epsilon = float(4 * distance.max() + 2 / 64)
    pgd = aa.attack(masked, images, labels, aa.PGD(epsilon, "epsilon/4", steps=20, loss="margin"))
    square = aa.attack(masked, images, labels, attack("square", epsilon))
    assert pgd.attack_success_rate("any")[-1] == 0
    assert square.attack_success_rate()[-1] == 1


def test_searches_without_gradients_attack_a_network_that_has_none() -> None:
    classifier, images, labels, distance = linear(2)

    @torch.no_grad()
    def blind(x: torch.Tensor) -> torch.Tensor:
        return classifier.module(x)

    with pytest.raises(ClassifierError, match="gradient"):
        aa.attack(aa.Classifier(blind), images, labels, aa.PGD(0.1, steps=2))
    for name in ("square", "hopskipjump"):
        found = aa.attack(aa.Classifier(blind), images, labels, attack(name, float(2 * distance.max())))
        assert found.attack_success_rate()[-1] == 1


@pytest.mark.parametrize("name", list(STEPS))
def test_what_is_found_of_an_image_depends_on_neither_order_nor_neighbours_nor_batch(name: str) -> None:
    classifier, images, labels, distance = linear(4)
    ids, epsilon = ["a", "b", "c"], float(1.02 * np.median(distance))
    together = aa.attack(classifier, images, labels, attack(name, epsilon), image_ids=ids, batch_size=4)
    turned = aa.attack(classifier, images.flip(0), labels.flip(0), attack(name, epsilon), ids[::-1], batch_size=4)
    alone = [
        aa.attack(classifier, images[i : i + 1], labels[i : i + 1], attack(name, epsilon), [ids[i]], batch_size=4)
        for i in range(3)
    ]
    assert (together.adversarial_images == turned.adversarial_images[::-1]).all()
    assert (together.adversarial_images == np.concatenate([each.adversarial_images for each in alone])).all()
    assert (together.forward_passes == turned.forward_passes[::-1]).all()
    other = aa.attack(classifier, images, labels, attack(name, epsilon, seed=1), image_ids=ids, batch_size=4)
    if name == "square":
        assert not (together.adversarial_images == other.adversarial_images).all()


def test_a_search_leaves_the_global_generator_as_it_was() -> None:
    classifier, images, labels, distance = linear(2)
    for name in ("fab", "hopskipjump", "square"):
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        aa.attack(classifier, images[:1], labels[:1], attack(name, float(distance[0])))
        assert (torch.rand(3) == expected).all(), name


def test_squares_shrink_by_the_stated_schedule_whatever_the_budget() -> None:
    for budget in (10_000, 1000):
        shares = [share_at(query, budget) for query in range(1, budget)]
        assert shares[0] == P_FIRST
        assert sorted(set(shares), reverse=True) == [P_FIRST / 2**k for k in range(len(HALVED_AFTER) + 1)]
        for k, after in enumerate(HALVED_AFTER):
            assert share_at(max(1, after * budget // 10_000), budget) == P_FIRST / 2**k
            assert share_at(after * budget // 10_000 + 1, budget) == P_FIRST / 2 ** (k + 1)
    assert side_at(1, 1000, 28, 28) == 25  # √(0.8 · 784)
    assert side_at(999, 1000, 28, 28) == 1
    assert side_at(1, 1000, 4, 100) == 4


def test_squares_end_on_the_balls_surface_or_the_ends_of_the_range() -> None:
    classifier, images, labels, distance = linear(2)
    found = aa.attack(classifier, images, labels, attack("square", float(0.5 * distance.min())))
    assert found.attack_success_rate()[-1] == 0  # so the whole budget was spent
    assert (found.forward_passes == STEPS["square"]).all()
    for image, point in zip(images, found.adversarial_images, strict=True):
        low, high = ball(image, float(0.5 * distance.min()))
        assert ((point == low.numpy()) | (point == high.numpy())).all()


class Boastful(SearchRule):
    """Calls everything adversarial: a point outside the ball, no number, the clean image, one outside [0, 1]."""

    name = summary = description = source = "boastful"

    def search(self, network, tasks, rules, shape) -> Iterator[SearchResult]:
        for task in tasks:
            wrong = {"0": task.image + 0.3, "1": task.image * np.nan, "2": task.image, "3": task.image - 2}
            points = torch.stack([wrong[task.image_id]] * len(task.epsilons))
            n = len(task.epsilons)
            yield SearchResult(task, points, np.ones(n, bool), np.ones(n, int), np.zeros(n, int))


class Forgetful(Boastful):
    """Hands back a result for the first image only."""

    name = summary = description = source = "forgetful"

    def search(self, network, tasks, rules, shape) -> Iterator[SearchResult]:
        results = super().search(network, tasks, rules, shape)
        yield next(results)
        for _ in results:
            pass


def test_a_search_that_forgets_an_image_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UPDATE_RULES._parts, "forgetful", Forgetful())
    classifier, images, labels, _ = linear(2)
    with pytest.raises(ExtensionError, match="expected a result of forgetful for each image, got none for 2 of them"):
        aa.attack(classifier, images, labels, aa.PGD(0.1, update="forgetful", steps=3))


def test_what_a_search_says_is_verified_and_what_fails_is_not_counted_and_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(UPDATE_RULES._parts, "boastful", Boastful())
    classifier, images, labels, _ = linear(2)
    images, labels = torch.cat([images, images[:1]]), torch.cat([labels, labels[:1]])
    found = aa.attack(classifier, images, labels, aa.PGD(0.1, update="boastful", steps=3))
    assert found.attack_success_rate()[-1] == 0
    assert (found.adversarial_images == images.numpy()).all()
    told = " ".join(found.notes)
    assert "boastful handed back points outside the ball or [0, 1], or no numbers, for 3 images" in told
    assert "boastful called points adversarial that the network decides correctly in float32, for 1 images" in told


@pytest.mark.parametrize(("name", "library"), [("fab", "torchattacks"), ("hopskipjump", "foolbox")])
def test_a_missing_library_is_refused_with_the_line_that_installs_it_and_square_needs_none(
    name: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optional_libraries, "is_installed", lambda module: False)
    classifier, images, labels, distance = linear(2)
    with pytest.raises(MissingLibraryError, match=f"library {library}, which is not installed") as refused:
        aa.attack(classifier, images, labels, attack(name, 0.1))
    assert "pip install 'advassay[suite]'" in str(refused.value)
    aa.attack(classifier, images, labels, attack("square", float(distance.max())))


def test_targeted_apgd_is_refused_for_two_classes_and_a_search_has_no_restarts_and_no_length() -> None:
    classifier, images, labels, _ = linear(2)
    with pytest.raises(AttackError, match="apgd-targeted needs 3 or more classes, got 2"):
        aa.attack(classifier, images, labels, attack("apgd-targeted", 0.1))
    with pytest.raises(AttackError, match="square is a search with a start of its own"):
        attack("square", 0.1, restarts=2, random_start=True)
    with pytest.raises(AttackError, match="norm: fab knows linf, got l2"):
        attack("fab", 0.1, norm="l2")


def test_budgets_are_upper_bounds_of_what_is_spent() -> None:
    classifier, images, labels, distance = linear(4)
    grid = [float(0.5 * distance.min()), float(2 * distance.max())]
    for name, steps in STEPS.items():
        spent = aa.sweep(classifier, images, labels, attack(name, 0.1), grid).cost
        arm = Arm(update=name, steps=steps, loss="margin", epsilons=tuple(grid))
        assert (spent.gradient_evaluations > 0) == UPDATE_RULES.get(name).needs_gradient
        assert spent.gradient_evaluations <= gradient_steps(arm) * len(images)
        # Beside it: clean images, verdicts, starts that are tried, and the passes of a gradient itself.
        assert 0 < spent.forward_passes <= 3 * gradient_steps(arm) * len(images) + 200


def test_images_that_the_network_gets_wrong_are_not_searched_and_blocks_hold_whole_images() -> None:
    classifier, images, labels, distance = linear(2)
    arm = Arm(update="square", steps=20, loss="margin", epsilons=(0.0, float(distance.max())), precision="exact")
    points = frozenset((step_size_name(0.01), epsilon) for epsilon in arm.epsilons)
    labels = labels.clone()
    labels[1] = 1 - labels[1]
    items = [Item(str(i), images[i].numpy(), int(labels[i]), points) for i in range(3)]
    shape = ExecutionConfig(
        batch_size=2, device="cpu", device_name="", threads=1, memory_format="contiguous", torch=torch.__version__
    )
    blocks = list(stream(classifier, items, arm, shape=shape))
    for block in blocks:
        assert all((block.image_id == image).sum() == 2 for image in set(block.image_id))
    rows = {(str(i), float(e)): r for b in blocks for r, (i, e) in enumerate(zip(b.image_id, b.epsilon, strict=True))}
    assert len(rows) == 6
    for block in blocks:
        clean = block.epsilon == 0
        assert (block.linf[clean] == 0).all()
        assert (block.logits[clean, 0] == block.logits[clean, 1]).all()
        assert (block.forward_passes[block.image_id == "1"] == 0).all()
        assert (block.linf[block.image_id == "1"] == 0).all()


def test_fab_is_torchattacks_where_that_is_asked_alike() -> None:
    import torchattacks

    classifier, images, labels, _ = linear(2)
    found = aa.attack(classifier, images[:1], labels[:1], attack("fab", 0.3))
    theirs = torchattacks.FAB(classifier, norm="Linf", eps=1.0, steps=STEPS["fab"], n_classes=2)
    theirs.set_device(torch.device("cpu"))
    with torch.random.fork_rng():
        expected = theirs(images[:1], labels[:1])
    assert np.abs(found.adversarial_images - expected.numpy()).max() <= 1e-7
