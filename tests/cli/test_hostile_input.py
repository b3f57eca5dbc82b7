"""What a study file, a table, a name or a place must not do: take the machine, end in a traceback, pass in silence."""

from __future__ import annotations

import gzip
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.errors import SourceError, SpecError, StoreError
from advassay.parquet_limits import TooLarge, check_decoded_size
from advassay.records import open_records
from advassay.sources.kinds.npz import open_npz
from advassay.sources.table_files import read_table
from advassay.spec.source_spec import NpzSource
from advassay.study import make_environment, parse_study
from advassay.study.config.name_checks import store_at
from advassay.study.config.yaml_tree import parse_value
from advassay.study.plan.study_plan import plan

STUDY = """
name: tiny
image_size_px: 40
sources:
  chest: {kind: phantoms, phantom: chest, images: 120, size_px: 40, signal: 3, prevalence: {tuberculosis: 0.5}}
cohorts:
  X-TB:
    source: chest
    classes: {tuberculosis: {tuberculosis: present}, norm: {norm: present}}
training: {architecture: test_resnet, updates: 4}
attack: {steps: 3, epsilons: [0.02]}
"""


def aliases(first: str, next_: Callable[[int], str], depth: int) -> str:
    return "\n".join([f"a0: &a0 {first}", *(f"a{n}: &a{n} {next_(n - 1)}" for n in range(1, depth))])


BOMBS = {
    "lists": aliases("[x, x]", lambda n: "[" + ", ".join([f"*a{n}"] * 9) + "]", 10),
    "merges": aliases("{k: v}", lambda n: "{<<: [" + ", ".join([f"*a{n}"] * 10) + "]}", 10),
    "mappings": aliases("{k: v}", lambda n: "{" + ", ".join(f"k{i}: *a{n}" for i in range(9)) + "}", 10),
    "keys": aliases("[x]", lambda n: "{" + ", ".join(f"? [*a{n}, {i}] : x" for i in range(9)) + "}", 10),
    "a long chain": aliases("[x]", lambda n: f"[*a{n}]", 3000),
    "itself in a mapping": "a: &a {b: *a}",
    "itself in a list": "a: &a [x, *a]",
    "itself merged": "a: &a {<<: *a}",
    "each other": "a: &a [&b [*a], *b]",
    "deep": "a: " + "[" * 50_000,
    "long": "a: [" + "x, " * 200_000 + "]",
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("where", ["first", "last"])
def test_yaml_that_stands_for_too_much_is_refused_at_once(bomb: str, where: str) -> None:
    text = f"{BOMBS[bomb]}\n{STUDY}" if where == "first" else f"{STUDY}\n{BOMBS[bomb]}\n"
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SpecError, match=r"not readable as YAML"):
        parse_study(text, name="s.yaml")
    assert time.monotonic() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


def test_a_bomb_in_an_override_or_a_stores_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="must be YAML"):
        parse_value("[&a [x, *a]]")
    (tmp_path / "study.yaml").write_text(BOMBS["lists"])
    (tmp_path / "records").mkdir()
    with pytest.raises(StoreError, match=r"study\.yaml"):
        open_records(tmp_path)


def test_aliases_and_merges_that_people_write_are_read() -> None:
    text = STUDY + "phantoms: &p {kind: phantoms}\nmore: {<<: *p, again: *p}\n"
    with pytest.raises(SpecError, match="phantoms: no such field here"):  # read, and then refused for what it says
        parse_study(text)


def parquet(path: Path, array: pa.Array) -> Path:
    pq.write_table(pa.table({"image": array}), path)
    return path


def test_a_parquet_table_that_decodes_to_far_more_than_it_is_is_refused(tmp_path: Path) -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2_000_000, np.int32)), pa.array(["x" * 1000]))
    one_long = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000, np.int32)), pa.array(["x" * 1_000_000]))
    bombs = {
        "dictionary": texts,
        "few rows of a long text": one_long,
        "run length": pa.array(np.zeros(30_000_000, np.int64)),
        "zeros": pa.array(["\0" * 150_000_000]),
    }
    for name, array in bombs.items():
        path = parquet(tmp_path / f"{name}.parquet", array)
        began = time.monotonic()
        with pytest.raises(SourceError, match="once decoded"):
            read_table(path)
        assert time.monotonic() - began < 10


def test_a_packed_table_or_array_that_decodes_to_far_more_than_it_is_is_refused(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "t.csv.gz", "wb", compresslevel=9) as file:
        for _ in range(200):
            file.write(b"image\n" + b"\0" * 1_000_000)
    with pytest.raises(SourceError, match="once decompressed"):
        read_table(tmp_path / "t.csv.gz")
    few = {
        f"{part}_{what}": np.zeros(4, np.uint8) for part in ("train", "val", "test") for what in ("images", "labels")
    }
    huge = {"train_images": np.zeros((200_000, 28, 28), np.uint8), "train_labels": np.zeros((200_000, 1), np.uint8)}
    np.savez_compressed(tmp_path / "t.npz", **(few | huge))
    with pytest.raises(SourceError, match="packed"):
        open_npz("s", NpzSource(kind="npz", path="t.npz"), tmp_path / "t.npz")


def test_an_ordinary_table_with_repeated_texts_is_read(tmp_path: Path) -> None:
    frame = pl.DataFrame({"image": [f"{n}.png" for n in range(50_000)], "finding": ["No finding"] * 50_000})
    frame.write_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").height == 50_000
    check_decoded_size(tmp_path / "t.parquet")
    with pytest.raises(TooLarge):
        check_decoded_size(parquet(tmp_path / "z.parquet", pa.array(np.zeros(30_000_000, np.int64))))


def test_a_file_name_that_is_not_utf8_is_a_row_with_a_reason(tmp_path: Path) -> None:
    for name in ("norm", "tb"):
        (tmp_path / "img" / name).mkdir(parents=True)
        for n in range(24):
            pixels = np.random.default_rng([n, len(name)]).integers(0, 255, (40, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "img" / name / f"{n}.png")
    odd = os.fsencode(tmp_path / "img" / "tb") + b"/Herz\xf6l.png"
    os.rename(tmp_path / "img" / "tb" / "1.png", odd)
    os.mkdir(os.fsencode(tmp_path / "img") + b"/Klasse\xe4")
    Path(os.fsdecode(os.fsencode(tmp_path / "img") + b"/Klasse\xe4/2.png")).write_bytes(b"")
    study = tmp_path / "study.yaml"
    made = CliRunner().invoke(app, ["init", str(tmp_path / "img"), "-o", str(study)])
    assert made.exit_code == 0, made.output
    assert "2 files are left out" in " ".join(made.output.split())
    prepared = CliRunner().invoke(
        app, ["prepare", str(study), "--data", str(tmp_path), "--store", str(tmp_path / "store"), "-q"]
    )
    assert prepared.exit_code == 0, prepared.output
    said = (tmp_path / "store" / "cohorts").glob("*/preparation.json").__next__().read_text()
    assert "file name is not UTF-8" in said
    assert '"count": 2' in said


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("X-TB:", "x" * 300 + ":", "at most 100 bytes"),
        ("name: tiny", "name: " + "n" * 101, "at most 100 bytes"),
        ("norm: {norm", "TUBERCULOSIS: {norm", "differ by more than case"),
        ("norm: {norm", '"a/b": {norm', "a name is no path"),
        ("norm: {norm", '"..": {norm', "a name is no path"),
        ("norm: {norm", '"a\\\\b": {norm', "a name is no path"),
        ("norm: {norm", '"a\\tb": {norm', "control characters"),
        ("norm: {norm", '" ": {norm', "not empty"),
        ("attack: {", "attack: {arms: {A: {}, a: {loss: margin}}, ", "differ by more than case"),
    ],
)
def test_names_that_no_file_system_can_hold_or_tell_apart_are_refused_at_plan(
    old: str, new: str, rule: str, tmp_path: Path
) -> None:
    study = parse_study(STUDY.replace(old, new))
    with pytest.raises(SpecError, match=rule):
        plan(study, make_environment(tmp_path / "store", device="cpu"), timed=False)


@pytest.mark.parametrize(
    "change",
    ["images: 1000000000000, size", "images: 120, size_px: 1000000, s"],
)
def test_numbers_that_no_machine_holds_are_refused(change: str) -> None:
    with pytest.raises(SpecError, match="less than or equal"):
        parse_study(STUDY.replace("images: 120, s", change, 1).replace("ize_px: 40, s", "", 1))
    with pytest.raises(SpecError, match="less than or equal"):
        parse_study(STUDY.replace("image_size_px: 40", "image_size_px: 1000000"))


def test_a_place_where_no_store_can_be_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in ("file", "file/below", "x" * 300, "y" * 200):
        with pytest.raises(StoreError, match="--store"):
            store_at(tmp_path / place)
    with pytest.raises(StoreError, match="--store"):
        store_at(Path("/"))
    (tmp_path / "Demo").mkdir()
    (tmp_path / "Demo" / "study.yaml").write_text("x")
    with pytest.raises(StoreError, match="by case alone"):
        store_at(tmp_path / "demo")


def test_a_store_in_the_current_folder_keeps_its_private_table_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert store_at(Path(".")).private_sources == tmp_path / "here.sources.parquet"


@pytest.mark.parametrize("before", [[], ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]], ids=["", "interrupt ignored"])
def test_sigterm_ends_like_ctrl_c_with_what_to_type_next(tmp_path: Path, before: list[str]) -> None:
    """A shell has the interrupt ignored in a job that it puts into the background."""
    (tmp_path / "s.yaml").write_text(STUDY.replace("updates: 4", "updates: 100000"))
    command = ["run", str(tmp_path / "s.yaml"), "--store", str(tmp_path / "store"), "--device", "cpu"]
    process = subprocess.Popen(
        [*before, sys.executable, "-m", "advassay.cli", *command], stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("train X-TB"):
                time.sleep(1)
                process.terminate()
                break
        said = process.stderr.read()
    assert process.returncode == 143
    assert f"To go on: advassay run {tmp_path / 's.yaml'}" in said
    assert "Traceback" not in said
    assert list((tmp_path / "store").glob("classifiers/*/training-progress.pt"))


def test_preparing_the_default_network_loads_no_torch_and_a_bomb_of_pixels_stays_small(tmp_path: Path) -> None:
    """PyTorch alone takes half a gigabyte; of the images, one decodes to 192 MB and one is too large."""
    for label, shade in (("normal", 0), ("tumour", 60)):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(6):
            pixels = np.random.default_rng(number).integers(0, 190, (96, 96, 3)) + shade
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / label / f"{number}.png")
    Image.fromarray(np.zeros((7999, 7999, 3), np.uint8)).save(tmp_path / "images/normal/blank.png", compress_level=1)
    Image.fromarray(np.zeros((9000, 9000), np.uint8)).save(tmp_path / "images/tumour/large.png", compress_level=1)
    (tmp_path / "study.yaml").write_text(
        "name: tiny\nimage_size_px: 96\ntraining: {updates: 4}\nattack: {steps: 3, epsilons: [0.02]}\n"
        "sources: {mine: {kind: folder, path: images}}\n"
        "cohorts: {X: {source: mine, classes: {normal: {label: normal}, tumour: {label: tumour}}}}\n"
    )
    code = (
        "import sys\nfrom advassay.cli.program import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print('torch' in sys.modules, int(peak.split()[1]) // 1024)"
    )
    verb = ["prepare", str(tmp_path / "study.yaml"), "--data", str(tmp_path), "--store", str(tmp_path / "s"), "-q"]
    done = subprocess.run([sys.executable, "-c", code, *verb], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "too large" in done.stdout
    assert "blank" in done.stdout
    torch_loaded, megabytes = done.stdout.split()[-2:]
    assert torch_loaded == "False"
    assert int(megabytes) < 1_000
