"""A store whose deciding arm is still to be attacked has a report without verdicts, which says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from advassay.analysis.conclusions import conclusions
from advassay.errors import SpecError
from advassay.records import open_records
from advassay.report import write_report
from advassay.spec.attack_spec import Arm
from advassay.store_layout import Store
from advassay.study import load_study
from advassay.study.run.preregistration import freeze_analysis_plan
from tests.simulate import Cohort, make_store

A = Arm(epsilons=(0.02, 0.06, 0.1), step_sizes=(0.01,), steps=6)
WHY = "No verdicts: attack arm C decides, and no network is attacked by it yet. Figures and tables show arm A."


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_store(tmp_path_factory.mktemp("store") / "s", (Cohort("X-A", "X-ray", patients=20),), {"A": A})
    study = yaml.safe_load((path / "study.yaml").read_text())
    study["attack"]["arms"]["C"] = {"loss": "margin"}
    study["analysis"]["arm"] = "C"
    (path / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    freeze_analysis_plan(load_study(path / "study.yaml"), Store(path))
    return path


@pytest.mark.parametrize("kind", ["json", "md", "html"])
def test_the_report_is_made_and_says_that_no_verdict_can_be_given(unfinished: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"report.{kind}"
    write_report(unfinished, path, kind)  # type: ignore[arg-type]
    text = path.read_text()
    assert WHY in text.replace("\\", "")
    if kind == "json":
        found = json.loads(text)
        assert found["conclusions"] == []
        assert "success_by_epsilon" in found["tables"]


def test_the_verdicts_alone_are_refused_with_what_to_do(unfinished: Path) -> None:
    with pytest.raises(SpecError, match=r"analysis\.arm: C decides, and no network is attacked by it yet; recorded: A"):
        conclusions(open_records(unfinished))
