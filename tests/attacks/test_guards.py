"""Networks and inputs broken on purpose: each is stopped or flagged with a text that names cause and fix."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny_networks import small_cnn
from torch import nn

import advassay as aa
from advassay.attacks import Item, tune_batch_size
from advassay.attacks.checks.model import examine
from advassay.attacks.stream import stream
from advassay.errors import AttackError, ClassifierError, EpsilonError, InputError

PGD = aa.PGD(epsilon=0.02, steps=3)


class Changed(nn.Module):
    """A good network with something wrong before or after it."""

    def __init__(self, before=lambda x: x, after=lambda z: z) -> None:
        super().__init__()
        self.network, self.before, self.after = small_cnn(), before, after

    def forward(self, x):
        return self.after(self.network(self.before(x)))


BROKEN = {
    "softmax": (Changed(after=lambda z: z.softmax(1)), "probabilities", "softmax"),
    "rounding": (Changed(before=lambda x: (x * 255).round() / 255), "exactly zero", "rounding"),
    "detached": (Changed(after=lambda z: z.detach()), "does not exist", "detach"),
    "argmax": (Changed(after=lambda z: nn.functional.one_hot(z.argmax(1), 3).float() * 9), "gradient", "argmax"),
    "nan logits": (Changed(after=lambda z: z * float("nan")), "NaN", "weights"),
    "random": (Changed(after=lambda z: z + torch.randn_like(z)), "not deterministic", "dropout"),
    "three sigmoids that sum to 1": (
        Changed(after=lambda z: z.sigmoid() / z.sigmoid().sum(1, True)),
        "prob",
        "softmax",
    ),
    "neighbours": (Changed(before=lambda x: x - x.mean(0)), "neighbours", "fixed statistics"),
    "nan gradient": (Changed(before=lambda x: x + 0 * (x - x).sqrt()), "NaN", "weights"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_network_is_refused_with_cause_and_fix(images, labels, name):
    module, cause, fix = BROKEN[name]
    with pytest.raises(ClassifierError) as caught:
        aa.sweep(aa.Classifier(module), images, labels, PGD, [0.02])
    assert cause in caught.value.problem
    assert fix in caught.value.fix


BAD_INPUTS = {
    "normalised": (lambda x: (x - 0.5) / 0.5, "normalised"),
    "grey levels": (lambda x: x * 255, "divide by 255"),
    "16 bit": (lambda x: x * 65535, "divide by 65535"),
    "8-bit integers": (lambda x: (x * 255).byte(), "Divide 8-bit"),
    "nan pixels": (lambda x: torch.where(x > 0.9, float("nan"), x), "not numbers"),
    "one axis short": (lambda x: x[0], "axis"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_images_that_are_not_in_the_unit_range_are_refused(classifier, images, labels, name):
    change, fix = BAD_INPUTS[name]
    with pytest.raises(InputError) as caught:
        aa.attack(classifier, change(images), labels, PGD)
    assert fix in caught.value.fix


@pytest.mark.parametrize("bad", [lambda y: y.float(), lambda y: y[:3], lambda y: y - 5, lambda y: y + 9])
def test_labels_that_are_not_class_indices_are_refused(classifier, images, labels, bad):
    with pytest.raises(InputError) as caught:
        aa.attack(classifier, images, bad(labels), PGD)
    assert "labels" in caught.value.problem
    assert caught.value.fix


@pytest.mark.parametrize("epsilon", [4, 8, "8", 1.5])
def test_an_amplitude_in_the_wrong_unit_is_refused_with_the_right_spelling(classifier, images, labels, epsilon):
    with pytest.raises(EpsilonError) as caught:
        aa.sweep(classifier, images, labels, PGD, [epsilon])
    assert f"{float(epsilon):g}/255" in str(caught.value)


@pytest.mark.parametrize(
    ("rules", "error", "said", "fix"),
    [
        (dict(epsilon=4), EpsilonError, "4/255", "grey levels"),
        (dict(epsilon="8"), EpsilonError, "8/255", "grey levels"),
        (dict(epsilon=-0.1), EpsilonError, "0 or more", "fraction"),
        (dict(epsilon=float("nan")), EpsilonError, "finite", "fraction"),
        (dict(), EpsilonError, "required", "fraction"),
        (dict(epsilon=0.1, loss="hinge"), AttackError, "hinge", "help"),
        (dict(epsilon=0.1, stepsize=0.1), AttackError, "stepsize", "help"),
        (dict(epsilon=0.1, step_size="epsilon/4", update="literal"), AttackError, "gain", "help"),
    ],
)
def test_an_attack_that_means_nothing_is_refused_by_an_error_of_ours(rules, error, said, fix):
    with pytest.raises(error) as caught:
        aa.PGD(**rules)
    assert said in caught.value.problem
    assert fix in caught.value.fix


def test_the_same_amplitude_in_a_study_keeps_its_place_in_the_file():
    with pytest.raises(ValidationError) as caught:
        aa.Arm.model_validate({"epsilons": [0.02, 4]})
    assert "4/255" in str(caught.value)


@pytest.mark.parametrize("wrong", [dict(precision="fastest"), dict(batch_size=0)])
def test_an_unknown_precision_or_an_empty_batch_is_refused(classifier, images, labels, wrong):
    with pytest.raises(AttackError, match=str(*wrong.values())):
        aa.sweep(classifier, images, labels, PGD, [0.02], **wrong)


def test_an_amplitude_above_half_the_range_is_flagged(classifier, images, labels):
    assert aa.sweep(classifier, images, labels, PGD, [0.02, 0.6]).flags["epsilon_large"].all()


def test_dlr_needs_three_classes_and_four_when_targeted(images):
    two = aa.Classifier(small_cnn(classes=2))
    zeros = torch.zeros(8, dtype=torch.int64)
    with pytest.raises(AttackError, match="3 or more"):
        aa.attack(two, images, zeros, aa.PGD(0.02, loss="dlr"))
    three = aa.Classifier(small_cnn())
    with pytest.raises(AttackError, match="4 or more"):
        aa.attack(three, images, zeros, aa.PGD(0.02, loss="dlr", targeted=True), targets=zeros + 1)


def test_class_names_that_do_not_fit_the_network_are_refused(images, labels):
    with pytest.raises(ClassifierError, match="class_names"):
        aa.attack(aa.Classifier(small_cnn(), class_names=["a", "b"]), images, labels, PGD)


def test_train_mode_is_flagged_attacked_in_eval_mode_and_restored(images):
    network = nn.Sequential(small_cnn()[:2], nn.Dropout(0.9), *small_cnn()[2:])
    network.train()
    labels = torch.zeros(8, dtype=torch.int64)
    flagged = aa.sweep(aa.Classifier(network), images, labels, PGD, [0.02], precision="exact")
    assert flagged.flags["train_mode"].all()
    assert network.training
    quiet = aa.sweep(aa.Classifier(network.eval()), images, labels, PGD, [0.02], precision="exact")
    assert "train_mode" not in quiet.flags
    np.testing.assert_array_equal(flagged.logits, quiet.logits)


def test_a_sigmoid_left_in_a_one_output_head_is_flagged(images):
    module = Changed(after=lambda z: z[:, :1].sigmoid())
    s = aa.sweep(aa.Classifier(module), images, torch.ones(8, dtype=torch.int64), PGD, [0.02])
    assert s.flags["probabilities"].all()


def test_sigmoids_left_in_a_head_of_three_are_flagged(images, labels):
    module = Changed(after=lambda z: z.sigmoid())
    assert aa.sweep(aa.Classifier(module), images, labels, PGD, [0.02]).flags["probabilities"].all()


def test_a_one_output_head_with_small_logits_is_not_taken_for_a_sigmoid(images):
    """z = 0.4 for these images, but not for black or white ones: no sigmoid."""
    module = Changed(before=lambda x: x * 20 - 10, after=lambda z: z[:, :1])
    near = (images[:1] + 1e-3 * torch.rand(8, 1, 1, 1)).clamp(0, 1)
    module.network[-1].bias.data -= module(near)[0].detach() - 0.4
    assert ((module(near) > 0) & (module(near) < 1)).all()
    s = aa.sweep(aa.Classifier(module), near, torch.ones(8, dtype=torch.int64), PGD, [0.02], precision="exact")
    assert "probabilities" not in s.flags


def test_a_good_one_output_head_that_is_undecided_is_not_refused_for_its_rounding(images):
    """Logits of about 1e-5 that are the difference of large ones change by rounding with the batch: no fault."""

    class Undecided(Changed):
        def forward(self, x):
            z = self.network(x)[:, :1] * 100
            jitter = 1e-6 * (len(x) % 3)  # what another batch size does to sums of this size
            return z - level + jitter

    level = (Changed().network(images[:1])[:, :1] * 100).detach()
    same = images[:1].expand(8, -1, -1, -1)
    labels = torch.zeros(8, dtype=torch.int64)
    module = Undecided()
    assert module(same).abs().max() < 1e-4
    s = aa.sweep(aa.Classifier(module), same, labels, PGD, [0.02], precision="exact")
    assert s.logits.shape == (1, 4, 8, 2)


def test_labels_of_all_images_are_checked_before_the_first_step(classifier, images, labels):
    labels[-1] = 9
    with pytest.raises(InputError, match="below 3"):
        aa.attack(classifier, images, labels, aa.PGD(0.02, steps=100_000), batch_size=2)


@pytest.mark.parametrize("update", ["projected-gradient", "literal"])
def test_a_relative_step_for_a_raw_gradient_is_refused_by_sweep_too(classifier, images, labels, update):
    attack = aa.PGD(0.02, 100.0, update=update)
    with pytest.raises(AttackError, match="absolute gain"):
        aa.sweep(classifier, images, labels, attack, [0.02], step_sizes=["epsilon/4"])


def test_colour_images_for_a_grey_network_are_refused_with_the_channels_named(images, labels):
    with pytest.raises(InputError, match=r"1 channels.*got 3"):
        aa.attack(aa.Classifier(small_cnn(channels=1)), images, labels, PGD)


def test_a_classifier_on_two_devices_is_refused(images, labels):
    with pytest.raises(ClassifierError, match="cpu, meta"):
        aa.attack(aa.Classifier(small_cnn().to("meta")), images, labels, PGD)


def test_float32_means_float32_while_attacking_and_settings_return(images, labels):
    seen = []
    settings = torch.backends.cudnn.conv, torch.backends.cuda.matmul

    def now():
        return [*(s.fp32_precision for s in settings), torch.backends.cudnn.deterministic]

    def look(z):
        seen.append(now())
        return z

    before = now()
    aa.attack(aa.Classifier(Changed(after=look)), images, labels, PGD)
    assert seen
    assert all(s == ["ieee", "ieee", True] for s in seen)
    assert now() == before


def test_some_nan_logits_are_rows_with_a_flag_not_an_error(images, labels):
    limit = small_cnn()(images)[:, :1].median()
    module = Changed(after=lambda z: torch.where(z[:, :1] > limit, float("nan"), z))
    s = aa.sweep(aa.Classifier(module), images, labels, PGD, [0.02], precision="exact", batch_size=8)
    assert s.flags["nan"].any()
    assert not s.flags["nan"].all()


CUT = {
    "a local mean without gradient": lambda x: x - nn.functional.avg_pool2d(x.detach(), 5, 1, 2),
    "half of the image without gradient": lambda x: torch.cat([x[..., :8].detach(), x[..., 8:]], dim=-1),
    "rounding beside a faint path": lambda x: 0.9 * (x * 65535).round() / 65535 + 0.1 * x,
    "a made-up gradient": lambda x: x + (x**3 - x).detach(),
}


@pytest.mark.parametrize("name", CUT)
def test_a_gradient_cut_in_part_is_flagged_with_cause_and_fix(images, name):
    classifier = aa.Classifier(Changed(before=CUT[name]))
    items = [Item("a", images[0].numpy(), 0, frozenset({("0.01", 0.02)}))] * 2
    items[1] = items[1]._replace(image_id="b", image=images[1].numpy())
    arm = aa.Arm(epsilons=(0.02,), steps=1, precision="exact")
    shape = tune_batch_size(classifier, items[0].image, precision="exact", most=1)
    run = stream(classifier, items, arm, shape=shape)
    assert all(block.flags["gradient_cut"].all() for block in run)
    (note,) = (n for n in run.notes if n.startswith("gradient_cut"))
    assert "detach" in note
    assert "differentiable" in note


def rough() -> nn.Module:
    """Max pooling, ReLU and batch norm of a network that was never trained, on logits a thousand times too large."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(200, 3),
    )  # fmt: skip
    network[-1].weight.data *= 1000
    return network


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "network",
    [
        lambda seed: small_cnn(seed=seed),
        lambda seed: Changed(before=lambda x: x * 100),
        lambda seed: small_cnn(seed=seed).bfloat16(),
        lambda seed: rough(),
    ],
)
@pytest.mark.parametrize("scale", [0.0, 0.4, 1.0])
def test_sound_networks_are_not_suspected_of_a_cut_gradient(seed, network, scale):
    """Black images lie on the kinks of every ReLU of the first layer; bfloat16 rounds small changes away."""
    module = network(seed).eval()
    kind = next(module.parameters()).dtype
    classifier = aa.Classifier(Taking(module, kind)).eval()
    x = scale * torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    assert [s.flag for s in examine(classifier, x, classifier(x).argmax(1)).suspicions] == []


class Taking(nn.Module):
    """A network that takes its own type of float."""

    def __init__(self, module: nn.Module, kind: torch.dtype) -> None:
        super().__init__()
        self.module, self.kind = module, kind

    def forward(self, x):
        return self.module(x.to(self.kind))


def test_images_in_a_dead_region_are_flagged_not_refused(images, labels):
    """Every ReLU off for these images, alive for others: no gradient here does not mean that something cuts it."""
    module = Changed(before=lambda x: x * (x.amax((1, 2, 3), keepdim=True) > 0.5))
    s = aa.sweep(aa.Classifier(module), images * 0.4, labels * 0 + 1, PGD, [0.02], precision="exact")
    assert s.flags["zero_gradient"].all()
    assert s.flags["unchanged"].all()


def test_suspicions_reach_the_notes_of_a_stream(images, labels):
    classifier = aa.Classifier(small_cnn().train())
    arm = aa.Arm(epsilons=(0.6,), step_sizes=(0.01,), steps=2, precision="exact")
    items = [Item("a", images[0].numpy(), int(labels[0]), frozenset({("0.01", 0.6)}))]
    shape = tune_batch_size(classifier, items[0].image, precision="exact", most=1)
    run = stream(classifier, items, arm, shape=shape)
    (block,) = run
    assert {"train_mode", "epsilon_large"} <= set(block.flags)
    assert all(any(note.startswith(flag) for note in run.notes) for flag in ("train_mode", "epsilon_large"))


def test_targets_are_needed_exactly_when_the_attack_is_targeted(classifier, images, labels):
    with pytest.raises(InputError, match="targets"):
        aa.attack(classifier, images, labels, aa.PGD(0.02, targeted=True))
    with pytest.raises(InputError, match="targets"):
        aa.attack(classifier, images, labels, PGD, targets=labels)


def test_a_gradient_that_is_nan_in_part_of_every_image_is_flagged_and_run_again():
    """The root of a dark corner has no derivative at 0: it lies in every image, the rest is attacked."""
    module = Changed(before=lambda x: x + 1e-3 * (x * (x > 0.1)).sqrt())
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(5)) * 0.8 + 0.15
    images[:, :, :2, :2] = 0.0
    labels = aa.Classifier(module)(images).argmax(1)
    s = aa.sweep(aa.Classifier(module), images, labels, PGD, [0.02], precision="exact")
    assert np.isnan(s.gradient_norm[0, 0]).all()
    assert s.flags["nan_gradient"].all()
    assert s.rerun is not None
    apgd = aa.attack(aa.Classifier(module), images, labels, aa.PGD(0.02, steps=3, update="apgd"))
    assert apgd.flags["nan_gradient"].all()


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([[0.5], [0.5, 0.5]], "parts differ in shape"),
        (np.ma.masked_greater(np.full((1, 1, 8, 8), 0.5, np.float32), 0.4), "masked"),
        (torch.full((1, 1, 8, 8), 0.5).to_sparse(), "dense tensor"),
    ],
    ids=["ragged", "masked", "sparse"],
)
def test_images_that_are_no_plain_array_are_refused_by_name(images: object, said: str) -> None:
    network = aa.Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)).eval())
    with pytest.raises(InputError, match=said):
        aa.attack(network, images, [0], aa.PGD(epsilon=0.1))


def test_an_amplitude_that_float64_cannot_hold_and_a_list_that_is_none_are_refused() -> None:
    network = aa.Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)).eval())
    with pytest.raises(EpsilonError, match="expected a list of numbers, got None"):
        aa.sweep(network, np.full((1, 1, 8, 8), 0.5, np.float32), [0], aa.PGD(epsilon=0.1), None)
    with pytest.raises(EpsilonError, match="rounds to 0"):
        aa.sweep(network, np.full((1, 1, 8, 8), 0.5, np.float32), [0], aa.PGD(epsilon=0.1), ["1e-400"])


def test_a_buffer_made_in_inference_mode_is_named() -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)).eval()
    with torch.inference_mode():
        module.register_buffer("offset", torch.zeros(1))
    with pytest.raises(ClassifierError, match=r"offset, a buffer"):
        aa.attack(aa.Classifier(module), np.full((1, 1, 8, 8), 0.5, np.float32), [0], aa.PGD(epsilon=0.1))
