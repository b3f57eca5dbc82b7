"""A multi-label model: every finding by itself, and all of them together image by image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tiny_models import TinyCnn
from typer.testing import CliRunner

import advassay as aa
from advassay.analysis.finding_robustness import ANY
from advassay.cli.program import app
from advassay.errors import SpecError
from advassay.models.loading import findings_of
from advassay.success import is_adversarial
from advassay.workflows.findings_evaluation import TABLE

EPSILON = 2 / 255


class TwoFindings(torch.nn.Module):
    """The difference of the network's logits, as two findings that exclude each other; the second needs more of it."""

    def __init__(self, network: TinyCnn) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        z = self.network(images)
        margin = z[:, 1] - z[:, 0]
        return torch.stack([margin, -margin - 1], dim=1)


@pytest.fixture(scope="module")
def evaluated(
    tmp_path_factory: pytest.TempPathFactory, network: TinyCnn, images: tuple[np.ndarray, np.ndarray]
) -> aa.FindingsResult:
    pixels, labels = images
    return aa.evaluate_findings(
        TwoFindings(network).eval(), pixels[:16], {0: labels[:16], 1: 1 - labels[:16]},
        store=tmp_path_factory.mktemp("findings") / "mine", findings=[0, 1], preset="quick", device="cpu",
    )  # fmt: skip


def misclassified(result: aa.EvaluationResult, epsilon: float) -> dict[str, tuple[bool, bool]]:
    """Image → (right before any attack, changed by some attack at `epsilon` or below), from the rows themselves."""
    found: dict[str, tuple[bool, bool]] = {}
    for run in aa.open_records(result.store).runs:
        logits, label = run.column("logits"), run.column("label")
        right = ~is_adversarial(logits[:, 0], label)
        down = is_adversarial(logits[:, 1:].swapaxes(0, 1), label).any(axis=0) & (run.index.epsilon <= epsilon)
        for image, was, now in zip(run.images["image_id"].to_numpy()[run.index.image], right, down, strict=True):
            found[image] = bool(was), bool(now) or found.get(image, (False, False))[1]
    return found


def test_all_findings_together_are_the_images_that_no_attack_on_any_of_them_changed(
    evaluated: aa.FindingsResult,
) -> None:
    assert list(evaluated.results) == ["0", "1"]
    by_hand = {name: misclassified(result, EPSILON) for name, result in evaluated.results.items()}
    at = evaluated.table.filter((pl.col("epsilon") - EPSILON).abs() < 1e-9)
    assert set(by_hand["0"]) == set(by_hand["1"])
    for name, found in by_hand.items():
        row = at.row(by_predicate=pl.col("finding") == name, named=True)
        right = [right for right, _ in found.values()]
        assert (row["n"], row["correct"]) == (16, sum(right))
        assert row["robust"] == sum(was and not changed for was, changed in found.values())
        assert row["rate"] == pytest.approx(evaluated.results[name].worst_case(EPSILON).value)
    row = at.row(by_predicate=pl.col("finding") == ANY, named=True)
    stands = [all(of[image][0] and not of[image][1] for of in by_hand.values()) for image in by_hand["0"]]
    assert row["robust"] == sum(stands)
    assert row["robust"] <= at.filter(pl.col("finding") != ANY)["robust"].min()
    assert f"{row['robust']} of 16 images right" in evaluated.sentences[0]
    assert pl.read_csv(evaluated.folder / TABLE).height == evaluated.table.height


def test_all_names_the_findings_of_a_model_file_and_each_has_a_store_and_a_page(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs pip install 'advassay[hf]'")
    import cv2
    from small_huggingface import save_resnet

    names = {0: "Effusion", 1: "Lung Nodule"}
    save_resnet(tmp_path / "net", num_labels=2, id2label=names, problem_type="multi_label_classification")
    assert findings_of(tmp_path / "net") == ("Effusion", "Lung Nodule")
    rng = np.random.default_rng(0)
    for i in range(4):
        (tmp_path / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    said = CliRunner().invoke(
        app,
        ["evaluate", str(tmp_path / "net"), str(tmp_path / "images"), "--finding", "all", "--preset", "quick",
         "--store", str(tmp_path / "mine"), "--device", "cpu", "--json"],
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    data = json.loads(said.stdout)
    assert sorted(data["findings"]) == ["Effusion", "Lung Nodule"]
    assert {row["finding"] for row in data["rows"]} == {*names.values(), ANY}
    assert (tmp_path / "mine" / "lung-nodule" / "report" / "report.html").is_file()


def test_a_column_of_the_findings_name_holds_its_labels(
    tmp_path: Path, network: TinyCnn, images: tuple[np.ndarray, np.ndarray]
) -> None:
    import cv2

    pixels, labels = images
    for i, image in enumerate(pixels[:8]):
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
    table = pl.DataFrame({"image": [f"{i}.png" for i in range(8)], "0": labels[:8], "1": 1 - labels[:8]})
    table.write_csv(tmp_path / "images.csv")
    found = aa.evaluate_findings(
        TwoFindings(network).eval(), tmp_path / "images.csv", store=tmp_path / "mine", findings=[0, 1],
        preset="quick", device="cpu",
    )  # fmt: skip
    for result in found.results.values():
        assert result.answer.labelled


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"findings": "all"}, 'got "all" of a module'),
        ({"findings": []}, "expected one or more, got none"),
        ({"findings": [0, 0]}, "expected each once, got '0' again"),
        ({"findings": [0, 1], "labels": {0: [0, 1]}}, "labels: expected those of finding '1', got 0"),
    ],
)
def test_findings_that_cannot_be_told_apart_are_refused(
    tmp_path: Path, network: TinyCnn, images: tuple[np.ndarray, np.ndarray], options: dict, problem: str
) -> None:
    with pytest.raises(SpecError, match=problem):
        aa.evaluate_findings(
            TwoFindings(network).eval(), images[0][:2], store=tmp_path / "mine", preset="quick", device="cpu", **options
        )


def test_a_requirement_is_of_one_finding(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["evaluate", "net", "images", "--finding", "a,b", "--require", "accuracy >= 0.5"])
    assert said.exit_code == 2
    assert "--require: a requirement is of one finding" in said.output
