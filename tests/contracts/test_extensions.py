"""A distribution outside advassay adds an update rule, a loss and a kind of source; nothing else is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest

import advassay as aa
from advassay.errors import AttackError, ExtensionError
from advassay.report.text.methods import describe_component
from advassay.sources import OpenSource
from advassay.sources.source_opener import SourceKind, SourceRequest
from advassay.spec.attack_components import LOSSES, UPDATE_RULES
from advassay.spec.source_spec import SOURCE_KINDS, NpzSource, SourceSpec
from advassay.study import parse_study

PACKAGE = Path(__file__).parent / "heavy_ball"
STUDY = """
name: momentum
image_size_px: 40
sources: {chest: {kind: phantoms, phantom: chest, images: 80, size_px: 40, signal: 3}}
cohorts:
  X: {source: chest, classes: {m: {sex: M}, f: {sex: F}}}
training: {architecture: test_resnet, updates: 4, evaluations: 1}
attack:
  steps: 20
  controls: false
  arms: {A: {}, M: {update: heavy-ball, loss: true-class-logit}}
"""
ARRAYS = """
name: arrays
image_size_px: 32
sources: {scans: {kind: raw-array, path: FOLDER/scans.npy, table: FOLDER/scans.csv, image_type: CT}}
cohorts:
  X: {source: scans, classes: {ill: {state: ill}, well: {state: well}}}
training: {architecture: test_resnet, updates: 4, evaluations: 1}
"""
ATTACKS = """
import json, sys
import advassay as aa
from advassay.spec.attack_components import LOSSES, UPDATE_RULES
told = {"updates": UPDATE_RULES.names(), "losses": LOSSES.names()}
told["imported"] = sorted({"torch", "advassay_heavy_ball"} & set(sys.modules))
from advassay.study import parse_study
from advassay.study.gradient_counts import gradient_steps
study = parse_study(open(sys.argv[1]).read())
told["gradient steps"] = [gradient_steps(study.attack.arm(name)) for name in "AM"]
told["relative"] = aa.PGD(0.02, "epsilon/4", update="heavy-ball").step_size
told["torch"] = "torch" in sys.modules

import torch
torch.manual_seed(0)
network = torch.nn.Sequential(
    torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 3)
).eval()
x = torch.rand(8, 1, 8, 8)
y = network(x).argmax(1)
rules = dict(step_size=0.01, steps=6, update="heavy-ball", loss="true-class-logit")


def written_out(epsilon):
    # The rule again, in the order of its paper: what the scheduler shares and splits must not be seen.
    points, at, velocity = [x], x, torch.zeros_like(x)
    for _ in range(6):
        at = at.detach().requires_grad_()
        loss = -network(at)[torch.arange(len(y)), y].sum()
        (gradient,) = torch.autograd.grad(loss, at)
        velocity = velocity + gradient / gradient.abs().sum((1, 2, 3), keepdim=True)
        at = (x + (at.detach() + 0.01 * velocity.sign() - x).clamp(-epsilon, epsilon)).clamp(0, 1)
        points.append(at)
    return points


epsilons = [0.015, 0.03, 0.05]
wanted = [torch.stack([network(point) for point in written_out(epsilon)]).detach() for epsilon in epsilons]
swept = aa.sweep(aa.Classifier(network), x, y, aa.PGD(0.02, **rules), epsilons=epsilons, precision="exact")
# A sweep's batches hold other rows beside an image's than the loop's: the last bit of a logit may depend on that.
told["swept"] = [torch.allclose(torch.from_numpy(ours), theirs, 0, 1e-6) for ours, theirs in zip(swept.logits, wanted)]
told["gradients"] = swept.cost.gradient_evaluations
attacked = aa.attack(aa.Classifier(network), x, y, aa.PGD(0.03, **rules))
told["attacked"] = bool((torch.from_numpy(attacked.adversarial_images) == written_out(0.03)[-1]).all())
told["rerun"] = swept.rerun is None
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a process in which the package is installed, as pip would leave it from its pyproject.toml."""
    root = tmp_path_factory.mktemp("site-packages")
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    info = root / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = project["entry-points"].items()
    lines = [f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in named.items()) for group, named in points]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    paths = [str(root), str(PACKAGE / "src"), str(Path(aa.__file__).parents[1])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def told(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a program says that attacks with the package's rule and loss."""
    study = tmp_path_factory.mktemp("study") / "study.yaml"
    study.write_text(STUDY)
    return json.loads(run(environment, "-c", ATTACKS, str(study)).stdout)


def run(environment: dict[str, str], *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == code, done.stderr
    return done


def test_its_names_are_known_without_importing_it_or_torch(told):
    assert "heavy-ball" in told["updates"]
    assert "true-class-logit" in told["losses"]
    assert told["imported"] == []
    assert told["torch"] is False


def test_its_rule_and_loss_give_what_their_formula_gives(told):
    assert told["attacked"]  # bit for bit: the same images in the same batch
    assert told["swept"] == [True, True, True]


def test_its_facts_count_the_gradients_that_the_engine_takes(told):
    assert told["gradients"] < 8 * 3 * 6  # a prefix is shared, state and all
    assert told["gradient steps"][0] == told["gradient steps"][1]
    assert told["relative"] == "epsilon/4"
    assert told["rerun"]


def test_a_study_attacks_with_them_and_its_records_open_without_the_package(environment, tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(STUDY)
    few = ["--set", "attack.steps=3", "--set", "attack.images=6", "--set", "attack.epsilons=[0.02, 0.1]"]
    command = ["attack", str(study), "--store", str(tmp_path / "store"), "--device", "cpu", *few]
    run(environment, "-m", "advassay.cli", *command)
    records = aa.open_records(tmp_path / "store")
    attacked = {header.arm: header for header in records.headers}
    assert attacked["M"].attack["update"] == "heavy-ball"
    rows = {arm: records.run(header.run_id).rows() for arm, header in attacked.items()}
    assert len(rows["A"]) == len(rows["M"]) == 12
    clean, moved = (np.abs(rows["M"].linf[:, step]).max() for step in (0, 3))
    assert (clean, float(moved)) == (0, pytest.approx(0.03, rel=1e-4))
    assert not np.array_equal(rows["A"].logits, rows["M"].logits)
    assert describe_component(UPDATE_RULES, "heavy-ball") == "update heavy-ball."
    assert describe_component(UPDATE_RULES, "apgd").endswith("(Croce and Hein 2020).")


def test_its_names_are_in_help_and_schema(environment):
    shown = " ".join(run(environment, "-m", "advassay.cli", "attack", "--help").stdout.split())
    assert "heavy-ball sign steps along a velocity that gathers the gradients" in shown
    assert "true-class-logit the logit of the true class falls" in shown
    schema = json.loads(run(environment, "-m", "advassay.cli", "schema").stdout)
    arm = schema["$defs"]["AttackSpec"]["properties"]
    assert {"heavy-ball", "apgd"} <= set(arm["update"]["enum"])
    assert {"true-class-logit", "dlr"} <= set(arm["loss"]["enum"])


def test_a_misspelt_name_is_refused_with_all_registered_ones(environment, tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(STUDY.replace("update: heavy-ball", "update: heavy-bell"))
    refused = run(environment, "-m", "advassay.cli", "plan", str(study), code=2).stderr
    assert "heavy-ball" in refused
    assert "projected-sign" in refused
    assert "got 'heavy-bell'" in refused


def test_without_the_package_its_names_are_refused_and_what_is_registered_is_listed():
    assert "heavy-ball" not in UPDATE_RULES
    assert "true-class-logit" not in LOSSES
    with pytest.raises(AttackError, match=r"update: expected one of apgd, .*projected-sign.*, got 'heavy-ball'"):
        aa.PGD(0.02, update="heavy-ball")
    with pytest.raises(aa.AdvassayError, match=r"attack\.arms\.M\.loss: expected one of .*margin.*, got 'true-class"):
        parse_study(STUDY.replace("update: heavy-ball, ", ""))


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 80 noise images of 40 patients, and the study that reads them by absolute paths."""
    root = tmp_path_factory.mktemp("scans")
    folder = root / "ward"
    folder.mkdir()
    np.save(folder / "scans.npy", np.random.default_rng(0).integers(0, 256, (80, 40, 40), dtype=np.uint8))
    lines = [f"P{number // 2},{'ill' if number % 4 < 2 else 'well'}" for number in range(80)]
    (folder / "scans.csv").write_text("patient_id,state\n" + "\n".join(lines) + "\n")
    (root / "study.yaml").write_text(ARRAYS.replace("FOLDER", str(folder)))
    return root


def prepare(environment: dict[str, str], scans: Path) -> dict[str, Any]:
    command = ["prepare", str(scans / "study.yaml"), "--store", str(scans / "store")]
    run(environment, "-m", "advassay.cli", *command)
    return json.loads((scans / "store/cohorts/X/preparation.json").read_text())


def test_a_study_prepares_a_cohort_of_its_kind_and_notices_when_its_source_changes(environment, scans):
    first, second = prepare(environment, scans), prepare(environment, scans)
    manifest = pl.read_parquet(scans / "store/cohorts/X/manifest.parquet")
    assert dict(manifest["class_name"].value_counts().iter_rows()) == {"ill": 40, "well": 40}
    assert set(manifest["image_type"]) == {"CT"}
    assert first == second
    images = np.load(scans / "ward/scans.npy")
    np.save(scans / "ward/scans.npy", 255 - images)
    third = prepare(environment, scans)
    assert third["source_state"] != first["source_state"]
    assert third["request"] == first["request"]
    # No folder and no patient is in what is passed on.
    shown = "".join(path.read_text() for path in (scans / "store").rglob("*.*") if path.suffix in (".json", ".yaml"))
    assert "scans.npy" in shown
    assert str(scans / "ward") not in shown
    assert not set(manifest["patient_id"]) & {f"P{number}" for number in range(40)}


def test_its_kind_is_in_the_schema_and_a_misspelt_one_is_refused_with_all_registered_ones(environment, scans):
    schema = json.loads(run(environment, "-m", "advassay.cli", "schema").stdout)
    kinds = schema["properties"]["sources"]["additionalProperties"]["discriminator"]["mapping"]
    assert {"raw-array", "table", "dicom"} <= set(kinds)
    fields = schema["$defs"]["RawArraySource"]["properties"]
    assert fields["table"]["description"] == "CSV or Parquet with a row for each image, in the same order."
    study = scans / "study.yaml"
    study.write_text(study.read_text().replace("raw-array", "raw-aray"))
    refused = run(environment, "-m", "advassay.cli", "plan", str(study), code=2).stderr
    assert "sources.scans.kind: expected one of dataset," in refused
    assert "got 'raw-aray'. Did you mean raw-array?" in refused


def test_without_the_package_its_kind_is_refused():
    with pytest.raises(aa.AdvassayError, match=r"sources\.scans\.kind: expected one of dataset.*, got 'raw-array'"):
        parse_study(ARRAYS)


def test_every_kind_that_the_words_declare_is_registered_and_says_all_that_a_kind_must():
    declared, waiting = set(), [SourceSpec]
    while waiting:
        waiting += (found := waiting.pop()).__subclasses__()
        if "kind" in found.model_fields and found.__module__.startswith("advassay."):
            declared.add(found)
    assert declared == {kind.spec for kind in SOURCE_KINDS.parts()}
    for kind in SOURCE_KINDS.parts():
        assert kind.spec.model_fields["kind"].annotation == Literal[kind.name]


def test_a_kind_without_a_fingerprint_cannot_be_made():
    class Unfinished(SourceKind[NpzSource]):
        name, spec = "unfinished", NpzSource

        def open(self, source: NpzSource, request: SourceRequest) -> OpenSource:
            raise NotImplementedError

    with pytest.raises(TypeError, match="fingerprint"):
        Unfinished()  # type: ignore[abstract]
    with pytest.raises(ExtensionError, match=r"kind: expected an instance of .*SourceKindFacts"):
        SOURCE_KINDS.register(object())  # type: ignore[arg-type]
