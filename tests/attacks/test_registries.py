"""Update rules, losses and precisions: what is declared and not written is refused when the program is loaded."""

from __future__ import annotations

import importlib.util
from typing import Literal, get_args

import pytest

import advassay as aa
from advassay.attacks.attack_step import UpdateRule, get_update_rule
from advassay.attacks.engine import float32_verifier
from advassay.attacks.losses import attack_loss
from advassay.errors import ExtensionError
from advassay.spec import attack_spec
from advassay.spec.attack_components import LOSSES, UPDATE_RULES, LossFacts, UpdateRuleFacts, list_components


def test_a_precision_that_is_only_declared_stops_the_import_and_is_named(monkeypatch):
    monkeypatch.setattr(attack_spec, "Precision", Literal[(*get_args(attack_spec.Precision), "momentous")])
    spec = importlib.util.spec_from_file_location("afresh", float32_verifier.__file__)
    with pytest.raises(NotImplementedError, match=r"precision: .*momentous"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_a_name_that_is_only_written_is_named_too():
    with pytest.raises(NotImplementedError, match=r"colour: .*blue"):
        attack_spec.check_complete("colour", Literal["red"], {"red": 1, "blue": 2})


def test_a_rule_or_a_loss_without_its_arithmetic_cannot_be_made():
    class Idle(UpdateRule):
        name = "idle"

    class Numb(LossFacts):
        name = "numb"

    with pytest.raises(TypeError, match="propose"):
        Idle()
    with pytest.raises(TypeError, match="value"):
        Numb()


def test_a_rule_that_does_not_say_what_others_must_know_is_refused_when_it_registers():
    class Vague(UpdateRule):
        name = "vague"

        def propose(self, visit, rules):
            raise AssertionError

    with pytest.raises(ExtensionError, match=r"Vague is incomplete: it has no description, source, step_meaning"):
        UPDATE_RULES.register(Vague())
    assert "vague" not in UPDATE_RULES


def test_a_rule_that_only_has_the_facts_is_refused_before_the_first_step(monkeypatch):
    class Facts(UpdateRuleFacts):
        name = summary = description = source = "facts"
        step_meaning = "length"

        def propose(self, visit, rules):
            raise AssertionError

    monkeypatch.setitem(UPDATE_RULES._parts, "facts", Facts())
    with pytest.raises(ExtensionError, match=r"expected an instance of advassay\.attacks\.attack_step\.UpdateRule"):
        get_update_rule(aa.PGD(0.02, update="facts"))


def test_a_loss_that_is_no_number_an_image_is_refused_before_the_first_step(monkeypatch, classifier, images, labels):
    class Whole(LossFacts):
        name = summary = description = "whole"
        rerun_loss = None

        def value(self, logits, labels, targets):
            return logits.mean()

    monkeypatch.setitem(LOSSES._parts, "whole", Whole())
    with pytest.raises(ExtensionError, match=r"loss: expected one value an image of whole, \(2,\), got \(\)"):
        aa.attack(classifier, images, labels, aa.PGD(0.02, steps=2, loss="whole"))


@pytest.mark.parametrize("loss", LOSSES.names())
def test_the_loss_that_repeats_another_is_registered_and_does_not_saturate(loss):
    again = LOSSES.get(loss).rerun_loss
    assert again is None or LOSSES.get(again).rerun_loss is None


def test_every_name_is_listed_with_words_of_its_own():
    listed = list_components()
    assert listed.keys() == {"update", "loss"}
    assert {"apgd", "literal", "projected-gradient", "projected-sign"} <= listed["update"].keys()
    assert {"cross-entropy", "dlr", "margin", "probability"} <= listed["loss"].keys()
    for words in listed.values():
        assert all(words.values())
        assert len(set(words.values())) == len(words)


def test_an_unknown_loss_is_refused_and_never_runs_as_another(images, labels, network):
    with pytest.raises(aa.AdvassayError, match=r"expected one of .*dlr.*, got 'logit'"):
        attack_loss(network(images), labels, "logit")
