"""Stores and a place in object storage: each gets what it lacks, whoever pushes at the same time or is killed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tiny_study import assert_equal_records, recorded
from typer.testing import CliRunner

from advassay.checked_files import read_document, write_document
from advassay.cli.program import app
from advassay.errors import AdvassayWarning, SpecError, StoreError
from advassay.records import read_gallery
from advassay.store_layout import Store
from advassay.study.upkeep import store_sync
from advassay.study.upkeep.store_sync import FORMAT, SyncSummary, stored_files, sync

pytestmark = pytest.mark.skipif(find_spec("fsspec") is None, reason="needs fsspec: pip install 'advassay[sync]'")


def content(store: Path) -> dict[str, str]:
    """Path → checksum of all that is synchronised."""
    return {path: store_sync.sha256_of(store / path) for path in stored_files(Store(store))}


def assert_same_study(one: Path, other: Path) -> None:
    assert_equal_records(one, other)
    fixed = ("cohorts/", "classifiers/")
    assert {p: c for p, c in content(one).items() if p.startswith(fixed)} == {
        p: c for p, c in content(other).items() if p.startswith(fixed)
    }
    assert read_gallery(one / "gallery") == read_gallery(other / "gallery")


def assert_whole(target: Path) -> None:
    """Every object is what its name says, and nothing else lies there."""
    for path in target.rglob("*"):
        if path.is_file():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name.removesuffix(".json"), path


@pytest.fixture
def halves(finished: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two stores of the study, each with runs that the other lacks."""
    stores = (tmp_path / "a" / "store", tmp_path / "b" / "store")
    runs = sorted(recorded(finished))
    for store, gone in zip(stores, (runs[::2], runs[1::2]), strict=True):
        shutil.copytree(finished, store)
        for run_id in gone:
            shutil.rmtree(store / "records" / run_id)
    return stores


def test_a_store_made_from_the_target_is_the_store_that_was_pushed(
    finished: Path, copied: Path, tmp_path: Path
) -> None:
    target, fresh = tmp_path / "target", tmp_path / "fresh" / "store"
    pushed = sync(Store(copied), str(target))
    assert pushed.pushed
    assert_whole(target)
    pulled = sync(Store(fresh), str(target), push=False)
    assert (pulled.snapshots, pulled.merged[0].runs) == (1, len(recorded(finished)))
    assert_same_study(finished, fresh)
    assert content(fresh) == content(finished)
    for store in (copied, fresh):
        assert sync(Store(store), str(target)) == SyncSummary(merged=())


def test_the_private_table_locks_and_reports_stay_where_they_are(copied: Path, tmp_path: Path) -> None:
    (copied / "report").mkdir()
    (copied / "report" / "index.html").write_text("page")
    private = Store(copied).private_sources
    private.write_bytes(b"file paths and original ids")
    sync(Store(copied), str(tmp_path / "target"))
    there = [path.read_bytes() for path in (tmp_path / "target").rglob("*") if path.is_file()]
    assert b"page" not in there
    assert private.read_bytes() not in there
    assert not any(b"sources.parquet" in text for text in there)


def test_stores_that_push_by_turns_end_with_the_same_and_send_nothing_twice(
    finished: Path, halves: tuple[Path, Path], tmp_path: Path
) -> None:
    target = str(tmp_path / "target")
    first, second = (Store(half) for half in halves)
    sync(first, target)
    again = sync(second, target)
    shards = len(list(second.root.glob("records/*/shards/*")))
    assert again.uploaded_files < shards + len(recorded(finished)) + 8  # its own shards, headers, few documents
    sync(first, target)
    for half in halves:
        assert_same_study(finished, half)


def test_two_that_push_at_once_lose_and_double_nothing(
    finished: Path, halves: tuple[Path, Path], tmp_path: Path
) -> None:
    target = tmp_path / "target"
    command = [sys.executable, "-m", "advassay.cli", "sync"]
    at_once = [subprocess.Popen([*command, str(half), str(target), "--quiet"]) for half in halves]
    assert [process.wait(timeout=120) for process in at_once] == [0, 0]
    assert_whole(target)
    for half in (*halves, halves[0]):
        sync(Store(half), str(target))
    for half in halves:
        assert_same_study(finished, half)
    assert_whole(target)


SLOW = """
import sys, time
from pathlib import Path
from advassay.store_layout import Store
from advassay.study.upkeep import store_sync
copy = store_sync.shutil.copyfileobj
def slowly(source, out, size):
    while block := source.read(512):
        out.write(block)
        out.flush()
        time.sleep(0.002)
store_sync.shutil.copyfileobj = slowly
store_sync.sync(Store(Path(sys.argv[1])), sys.argv[2])
"""


def test_a_push_that_is_killed_leaves_whole_objects_and_goes_on(finished: Path, copied: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    for objects in (1, 4):
        process = subprocess.Popen([sys.executable, "-c", SLOW, str(copied), str(target)])
        end = time.monotonic() + 60
        while len([p for p in target.glob("objects/*/*") if p.name[0] != "."]) < objects and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not list(target.glob("snapshots/*"))
        for path in target.glob("objects/*/[0-9a-f]*"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    there = len(list(target.glob("objects/*/[0-9a-f]*")))
    done = sync(Store(copied), str(target))
    assert there >= 4
    assert done.uploaded_files <= len(set(content(finished).values())) - there
    fresh = tmp_path / "fresh" / "store"
    sync(Store(fresh), str(target))
    assert_same_study(finished, fresh)


def test_a_pull_that_is_stopped_goes_on(
    finished: Path, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, fresh = str(tmp_path / "target"), Store(tmp_path / "fresh" / "store")
    sync(Store(copied), target)
    fetch, left = store_sync._Remote.fetch, [5]

    def stopped(self: Any, *about: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        fetch(self, *about)

    monkeypatch.setattr(store_sync._Remote, "fetch", stopped)
    with pytest.raises(KeyboardInterrupt):
        sync(fresh, target)
    monkeypatch.undo()
    done = sync(fresh, target)
    assert done.downloaded_files == len(set(content(finished).values())) - 4  # a snapshot, then four objects were there
    assert_same_study(finished, fresh.root)


def test_a_network_with_other_weights_is_refused_on_either_side(halves: tuple[Path, Path], tmp_path: Path) -> None:
    target = str(tmp_path / "target")
    first, second = (Store(half) for half in halves)
    sync(first, target)
    training = next(second.root.glob("classifiers/*/training.json"))
    write_document(training, read_document(training, "") | {"weights_sha256": "0" * 64})
    before = content(second.root)
    with pytest.raises(StoreError, match="has other weights"):
        sync(second, target)
    assert content(second.root) == before


def test_documents_that_say_otherwise_are_told_and_kept(halves: tuple[Path, Path], tmp_path: Path) -> None:
    target = str(tmp_path / "target")
    first, second = (Store(half) for half in halves)
    sync(first, target)
    configs = read_document(second.compute, "")
    write_document(second.compute, {kind: one | {"batch_size": 3} for kind, one in configs.items()})
    kept = second.compute.read_bytes()
    with pytest.warns(AdvassayWarning, match=r"compute.json: .* another execution configuration"):
        done = sync(second, target)
    assert len(done.differs) == len(configs)
    assert second.compute.read_bytes() == kept


@pytest.mark.parametrize(
    "path",
    [
        "../outside.txt", "records/../../outside.txt", "/etc/passwd", "records//x", "records/./x", "records/.lock/x",
        ".locks/session-1.lock", "report/index.html", "cohorts", "cluster.json", "records/a\\..\\b", "records/a\nb",
        "records/a/b/c/d/e", "",
    ],
)  # fmt: skip
def test_a_snapshot_that_names_a_place_outside_is_refused_and_nothing_is_taken(path: str, tmp_path: Path) -> None:
    target, store = tmp_path / "target", Store(tmp_path / "in" / "store")
    sha = put(target, b"text")
    snapshot(target, {path: [sha, 4]})
    with pytest.raises(StoreError, match="names a file that no store has"):
        sync(store, str(target))
    assert not (tmp_path / "outside.txt").exists()
    assert not [p for p in store.root.rglob("*") if p.is_file() and ".sync" not in p.parts]


def put(target: Path, text: bytes, name: str = "") -> str:
    sha = name or hashlib.sha256(text).hexdigest()
    path = target / "objects" / sha[:2] / sha
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    return sha


def snapshot(target: Path, files: dict[str, Any], **more: Any) -> None:
    text = json.dumps({"format": FORMAT, "study": "tiny", "parents": [], "files": files} | more).encode()
    path = target / "snapshots" / f"{hashlib.sha256(text).hexdigest()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)


@pytest.mark.parametrize(
    ("size", "text"), [(4, b"tex"), (4, b"text and more"), (4, b"tex!"), (-1, b"text"), (10**15, b"text")]
)
def test_an_object_that_is_not_what_its_name_says_is_refused(size: int, text: bytes, tmp_path: Path) -> None:
    target = tmp_path / "target"
    sha = put(target, text, hashlib.sha256(b"text").hexdigest())
    snapshot(target, {"study.yaml": [sha, size]})
    with pytest.raises(StoreError, match=r"not what its name says|no snapshot that this version reads"):
        sync(Store(tmp_path / "store"), str(target))
    assert not (tmp_path / "store" / "study.yaml").exists()


def test_a_snapshot_that_is_not_what_its_name_says_is_refused(copied: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    sync(Store(copied), str(target))
    path = next(target.glob("snapshots/*.json"))
    path.write_bytes(path.read_bytes().replace(b'"tiny"', b'"tint"'))
    with pytest.raises(StoreError, match="not what its name says"):
        sync(Store(tmp_path / "fresh"), str(target))


def test_a_link_in_the_store_is_not_followed(copied: Path, tmp_path: Path) -> None:
    (copied / "gallery" / "odd.png").symlink_to("/etc/passwd")
    with pytest.raises(StoreError, match="is a link"):
        sync(Store(copied), str(tmp_path / "target"))


def test_only_looking_writes_nothing(copied: Path, halves: tuple[Path, Path], tmp_path: Path) -> None:
    target, store = tmp_path / "target", Store(copied)
    would = sync(store, str(target), dry_run=True)
    assert not target.exists()
    assert not store.sync.exists()
    assert would.uploaded_files == sync(store, str(target)).uploaded_files
    half = Store(halves[0])
    would = sync(half, str(target), dry_run=True)
    assert not half.sync.exists()
    assert would.downloaded_files == sync(half, str(target)).downloaded_files > 0


@pytest.mark.parametrize("target", ["http://a/b", "s3://", "s3://key:secret@bucket/x", "simplecache::s3://b/x"])
def test_other_targets_and_credentials_in_them_are_refused(copied: Path, target: str) -> None:
    with pytest.raises(SpecError, match="expected s3://BUCKET/PREFIX") as caught:
        sync(Store(copied), target)
    assert "secret" not in str(caught.value)


def test_the_command_says_what_it_brought(copied: Path, tmp_path: Path) -> None:
    runner, target, fresh = CliRunner(), str(tmp_path / "target"), str(tmp_path / "fresh")
    assert runner.invoke(app, ["sync", fresh, target]).exit_code == 6
    assert runner.invoke(app, ["sync", str(copied), target, "--push", "--quiet"]).exit_code == 0
    told = json.loads(runner.invoke(app, ["sync", fresh, target, "--json"]).stdout)
    assert (told["snapshots"], told["runs"], told["differs"], told["dry_run"]) == (1, len(recorded(copied)), [], False)
    assert runner.invoke(app, ["sync", fresh, "ftp://x/y"]).exit_code == 2


# ---- a real S3 server -----------------------------------------------------------------------------------------------

SERVER = os.environ.get("MOTO_SERVER") or shutil.which("moto_server")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of an S3 server on the loopback address."""
    if SERVER is None:
        pytest.skip("needs moto's server on the PATH: pip install 'moto[s3,server]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "moto.log").open("wb") as log:
        server = subprocess.Popen([SERVER, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with socket.socket() as client:
                if not client.connect_ex(("127.0.0.1", port)):
                    break
            time.sleep(0.1)
        subprocess.run([sys.executable, "-c", MAKE_BUCKET], check=True, timeout=60)
        yield "s3://bucket/studies/tiny"
    finally:
        server.terminate()
        server.wait()


MAKE_BUCKET = "import s3fs; s3fs.S3FileSystem().mkdir('bucket')"
PEOPLE = [sys.executable, "-m", "advassay.cli", "sync"]
RACE = """
import sys
from pathlib import Path
from advassay.study.upkeep.store_sync import _Remote, sha256_of
path, remote = Path(sys.argv[1]), _Remote.at(sys.argv[2])
for number in range(20):
    sha = sha256_of(path)
    remote.create(f"objects/race/{number}", path)
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("s3fs") is None, reason="needs s3fs: pip install 'advassay[sync]'")
def test_two_that_push_to_s3_at_once_lose_and_double_nothing(
    finished: Path, halves: tuple[Path, Path], bucket: str, tmp_path: Path
) -> None:
    at_once = [subprocess.Popen([*PEOPLE, str(half), bucket, "--quiet"]) for half in halves]
    assert [process.wait(timeout=240) for process in at_once] == [0, 0]
    for half in (*halves, halves[0]):
        subprocess.run([*PEOPLE, str(half), bucket, "--quiet"], check=True, timeout=240)
    for half in halves:
        assert_same_study(finished, half)
    fresh = tmp_path / "fresh" / "store"
    subprocess.run([*PEOPLE, str(fresh), bucket, "--pull", "--quiet"], check=True, timeout=240)
    assert_same_study(finished, fresh)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("s3fs") is None, reason="needs s3fs: pip install 'advassay[sync]'")
def test_an_object_in_s3_keeps_the_bytes_of_whoever_created_it(bucket: str, tmp_path: Path) -> None:
    """Even where two create one name with other content, which names of content do not do."""
    files = [tmp_path / "one", tmp_path / "other"]
    for number, path in enumerate(files):
        path.write_bytes(bytes([number]) * 300_000)
    racing = [subprocess.Popen([sys.executable, "-c", RACE, str(path), bucket]) for path in files]
    assert [process.wait(timeout=240) for process in racing] == [0, 0]
    read = (
        "import s3fs, sys; fs = s3fs.S3FileSystem()\n"
        "for n in range(20): print(fs.cat(f'bucket/studies/tiny/objects/race/{n}')[:1].hex(), end=' ')"
    )
    first = subprocess.run([sys.executable, "-c", read], check=True, capture_output=True, text=True).stdout
    assert set(first.split()) <= {"00", "01"}
    for path in files:
        subprocess.run([sys.executable, "-c", RACE, str(path), bucket], check=True, timeout=240)
    assert subprocess.run([sys.executable, "-c", read], check=True, capture_output=True, text=True).stdout == first


@pytest.mark.slow
@pytest.mark.skipif(find_spec("s3fs") is None, reason="needs s3fs: pip install 'advassay[sync]'")
def test_a_bucket_that_is_not_there_ends_with_an_error_of_the_store(copied: Path, bucket: str) -> None:
    done = subprocess.run([*PEOPLE, str(copied), "s3://absent/x"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 6
    assert "cannot be read or written" in done.stderr
    assert "Traceback" not in done.stderr
