"""Tables, reports and images that are broken, hostile or absurd: a counted reason or a clear error, never a crash."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from image_files import by_opencv, noise, png, tiff

from advassay.errors import SourceError
from advassay.sources import Unreadable, open_source
from advassay.sources import table_files as tables_module
from advassay.sources.image_decoder import decode
from advassay.sources.table_files import read_table
from advassay.spec.source_spec import ReportSpec, TableSource

GOOD = by_opencv(noise(8, 9))


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def source(path: str = "t.csv", **fields: object) -> TableSource:
    return TableSource.model_validate({"kind": "table", "path": path} | fields)


BROKEN = {
    "empty": (b"", "readable CSV"),
    "only line ends": (b"\n\n\n", "readable CSV"),
    "Latin-1": ("image,label\nä.png,x\n".encode("latin-1"), "readable CSV"),
    "UTF-16 without a mark": ("image,label\na.png,x\n".encode("utf-16-le"), "utf-16-le"),
    "Windows Cyrillic": ("image,label\nснимок.png,норма\n".encode("cp1251"), "line 2 is not.*cp1251"),
    "noise": (bytes(range(128, 256)) * 40, "readable CSV"),
    "more fields than columns": (b"image,label\na,b,c\n", "readable CSV"),
    "a quote that never ends": (b'image,label\n"a.png,x\nb.png,y\n', "readable CSV"),
    "a header with carriage returns": (b"image,la\rbel\na.png,x\n", "lines that end in a line feed"),
    "a column name twice": (b"image, image\na,b\n", "each column name once is needed, 'image'"),
    "a header without end": (b"x" * 3_000_000, "a header line of at most 1 MiB"),
    "a hundred thousand columns": (b",".join(b"c%d" % i for i in range(100_000)) + b"\n", "at most 4096 columns"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_table_is_refused_in_words(kind: str, tmp_path: Path) -> None:
    data, says = BROKEN[kind]
    with pytest.raises(SourceError, match=says):
        read_table(write(tmp_path / "t.csv", data))


def test_an_error_about_a_table_quotes_nothing_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", b'image,report\n"a.png,MRS SMITH HAS TUBERCULOSIS\nb.png,y\n')
    with pytest.raises(SourceError) as caught:
        read_table(path)
    assert "SMITH" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + b"\0" * 50 + b"PAR1", b"image,label\na,b\n"])
def test_what_only_calls_itself_parquet_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="readable CSV"):
        read_table(write(tmp_path / "t.parquet", data))


def test_a_folder_a_pipe_and_a_missing_file_are_no_tables(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for name in (".", "pipe.csv", "absent.csv"):
        with pytest.raises(SourceError, match="no such table"):
            read_table(tmp_path / name)


def test_a_compressed_table_reads_like_the_plain_one_and_a_bomb_is_refused(tmp_path: Path, monkeypatch) -> None:
    text = b"image,age\na.png,50\n"
    plain, packed = write(tmp_path / "t.csv", text), write(tmp_path / "t.csv.gz", gzip.compress(text))
    assert read_table(packed).equals(read_table(plain))
    bomb = write(tmp_path / "bomb.csv.gz", gzip.compress(b"a,b\n" + b"0" * 1000) + gzip.compress(b"0" * 1000))
    monkeypatch.setattr(tables_module, "MAX_BYTES", 1500)
    with pytest.raises(SourceError, match="once decompressed"):
        read_table(bomb)
    with pytest.raises(SourceError, match="readable CSV"):
        read_table(write(tmp_path / "cut.csv.gz", gzip.compress(text)[:-9]))


def test_a_parquet_file_that_declares_too_much_is_refused_before_it_is_read(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"image": ["a.png"] * 1000, "age": [1] * 1000}).write_parquet(path)
    monkeypatch.setattr(tables_module, "MAX_CELLS", 1999)
    with pytest.raises(SourceError, match="at most 1,999 rows × columns are needed, 1,000 × 2 are declared"):
        read_table(path)


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=400))
@example(b'a,b\n"\n')
@example(b"a;b,c\n1;2\n")
def test_whatever_the_bytes_a_table_is_read_or_refused(tmp_path_factory, data: bytes) -> None:
    path = write(tmp_path_factory.mktemp("fuzz") / "t.csv", b"image,patient_id,age\n" + data)
    try:
        frame = read_table(path)
    except SourceError:
        return
    assert {"image", "patient_id", "age"} <= set(frame.columns)


def test_missing_columns_are_named_with_those_there_are(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", b"file,age\na.png,5\n")
    with pytest.raises(SourceError, match=r"sources.s.image: expected one of the columns, got 'image'.*file"):
        open_source("s", source(), tmp_path)
    with pytest.raises(SourceError, match=r"sources\.s\.patient_id"):
        open_source("s", source(image="file", patient_id="who"), tmp_path)


def test_every_bad_row_has_a_reason_and_good_ones_are_read(tmp_path: Path) -> None:
    write(tmp_path / "data/good.png", GOOD)
    write(tmp_path / "secret.png", GOOD)
    write(tmp_path / "data/empty.png", b"")
    write(tmp_path / "data/cut.png", GOOD[:-30])
    write(tmp_path / "data/text.png", b"not an image")
    (tmp_path / "data/link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "data/loop.png").symlink_to(tmp_path / "data/loop.png")
    (tmp_path / "data/folder.png").mkdir()
    os.mkfifo(tmp_path / "data/pipe.png")
    names = ["good.png", "good.png", "empty.png", "cut.png", "text.png", "link.png", "loop.png", "folder.png"]
    names += ["pipe.png", "absent.png", "x" * 5000, "nul\0.png", "../secret.png", ""]
    pl.DataFrame({"image": names}).write_csv(tmp_path / "data/t.csv")
    opened = open_source("s", source("data/t.csv"), tmp_path)
    assert sorted(opened.left_out["reason"]) == ["no image path", "outside the folder"]
    read = dict(opened.read(opened.rows["row"].to_list()))
    reasons = [one.reason if isinstance(one, Unreadable) else "read" for one in read.values()]
    assert reasons == [
        *("read", "read", "empty file", "damaged", "not an image", "outside the folder", "missing", "not a file"),
        *("not a file", "missing", "missing", "missing"),
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads files whatever their permissions")
def test_a_file_without_permission_is_a_row_with_a_reason(tmp_path: Path) -> None:
    write(tmp_path / "shut.png", GOOD).chmod(0)
    write(tmp_path / "t.csv", b"image\nshut.png\n")
    [(_, read)] = open_source("s", source(), tmp_path).read([0])
    assert isinstance(read, Unreadable)
    assert read.reason == "no permission"


def test_reports_that_repeat_miss_or_lack_an_id_are_counted_per_image(tmp_path: Path) -> None:
    for name in "abcd":
        write(tmp_path / f"{name}.png", GOOD)
    write(tmp_path / "t.csv", b"image,key\na.png,1\nb.png,2\nc.png,3\nd.png,\n")
    huge = "Emphysema. " + "x" * 2_000_000
    write(tmp_path / "r.csv", f'id,text\n1,"{huge}"\n2,Normal chest.\n2,Pneumonia.\n3,\n,Pneumonia.\n'.encode())
    reports = ReportSpec(path="r.csv", text=("text",), id="id", key="key", language="en")
    rows = open_source("s", source(reports=reports), tmp_path).rows
    assert rows["emphysema"].to_list() == ["present", None, None, None]
    assert rows["report"].to_list() == ["read", "id with different texts", "no report text", "no report"]


def bombs() -> dict[str, bytes]:
    """Files of a few kilobytes that declare, or decompress to, gigabytes."""
    chunk = zlib.compress(b"\0" * 50_000_000, 9)
    text = (
        struct.pack(">I", len(chunk) + 3) + b"zTXta\0\0" + chunk + struct.pack(">I", zlib.crc32(b"zTXta\0\0" + chunk))
    )
    wide = bytearray(tiff(noise(4, 4)))
    place = wide.index(struct.pack("<HHII", 256, 4, 1, 4))
    wide[place : place + 24] = struct.pack("<HHIIHHII", 256, 4, 1, 60_000, 257, 4, 1, 60_000)
    return {
        "png that declares 100,000 × 100,000": png(100_000, 100_000, 8, 0, b"\0"),
        "png that declares 2^31 - 1": png(2**31 - 1, 2**31 - 1, 16, 6, b"\0"),
        "png whose data go on": png(4, 4, 8, 0, b"\0" * 80_000_000),
        "png with a text that unpacks to 50 MB": GOOD[:33] + text + GOOD[33:],
        "tiff that declares 60,000 × 60,000": bytes(wide),
    }


ROOM = 600 << 20


def test_decompression_bombs_neither_crash_nor_hang_nor_take_memory(tmp_path: Path) -> None:
    """In a process of its own that may not have more than 600 MiB of memory above what imports take."""
    for number, data in enumerate(bombs().values()):
        write(tmp_path / f"{number}.bin", data)
    script = (
        "import resource, sys; from pathlib import Path; from advassay.sources.image_decoder import decode\n"
        "size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        f"resource.setrlimit(resource.RLIMIT_AS, (size + {ROOM}, size + {ROOM}))\n"
        "for path in sorted(Path(sys.argv[1]).glob('*.bin')):\n"
        "    print(getattr(decode(path.read_bytes()), 'reason', 'read'))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    assert run.stdout.split("\n")[:2] == ["too large", "too large"]
    assert run.stdout.split("\n")[4] == "too large"
    assert set(run.stdout.split("\n")[2:4]) <= {"read", "damaged"}


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6), st.integers(1, 8), st.sampled_from(["png", "tiff"]))
def test_bit_flips_give_pixels_or_a_reason(place: int, mask: int, kind: str) -> None:
    data = bytearray(GOOD if kind == "png" else tiff(noise(6, 5)))
    data[place % len(data)] ^= mask
    found = decode(bytes(data))
    assert isinstance(found, Unreadable) or found.ndim in (2, 3)


def test_a_parquet_file_that_makes_its_reader_panic_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fuzzer found such files (benchmarks/fuzz_readers.py); PanicException is no Exception, so it would pass by."""

    def panics(path: Path) -> pl.DataFrame:
        raise pl.exceptions.PanicException("assertion failed: offset + length <= self.length")

    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr("advassay.sources.table_files._read_parquet", panics)
    with pytest.raises(SourceError, match="a readable CSV"):
        read_table(tmp_path / "t.parquet")
