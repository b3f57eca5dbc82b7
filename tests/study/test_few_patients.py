"""Plan and prepare agree on the table of four patients, and say what a reader should know first."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_study import cpu
from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.errors import CohortError, SourceError
from advassay.spec.study_spec import Study
from advassay.store_documents import Preparation
from advassay.store_layout import PREPARATION
from advassay.study import parse_study, prepare
from advassay.study.plan.study_plan import plan

CASE = Path(__file__).parents[1] / "cohorts" / "fewpatients"
FEW = """
name: few
seed: {seed}
image_size_px: 32
sources: {{images: {{kind: table, path: table.csv, patient_id: patient_id}}}}
cohorts:
  table:
    source: images
    classes: {{necrotic: {{label: [necrotic]}}, none: {{label: [none]}}, viable: {{label: [viable]}}}}
training: {{architecture: resnet18, epochs: 1}}
"""

pytestmark = pytest.mark.filterwarnings("ignore::advassay.errors.AdvassayWarning")


def few(seed: int = 0, text: str = FEW) -> Study:
    return parse_study(text.format(seed=seed))


@pytest.mark.parametrize("seed", range(10))
def test_plan_and_prepare_agree_for_every_seed_and_every_class_is_on_both_sides(tmp_path: Path, seed: int) -> None:
    here = cpu(tmp_path / "store", data=CASE)
    planned = plan(few(seed), here, timed=False)
    (document,) = prepare(few(seed), here).values()
    assert all(document.counts[role][name] for role in ("training", "validation") for name in document.class_names)
    assert sum(row.total for row in planned.rows if row.stage == "prepare") == 60
    per_class = document.patients_per_class
    assert all(per_class[role][name] >= 1 for role in ("training", "validation") for name in document.class_names)
    for told in ([text for _, text in planned.warnings], document.warnings):
        assert any(
            "Few patients: training" in text and "validation 1 (necrotic 1, none 1, viable 1)" in text for text in told
        )
        assert any("Class necrotic: 14 of its 20 images are of one patient" in text for text in told)


def test_an_odd_age_blocks_no_rule_of_the_case(tmp_path: Path) -> None:
    ruled = few(text=FEW.replace("    classes", "    where: {{age: {{range: [50, 60]}}}}\n    classes"))
    here = cpu(tmp_path / "store", data=CASE)
    (document,) = prepare(ruled, here).values()
    assert {"age: not a number": 15, "age: no value": 15}.items() <= document.flow[0]["reasons"].items()
    assert any("15 of 60 values are not plain numbers" in warning for warning in document.warnings)


def test_what_no_split_can_do_both_refuse_with_the_same_advice(tmp_path: Path) -> None:
    alone = FEW.replace("patient_id: patient_id", "patient_id: label")
    here = cpu(tmp_path / "store", data=CASE)
    for verb in (lambda study: plan(study, here, timed=False), lambda study: prepare(study, here)):
        with pytest.raises(
            CohortError, match=r"cohorts.table: split: .* have fewer than 2 patients \(necrotic 1, none 1"
        ):
            verb(few(text=alone))


def test_files_that_are_all_missing_stop_plan_and_prepare_and_the_first_is_named(tmp_path: Path) -> None:
    shutil.copy(CASE / "table.csv", tmp_path / "table.csv")
    here = cpu(tmp_path / "store", data=tmp_path)
    for verb in (lambda study: plan(study, here, timed=False), lambda study: prepare(study, here)):
        with pytest.raises(SourceError, match=r"got none of 60; the first missing one is .*img/0\.png"):
            verb(few())


def test_enlarged_images_and_missing_files_are_said_at_plan(tmp_path: Path) -> None:
    shutil.copytree(CASE, tmp_path / "data")
    (tmp_path / "data" / "img" / "7.png").unlink()
    told = [text for _, text in plan(few(), cpu(tmp_path / "store", data=tmp_path / "data"), timed=False).warnings]
    assert any("1 of 60 image files are missing; the first missing one is" in text for text in told)
    assert any("All images are smaller than the 32 px they are prepared at (median 24 px)" in text for text in told)


def test_the_plan_verb_prints_the_warnings_and_its_json_has_them(tmp_path: Path) -> None:
    (tmp_path / "few.yaml").write_text(FEW.format(seed=0))
    arguments = [
        "plan",
        str(tmp_path / "few.yaml"),
        "--data",
        str(CASE),
        "--store",
        str(tmp_path / "s"),
        "--no-measure",
    ]
    shown = CliRunner().invoke(app, arguments)
    assert "table: Few patients: training" in shown.stderr
    texts = [entry["text"] for entry in json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)["warnings"]]
    assert any("Few patients" in text for text in texts)


def test_pixels_that_the_network_never_sees_are_said_when_the_machine_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("advassay.study.plan.study_plan.Estimator.estimated", lambda self, row: row)
    seen = few(text=FEW.replace("resnet18", "inception_v3").replace("image_size_px: 32", "image_size_px: 80"))
    told = [text for _, text in plan(seen, cpu(tmp_path / "store", data=CASE), timed=True).warnings]
    assert any("inception_v3 never sees 3 rows and 3 columns at the edges of 80 px" in text for text in told)


def test_without_known_patients_the_preparation_counts_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("ill", "well"):
        (tmp_path / "films" / name).mkdir(parents=True)
        for number in range(20):
            cv2.imwrite(str(tmp_path / "films" / name / f"{number}.png"), rng.integers(0, 255, (40, 40), np.uint8))
    text = FEW.replace("kind: table, path: table.csv, patient_id: patient_id", "kind: folder, path: films")
    text = text.replace("{{necrotic: {{label: [necrotic]}}, none: {{label: [none]}}, viable: {{label: [viable]}}}}",
                        "{{ill: {{label: [ill]}}, well: {{label: [well]}}}}")  # fmt: skip
    (document,) = prepare(few(text=text), cpu(tmp_path / "store", data=tmp_path)).values()
    assert document.patients_per_class == {}
    assert "patients_per_class" not in json.loads((tmp_path / "store" / "cohorts" / "table" / PREPARATION).read_text())
    assert any(warning.startswith("Patients are not known") for warning in document.warnings)
    assert Preparation.model_validate_json(document.model_dump_json()) == document
