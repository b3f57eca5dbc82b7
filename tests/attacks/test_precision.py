"""Low precision steers, float32 judges."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tiny_networks import small_cnn
from torch import nn

import advassay as aa
from advassay.attacks import Item, tune_batch_size
from advassay.attacks.batch_tuning import execution_config
from advassay.attacks.engine.float32_verifier import Comparisons, Float32Verifier
from advassay.attacks.engine.image_state import Grid, GridRow, Records, SharedIterates
from advassay.attacks.engine.preflight import PreflightCache
from advassay.attacks.engine.uncertainty_band import required_float32_mask
from advassay.attacks.stream import stream
from advassay.attacks.surrogate.build import build_surrogate


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
    steering = build_surrogate(normed, images, ("folded", "channels-last"))
    assert steering.rewrites == ("folded", "channels-last")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in steering.module.modules())
    torch.testing.assert_close(steering.module(images), normed(images), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(before[k], v) for k, v in normed.state_dict().items())


def test_a_rewritten_copy_follows_its_classifier_however_it_was_changed(normed, images):
    build_surrogate(normed, images, ("folded",))
    normed.module.head.weight.data *= 2  # unseen by version counters
    normed.module.head.register_forward_hook(lambda layer, given, out: out + 1)
    again = build_surrogate(normed, images, ("folded",))
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
    notes = build_surrogate(classifier, images, ("folded", "channels-last", "bfloat16")).notes
    assert any(note.startswith(f"{failed}: taken back: RuntimeError") for note in notes)


def test_a_convolution_whose_output_is_also_used_elsewhere_is_not_folded(images):
    class Tapped(WithNorms):
        def forward(self, x):
            raw = self.stem(x)
            return self.head(nn.functional.max_pool2d(torch.relu(self.stem_norm(raw)) + raw, 2).flatten(1))

    network = Tapped().eval()
    network.stem_norm.running_mean.uniform_(-1, 1)
    steering = build_surrogate(aa.Classifier(network), images, ("folded",))
    assert steering.rewrites == ()
    assert "folded" in steering.notes[0]


def test_a_network_that_cannot_be_copied_is_attacked_as_it_is_and_says_so(images):
    class Uncopyable(nn.Sequential):
        def __deepcopy__(self, memo):
            raise RuntimeError("no")

    classifier = aa.Classifier(Uncopyable(*small_cnn()))
    steering = build_surrogate(classifier, images, ("folded", "channels-last"))
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


def rows_of(normed, images, order, *, precision, band=None, batch_size=4, sessions=1, **rules) -> tuple[dict, float]:
    """image id → its block's logits, float32 marks and flags; the images given in `order`, in so many sessions."""
    arm = aa.Arm(epsilons=(0.002, 0.005, 0.02), steps=12, step_sizes=(0.002,), precision=precision, **rules)
    labels = normed(images).argmax(1)
    points = frozenset(("0.002", e) for e in arm.epsilons)
    targets = (labels + 1) % normed(images).shape[1] if arm.targeted else -torch.ones_like(labels)
    items = [Item(str(i), images[i].numpy(), int(labels[i]), points, int(targets[i])) for i in order]
    shape = execution_config(batch_size, precision=precision)
    found = {}
    for part in np.array_split(np.arange(len(items)), sessions):
        run = stream(normed, [items[i] for i in part], arm, shape=shape, known=PreflightCache(band=band))
        for block in run:
            for image_id in set(block.image_id.tolist()):
                kept = np.flatnonzero(block.image_id == image_id)
                kept = kept[np.lexsort([block.restart[kept], block.epsilon[kept]])]
                found[image_id] = (block.logits[kept], block.scored_float32[kept], block.flags["success_lost"][kept])
        band = run.known.band
    return found, band


@pytest.mark.parametrize("precision", ["fast32", "fast"])
@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"targeted": True},
        {"random_start": True, "restarts": 2},
        {"update": "projected-gradient", "loss": "margin"},
    ],
    ids=["plain", "targeted", "restarts", "raw gradient"],
)
def test_order_neighbours_and_interruptions_change_no_bit_of_a_record(normed, precision, narrow, rules):
    images = torch.rand(10, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    start = 0.0 if narrow else None  # 0: every image must find its own band, and be opened again
    whole, band = rows_of(normed, images, range(10), precision=precision, band=start, **rules)
    shuffled = [7, 2, 9, 0, 5, 1, 8, 3, 6, 4]
    other, _ = rows_of(normed, images, shuffled, precision=precision, band=band, sessions=3, **rules)
    assert whole.keys() == other.keys()
    for image_id, parts in whole.items():
        for one, two in zip(parts, other[image_id], strict=True):
            np.testing.assert_array_equal(one, two)
    scored = np.concatenate([marks for _, marks, _ in whole.values()])
    assert 0.1 < scored.mean() < 0.9


def test_nothing_near_the_boundary_is_left_to_low_precision(normed, images):
    found, band = rows_of(normed, images, range(len(images)), precision="fast")
    labels = normed(images).argmax(1).numpy()
    assert band > 0
    for image_id, (logits, scored, _) in found.items():
        size = np.abs(aa_margin(logits, np.full(len(logits), labels[int(image_id)])[:, None]))
        assert scored[size <= band].all()


margins = st.lists(st.tuples(st.floats(-5, 5), st.floats(-0.5, 0.5)), min_size=12, max_size=12)


@pytest.mark.parametrize("precision", ["fast32", "fast"])
def test_random_starts_and_restarts_run_under_low_precision_too(normed, images, precision):
    attack = aa.PGD(0.02, 0.005, steps=5, random_start=True, restarts=2)
    labels = normed(images).argmax(1)
    s = aa.sweep(normed, images, labels, attack, [0.005, 0.02], precision=precision)
    assert s.scored_float32[:, [0, -1]].all()
    assert (s.worst_case_success_rate() >= s.attack_success_rate()[:, -1]).all()


def test_a_success_that_is_not_a_number_does_not_hide_the_next_one():
    steered = np.array([[3.0, -1.0, -1.0, 2.0]])
    judged = np.array([[3.0, np.nan, -1.0, 2.0]])
    scored = np.array([[True, True, True, True]])
    assert required_float32_mask(steered, judged, 0.1, -1.0, scored).required.tolist() == [[True, True, True, True]]


@example([(3, 0), (0.11, -0.13), (-0.4, -1), (0.04, 0.06), *[(4, 0)] * 8], 0.05, -1.0)
@given(margins, st.floats(0, 0.2), st.sampled_from([-1.0, 1.0]))
def test_a_settled_band_holds_every_error_that_could_flip_and_is_the_same_whatever_else_is_known(seen, start, side):
    steered = np.array([m for m, _ in seen]).reshape(3, 4)
    judged = steered + np.array([e for _, e in seen]).reshape(3, 4)
    (width,), wanted = required_float32_mask(steered, judged, start, side)
    assert wanted[:, [0, -1]].all()
    assert wanted[np.abs(steered) <= width].all()
    errors, sizes = np.abs(judged - steered)[wanted], np.abs(steered)[wanted]
    assert all(width >= 2 * e for m, e in zip(sizes, errors, strict=True) if e >= m or m <= 4 * width)
    only = np.where(wanted, judged, np.nan)  # what was not wanted is not known
    again = required_float32_mask(steered, only, start, side)
    assert again.width.tolist() == [width]
    np.testing.assert_array_equal(again.required, wanted)
    for row in range(3):
        fell = [k for k in range(1, 4) if wanted[row, k] and judged[row, k] * side > 0]
        first = fell[0] if fell else 4
        assert all(wanted[row, k] for k in range(1, min(first + 1, 4)) if steered[row, k] * side > 0)


def test_images_settled_together_are_settled_as_alone():
    generator = np.random.default_rng(0)
    steered = generator.normal(size=(30, 9)) * 2
    judged = steered + generator.normal(size=steered.shape) * 0.3
    image = np.repeat(np.arange(6), 5)
    together = required_float32_mask(steered, judged, 0.05, -1.0, image=image)
    assert len(set(together.width.tolist())) > 3
    for number in range(6):
        mine = image == number
        alone = required_float32_mask(steered[mine], judged[mine], 0.05, -1.0)
        assert alone.width.tolist() == [together.width[number]]
        np.testing.assert_array_equal(alone.required, together.required[mine])


def one_image(rows: list[GridRow]) -> Records:
    records = Records(steps=5, classes=2, targeted=False, keyed=True)
    records.enter("a", torch.zeros(1, 1, 1), 0, -1, Grid(rows))
    return records


def iterate(records: Records, step: int, rows: list[int], logits: list[float]) -> SharedIterates:
    """An iterate of the image, steered through with these logits."""
    records.values[rows, step, :2] = logits
    return SharedIterates(*(np.array([n]) for n in (step, 0, step, len(rows))), np.array(rows))


ADVERSARIAL, STANDING = [0.0, 1.0], [1.0, 0.0]


def test_an_unconfirmed_success_is_replaced_only_when_it_was_itself_judged():
    """Another iterate of the row that float32 finds standing says nothing about the one that waits."""
    records, verifier = one_image([GridRow("s", 0.1, 0.01)]), Float32Verifier(0.0, start=0.02)

    def choose(step):
        return verifier.choose(records, iterate(records, step, [0], ADVERSARIAL), np.array([ADVERSARIAL], np.float32))

    waits, held = choose(2)
    assert (waits.step.tolist(), held) == ([2], None)
    asked, held = choose(3)
    assert (asked, held.step.tolist()) == (None, [3])
    standing = np.array([STANDING], np.float32)
    verifier.compare(records, iterate(records, 1, [0], STANDING), standing)
    assert records.rows.first_success[0] == 1
    assert verifier.release(records, held)[0] is None
    verifier.compare(records, waits, standing)
    following, still_held = verifier.release(records, held)
    assert (following.step.tolist(), still_held) == ([3], None)


def test_an_audited_iterate_counts_once_however_its_rows_are_split():
    audited = []
    for first in (0, 1):
        records = one_image([GridRow("s", e, 0.01) for e in (0.1, 0.2, 0.3)])
        records.scored[:first, 1] = True
        verifier = Float32Verifier(1.0, start=0.02)
        at = iterate(records, 1, [0, 1, 2], [9.0, 0.0])
        part, _ = verifier.choose(records, at, np.array([[9.0, 0.0]], np.float32))
        assert part.count.tolist() == [3 - first]
        verifier.compare(records, part, np.array([[8.9, 0.0]], np.float32))
        audited.append(verifier.total.audited)
    assert audited == [1, 1]


def aa_margin(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    ordered = np.sort(logits, axis=-1)
    own = np.take_along_axis(logits, np.broadcast_to(labels, logits.shape[:-1])[..., None], -1)[..., 0]
    return own - np.where(own == ordered[..., -1], ordered[..., -2], ordered[..., -1])


def test_the_audit_is_in_the_notes_with_its_bound(normed, images):
    arm = aa.Arm(epsilons=(0.02,), steps=20, step_sizes=(0.001,), precision="fast32")
    labels = normed(images).argmax(1)
    items = [
        Item(f"{i}-{r}", x.numpy(), int(y), frozenset({("0.001", 0.02)}))
        for r in range(3)
        for i, (x, y) in enumerate(zip(images, labels, strict=True))
    ]
    shape = tune_batch_size(normed, items[0].image, precision="fast32", most=8)
    run = stream(normed, items, arm, shape=shape)
    list(run)
    assert "audit outside the band" in run.notes[-1]


@pytest.mark.parametrize(("audited", "bound"), [(2, None), (29, None), (30, "9.50%"), (1000, "0.30%")])
def test_the_audit_is_bounded_exactly_and_only_where_that_says_something(audited, bound):
    told = Comparisons(audited=audited).summary()
    assert ("at most" in told) == (bound is not None)
    assert bound is None or f"at most {bound}" in told
