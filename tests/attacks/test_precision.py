"""Low precision steers, float32 judges."""

import numpy as np
import pytest
import torch
from tiny_networks import small_cnn
from torch import nn

import advassay as aa
from advassay.attacks.rewrite import rewrite


class WithNorms(nn.Module):
    """Convolutions and batch norms called in code, with a skip, as most real networks have."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.stem_norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.body, self.body_norm = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 64, 3)

    def forward(self, x):
        x = torch.relu(self.stem_norm(self.stem(x)))
        x = x + torch.relu(self.body_norm(self.body(x)))
        return self.head(nn.functional.max_pool2d(x, 2).flatten(1))


@pytest.fixture
def normed() -> aa.Classifier:
    network = WithNorms()
    with torch.no_grad():
        for _ in range(20):
            network(torch.rand(16, 3, 16, 16))
    return aa.Classifier(network.eval(), mean=0.5, std=0.5).eval()


def test_folding_keeps_the_function_and_leaves_the_original_alone(normed, images):
    before = {k: v.clone() for k, v in normed.state_dict().items()}
    steering = rewrite(normed, images, ("folded", "channels-last"))
    assert steering.rewrites == ("folded", "channels-last")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in steering.module.modules())
    torch.testing.assert_close(steering.module(images), normed(images), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(before[k], v) for k, v in normed.state_dict().items())


def test_a_rewritten_copy_follows_its_classifier_however_it_was_changed(normed, images):
    rewrite(normed, images, ("folded",))
    normed.module.head.weight.data *= 2  # unseen by version counters
    normed.module.head.register_forward_hook(lambda layer, given, out: out + 1)
    again = rewrite(normed, images, ("folded",))
    torch.testing.assert_close(again.module(images), normed(images), rtol=1e-4, atol=1e-4)


class Viewing(WithNorms):
    """`view` asks for contiguous memory: it fails on channels-last activations."""

    def forward(self, x):
        x = torch.relu(self.stem_norm(self.stem(x)))
        x = torch.relu(self.body_norm(self.body(x)))
        return self.head(nn.functional.max_pool2d(x, 2).view(len(x), -1))


class Functional(WithNorms):
    """A float32 convolution called as a function fails under bfloat16 activations."""

    def __init__(self):
        super().__init__()
        self.last = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        x = torch.relu(self.body_norm(self.body(torch.relu(self.stem_norm(self.stem(x))))))
        x = nn.functional.conv2d(x, torch.ones(8, 8, 3, 3) / 72, padding=1)
        return self.head(nn.functional.max_pool2d(self.last(x), 2).flatten(1))


@pytest.mark.parametrize("update", ["projected-sign", "apgd"])
@pytest.mark.parametrize(("network", "failed"), [(Viewing, "channels-last"), (Functional, "bfloat16")])
def test_a_network_that_a_rewrite_breaks_is_attacked_without_it(images, network, failed, update):
    classifier = aa.Classifier(network().eval())
    labels = classifier(images).argmax(1)
    attack = aa.PGD(0.02, 0.005, steps=5, update=update)
    fast, exact = (aa.sweep(classifier, images, labels, attack, [0.02], precision=p) for p in ("fast", "exact"))
    np.testing.assert_allclose(fast.robust_accuracy()[:, -1], exact.robust_accuracy()[:, -1], atol=1 / 8)
    notes = rewrite(classifier, images, ("folded", "channels-last", "bfloat16")).notes
    assert any(note.startswith(f"{failed}: taken back: RuntimeError") for note in notes)


def test_a_convolution_whose_output_is_also_used_elsewhere_is_not_folded(images):
    class Tapped(WithNorms):
        def forward(self, x):
            raw = self.stem(x)
            return self.head(nn.functional.max_pool2d(torch.relu(self.stem_norm(raw)) + raw, 2).flatten(1))

    network = Tapped().eval()
    network.stem_norm.running_mean.uniform_(-1, 1)
    steering = rewrite(aa.Classifier(network), images, ("folded",))
    assert steering.rewrites == ()
    assert "folded" in steering.notes[0]


def test_a_network_that_cannot_be_copied_is_attacked_as_it_is_and_says_so(images):
    class Uncopyable(nn.Sequential):
        def __deepcopy__(self, memo):
            raise RuntimeError("no")

    classifier = aa.Classifier(Uncopyable(*small_cnn()))
    steering = rewrite(classifier, images, ("folded", "channels-last"))
    assert steering.module is classifier
    assert "cannot be copied" in steering.notes[0]


@pytest.mark.parametrize("precision", ["fast32", "fast"])
def test_used_verdicts_are_float32_passes_of_the_unmodified_network(normed, images, precision):
    labels = normed(images).argmax(1)
    s = aa.sweep(normed, images, labels, aa.PGD(0.02, 0.005), [0.01, 0.02, 0.05], precision=precision)
    assert s.scored_float32[:, [0, -1]].all()
    assert not s.scored_float32.all()
    fell = s.logits.argmax(-1) != labels.numpy()
    first = fell.argmax(axis=1)  # (epsilon, image): step of the first success, 0 where none
    e, i = np.nonzero(first)
    assert len(e) > 0
    assert s.scored_float32[e, first[e, i], i].all()
    assert s.cost.rescored > 0
    np.testing.assert_allclose(
        s.logits[:, 0], np.broadcast_to(normed(images).detach(), s.logits[:, 0].shape), atol=1e-4
    )


def test_fast_finds_about_what_exact_finds(normed):
    images = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    labels = normed(images).argmax(1)
    rates = {
        p: aa.sweep(normed, images, labels, aa.PGD(0.02, 0.002), [0.005, 0.02], precision=p).attack_success_rate()[
            :, -1
        ]
        for p in ("exact", "fast32", "fast")
    }
    np.testing.assert_allclose(rates["fast32"], rates["exact"], atol=2 / 64)
    np.testing.assert_allclose(rates["fast"], rates["exact"], atol=4 / 64)


def test_a_larger_error_opens_again_what_was_decided_before(normed, images, monkeypatch):
    """A judge that meets its largest error late must still leave nothing unscored inside the final band."""
    from advassay.attacks import precision

    labels = normed(images).argmax(1)
    judges = []

    class Late(precision.Judge):
        def __init__(self, share, *, seed=0):
            super().__init__(share, seed=seed)
            judges.append(self)

        def learn(self, node, steered, judged):
            wanted = super().learn(node, steered, judged)
            if self.compared == 20:
                self._seen.append((0.0, 0.05))
                self._band = None
            return wanted

    monkeypatch.setattr("advassay.attacks.stream.Judge", Late)
    s = aa.sweep(normed, images, labels, aa.PGD(0.02, 0.002), [0.005, 0.01], precision="fast32", batch_size=2)
    margin = aa_margin(s.logits, labels.numpy())
    assert judges[0].band >= 0.1
    assert s.scored_float32[np.abs(margin) <= judges[0].band].all()
    assert not s.scored_float32.all()


def aa_margin(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    ordered = np.sort(logits, axis=-1)
    own = np.take_along_axis(logits, np.broadcast_to(labels, logits.shape[:-1])[..., None], -1)[..., 0]
    return own - np.where(own == ordered[..., -1], ordered[..., -2], ordered[..., -1])


def test_the_audit_is_in_the_notes_with_its_bound(normed, images):
    from advassay.attacks import Item, choose_compute_shape
    from advassay.attacks.stream import stream

    arm = aa.Arm(epsilons=(0.02,), steps=20, step_sizes=(0.001,), precision="fast32")
    labels = normed(images).argmax(1)
    items = [
        Item(f"{i}-{r}", x.numpy(), int(y), frozenset({("0.001", 0.02)}))
        for r in range(3)
        for i, (x, y) in enumerate(zip(images, labels, strict=True))
    ]
    shape = choose_compute_shape(normed, items[0].image, precision="fast32", most=8)
    run = stream(normed, items, arm, shape=shape)
    list(run)
    assert "audit outside the band" in run.notes[-1]


@pytest.mark.parametrize(("audited", "bound"), [(2, None), (29, None), (30, "9.50%"), (1000, "0.30%")])
def test_the_audit_is_bounded_exactly_and_only_where_that_says_something(audited, bound):
    from advassay.attacks.precision import Judge

    judge = Judge(0.05)
    judge.audited = audited
    assert ("at most" in judge.account()) == (bound is not None)
    assert bound is None or f"at most {bound}" in judge.account()
