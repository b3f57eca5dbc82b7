"""studies/reference.yaml is the reference study as published: it loads, is planned without its data, and scales."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_study import cpu

from advassay.cohorts.selection import select_by_metadata
from advassay.errors import AdvassayWarning
from advassay.sources import open_source
from advassay.spec.study_spec import Study
from advassay.study import Plan, load_study
from advassay.study.plan.study_plan import plan

FILE = Path(__file__).parents[2] / "studies" / "reference.yaml"
PUBLISHED = {  # Kovalev & Voynov 2019, Table 1
    **{"X-NR2": (200_000, 0.98), "X-NR3": (550_080, 0.83), "X-AO": (27_000, 0.78), "X-TB": (28_000, 0.82)},
    **{"H-OV": (96_000, 0.92), "H-TH": (96_000, 0.94), "H-OV-TH": (192_000, 0.91), "H-BR": (125_000, 0.97)},
}


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(FILE)


@pytest.fixture(scope="module")
def planned(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    with pytest.warns(AdvassayWarning, match=r"numbers the study states.*: cohorts X-NR2, .*H-BR\..*Give --data"):
        return plan(study, cpu(tmp_path_factory.mktemp("empty")), timed=False)


@pytest.fixture(scope="module")
def small() -> Study:
    with pytest.warns(AdvassayWarning, match=r"at least 20 images, .*larger than asked for: X-AO, X-TB\."):
        return load_study(FILE, scale=0.001, phantoms=True, overrides=["training.epochs=1"])


def test_it_declares_what_the_paper_publishes(study: Study) -> None:
    stated = {name: (c.published.images, c.published.score) for name, c in study.cohorts.items() if c.published}
    assert stated == PUBLISHED
    assert study.attack.epsilons == tuple(round(0.02 * step, 2) for step in range(1, 11))
    assert (study.attack.steps, study.image_size_px, study.training.architecture) == (20, 256, "inception_v3")
    assert {type(source).__name__ for source in study.sources.values()} == {"DicomSource", "SlideSource"}


def test_planned_without_its_data_every_cohort_has_its_published_size(planned: Plan) -> None:
    images = {row.cohort: row.total for row in planned.rows if row.stage == "prepare"}
    assert images == {name: number for name, (number, _) in PUBLISHED.items()}
    assert {row.basis for row in planned.rows} == {"stated"}


def test_x_tb_is_attacked_on_2800_images_of_each_class(planned: Plan) -> None:
    """Published: 14,000 of each class, 80/20; tuberculosis with its copies, 11,200 and 2,800."""
    (row,) = [row for row in planned.rows if (row.stage, row.cohort, row.arm) == ("attack", "X-TB", "A")]
    assert row.total == 5_600 * 110


def test_costs_are_apart_by_arm_and_add_up(planned: Plan) -> None:
    costs = planned.costs()
    assert [(cost.stage, cost.arm) for cost in costs] == [
        *[("prepare", ""), ("train", "")],
        *[("attack", "A"), ("attack", "B"), ("attack", "C")],
        *[("controls", "A"), ("controls", "B"), ("controls", "C")],
        *[("doubling", "A"), ("doubling", "B"), ("doubling", "C")],
        *[("re-run", "A"), ("re-run", "B")],
    ]
    assert sum(cost.bytes for cost in costs) == planned.bytes
    certain = sum(cost.total for cost in costs if cost.stage in ("attack", "doubling"))
    assert certain == planned.totals()["gradient steps"][0]


def test_the_size_series_has_five_parts_and_the_whole(planned: Plan) -> None:
    assert len([row for row in planned.rows if (row.cohort, row.stage) == ("H-BR", "train")]) == 6


def test_a_thousandth_on_phantoms_has_every_class_on_every_side(small: Study) -> None:
    assert {source.kind for source in small.sources.values()} == {"phantoms"}
    for name, spec in small.cohorts.items():
        opened = open_source(spec.source, small.sources[spec.source], None)
        counts = select_by_metadata(name, spec, opened, small.seed).counts()
        assert all(images >= 1 for classes in counts.values() for images in classes.values()), (name, counts)


def test_a_thousandth_is_a_thousandth_down_to_the_floors(small: Study) -> None:
    cohorts = small.cohorts
    assert (cohorts["X-NR2"].per_class, cohorts["X-NR3"].per_class, cohorts["H-BR"].per_class) == (100, 183, 63)
    assert cohorts["X-TB"].per_class == {"tuberculosis": 20, "norm": 20}
    assert cohorts["X-TB"].augmentation is not None
    assert cohorts["X-TB"].augmentation.to == 40
    assert cohorts["H-BR"].train_sizes == (16, 20, 40, 80, 1.0)
    assert small.attack.arm("C").images == 8
