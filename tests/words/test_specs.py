"""What a study file may say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

import advassay as aa
from advassay.spec.attack_spec import resolve_step_size
from advassay.spec.study_spec import Study

SMALLEST = {
    "name": "s",
    "sources": {"p": {"kind": "phantoms", "phantom": "chest"}},
    "cohorts": {"X": {"source": "p", "classes": {"young": {"age": {"range": [20, 35]}}, "old": {"age": [60, 61]}}}},
    "training": {"updates": 1},
}


def with_attack(**attack: object) -> Study:
    return Study.model_validate(SMALLEST | {"attack": attack})


def test_a_study_survives_its_own_dump() -> None:
    study = with_attack(arms={"A": {}, "C": {"step_sizes": ["epsilon/4"], "epsilons": ["1/255"]}})
    again = Study.model_validate(study.model_dump(mode="json", by_alias=True))
    assert again == study


def test_an_arm_takes_what_it_does_not_say_from_the_attack_section() -> None:
    study = with_attack(steps=7, arms={"A": {}, "B": {"update": "projected-gradient", "step_sizes": [100]}})
    assert study.attack.arm("A").steps == study.attack.arm("B").steps == 7
    assert study.attack.arm("B").step_sizes == (100.0,)
    assert study.attack.arm("A").update == "projected-sign"


@pytest.mark.parametrize(
    ("attack", "says"),
    [
        ({"epsilons": [8]}, "8/255"),
        ({"epsilons": [0.02, 0.02]}, "each amplitude once"),
        ({"epsilons": [-0.1]}, "0 or more"),
        ({"epsilons": ["5/0"]}, "5/255"),
        ({"arms": {"B": {"epsilon": [0.1]}}}, "arms.B"),
        ({"arms": {"B": {"update": "literal", "step_sizes": ["epsilon/4"]}}}, "raw gradient"),
        ({"restarts": 5}, "random_start"),
    ],
)
def test_a_wrong_attack_says_which_rule_it_breaks(attack: dict, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        with_attack(**attack)


def test_a_path_cannot_leave_the_data_folder() -> None:
    with pytest.raises(ValidationError, match="data folder"):
        Study.model_validate(SMALLEST | {"sources": {"p": {"kind": "folder", "path": "../../etc"}}})


def test_a_cohort_names_a_source_that_exists() -> None:
    with pytest.raises(ValidationError, match=r"cohorts\.X\.source"):
        Study.model_validate(SMALLEST | {"sources": {}})


def test_epsilon_and_its_products_are_one_amplitude() -> None:
    assert aa.PGD(0.02 * 3) == aa.PGD(0.06)
    assert aa.PGD("5/255").epsilon == 5 / 255


def test_relative_steps_follow_epsilon() -> None:
    attack = aa.PGD("5/255", step_size="epsilon/4")
    assert resolve_step_size(attack.step_size, attack.epsilon) == 5 / 255 / 4
