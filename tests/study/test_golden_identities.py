"""Identities and texts of a small study, as they were before the tree was rearranged: a store must open and continue.

A change of any of these makes every store in use be computed anew. None follows from where a module lies or what it
is called.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

COHORTS = {
    "H-BR": {"identity": "35fecb51ce6f688e", "request": "bb27bc6296c1980d", "source_state": "8448ac5b43d71c24"},
    "X-TB": {"identity": "73eb872f5891e841", "request": "038c42fc32d8a727", "source_state": "cddbd212ec75c8e9"},
}
CLASSIFIERS = {"0a001673538a0f86": "H-BR", "6a810e952b44a013": "X-TB", "7176ae1e914440e9": "H-BR"}
RUNS = {
    "253dba9eaeed6ac2": ("X-TB", "6a810e952b44a013", "A"),
    "6964db2d4c6da318": ("H-BR", "7176ae1e914440e9", "A"),
    "a106bbcb3d5cc5ef": ("H-BR", "7176ae1e914440e9", "C"),
    "da8dce225106332c": ("X-TB", "6a810e952b44a013", "C"),
    "f6515bac356ed4e0": ("H-BR", "0a001673538a0f86", "A"),
}
WITHOUT_AVX512 = {
    "d69092ea87bf5026": "73eb872f5891e841",
    "6b7eeda6bc67b099": "6a810e952b44a013",
    "12b9fc2d14842e65": "253dba9eaeed6ac2",
    "e611ab5522f8e2fb": "da8dce225106332c",
}
"""X-TB's identities by the same code where OpenCV has no AVX-512: it rounds a few pixels of its phantoms otherwise."""
ARM_A = {
    "update": "projected-sign",
    "loss": "cross-entropy",
    "norm": "linf",
    "steps": 3,
    "random_start": False,
    "restarts": 1,
    "seed": 0,
    "targeted": False,
    "precision": "fast",
}
STUDY_SHA256 = "f3ad3b0733780723d08457b150b129c55e897f213cd687a93bb69445c0f29b83"

PREPARATION = [
    "format_version",
    "cohort",
    "identity",
    "request",
    "source_state",
    "title",
    "image_type",
    "class_names",
    "positive",
    "counts",
    "patients",
    "patients_per_class",
    "image_size_px",
    "channels",
    "bits",
    "scaling",
    "resize",
    "split",
    "cluster",
    "without_patient",
    "patients_known",
    "candidates",
    "flow",
    "left_out",
    "warnings",
    "spec",
    "published",
    "content_sha256",
]
TRAINING = [
    "format_version",
    "classifier",
    "cohort",
    "cohort_identity",
    "class_names",
    "positive",
    "architecture",
    "channels",
    "image_size_px",
    "mean",
    "std",
    "train_size",
    "full",
    "seed",
    "updates",
    "selected_update",
    "precision",
    "spec",
    "weights_sha256",
    "start_weights_sha256",
    "start_weights_tensors",
    "validation",
    "tuning",
    "history",
    "seconds",
    "versions",
    "warnings",
    "content_sha256",
]
HEADER = [
    "format_version",
    "run_id",
    "created",
    "updated",
    "study",
    "cohort",
    "cohort_title",
    "cohort_identity",
    "image_type",
    "class_names",
    "positive",
    "channels",
    "image_size_px",
    "bits",
    "patients_known",
    "classifier",
    "architecture",
    "weights_sha256",
    "train_size",
    "full",
    "primary",
    "seed",
    "arm",
    "arm_position",
    "attack",
    "rerun_of",
    "compute",
    "band",
    "held",
    "steps",
    "points",
    "images",
    "rows",
    "flag_counts",
    "controls",
    "cost",
    "cost_apart",
    "account_note",
    "notes",
    "versions",
    "content_sha256",
]
ANALYSIS = [
    "plan",
    "sha256",
    "frozen",
    "attacked_before",
    "arm",
    "series_epsilons",
    "transfer",
    "features",
    "format_version",
    "history",
    "content_sha256",
]


def as_with_avx512(text: str) -> str:
    for here, there in WITHOUT_AVX512.items():
        text = text.replace(here, there)
    return text


def read(path: Path) -> dict[str, Any]:
    return json.loads(as_with_avx512(path.read_text()))


def files(store: Path) -> dict[str, Path]:
    """Place in the store → file."""
    return {as_with_avx512(path.relative_to(store).as_posix()): path for path in store.rglob("*") if path.is_file()}


def test_cohorts_keep_their_identities_and_what_they_are_recognised_by(finished: Path) -> None:
    found = {name: read(finished / "cohorts" / name / "preparation.json") for name in COHORTS}
    assert {name: {key: found[name][key] for key in keys} for name, keys in COHORTS.items()} == COHORTS


def test_networks_and_runs_keep_their_identities(finished: Path) -> None:
    trained = [read(path) for path in (finished / "classifiers").glob("*/training.json")]
    assert {document["classifier"]: document["cohort"] for document in trained} == CLASSIFIERS
    headers = [read(path) for path in (finished / "records").glob("*/header.json")]
    assert {h["run_id"]: (h["cohort"], h["classifier"], h["arm"]) for h in headers} == RUNS


def test_documents_keep_their_fields_in_order(finished: Path) -> None:
    assert list(read(finished / "cohorts" / "X-TB" / "preparation.json")) == PREPARATION
    assert list(read(files(finished)["classifiers/6a810e952b44a013/training.json"])) == TRAINING
    assert list(read(files(finished)["records/253dba9eaeed6ac2/header.json"])) == HEADER
    assert list(read(finished / "analysis.json")) == ANALYSIS


def test_texts_in_a_header_keep_their_spelling(finished: Path) -> None:
    header = read(files(finished)["records/253dba9eaeed6ac2/header.json"])
    assert header["attack"] == ARM_A
    assert sorted({point["step_size"] for point in header["points"]}) == ["0.01"]
    compute = read(finished / "compute.json")
    assert list(compute) == ["test_resnet 1x40x40 fast cpu", "test_resnet 3x40x40 fast cpu", "content_sha256"]


def test_the_resolved_study_is_written_as_before(finished: Path) -> None:
    assert hashlib.sha256((finished / "study.yaml").read_bytes()).hexdigest() == STUDY_SHA256


def test_a_store_keeps_its_files_where_they_were(finished: Path) -> None:
    wanted = {"study.yaml", "analysis.json", "compute.json", "gallery/index.json"}
    for name in COHORTS:
        wanted |= {f"cohorts/{name}/{file}" for file in ("preparation.json", "manifest.parquet")}
    for name in CLASSIFIERS:
        wanted |= {f"classifiers/{name}/{file}" for file in ("model.safetensors", "training.json")}
    for name in RUNS:
        wanted |= {f"records/{name}/{file}" for file in ("header.json", "images.parquet")}
    assert wanted <= files(finished).keys()
    assert (finished.parent / f"{finished.name}.sources.parquet").is_file()
