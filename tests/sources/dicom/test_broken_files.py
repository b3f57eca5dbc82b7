"""Broken and hostile files cost themselves and nothing else: never a crash, never a hang, always a counted reason."""

from __future__ import annotations

import os
import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import file_bytes, radiograph, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advassay.errors import SourceError
from advassay.sources.dicom import DicomFiles, open_dicom
from advassay.sources.dicom import worker_pool as crew_module
from advassay.sources.dicom.header_reader import HEADER
from advassay.sources.dicom.open_dicom_file import open_dicom_file
from advassay.sources.dicom.pixel_reader import PixelRules, read_pixels
from advassay.sources.dicom.worker_pool import DicomWorkerPool
from advassay.sources.read_failures import Unreadable
from advassay.spec.source_spec import DicomSource

WHOLE = file_bytes(radiograph())
PACKED = file_bytes(radiograph(), "jpeg2000")
SPEC = DicomSource(kind="dicom", path="x")


def outcome(folder: Path) -> dict[str, str]:
    """Name of each entry → its reason, or "image"; entries without a name that a table can hold are called ""."""
    opened = open_dicom("d", SPEC, folder, workers=1)
    names = dict(opened.files.select("row", "path").iter_rows())
    lost = dict(opened.left_out.select("row", "reason").iter_rows())
    seen = {row: image.named if isinstance(image, Unreadable) else "image" for row, image in _images(opened)}
    return {(name or "").removesuffix(".dcm"): lost.get(row) or seen[row] for row, name in names.items()}


def _images(opened: DicomFiles) -> Any:
    return opened.read(opened.rows["row"].to_list())


def element_at(data: bytes, group: int, element: int) -> int:
    """Where the value of a short explicit little-endian element begins."""
    return data.index(struct.pack("<HH", group, element)) + 8


def with_us(data: bytes, group: int, element: int, value: int) -> bytes:
    """`data` with a whole number (VR US) overwritten."""
    place = element_at(data, group, element)
    return data[:place] + struct.pack("<H", value) + data[place + 2 :]


def deflated_bomb(size: int) -> bytes:
    """A deflated file of a few kilobytes whose data set inflates to `size` bytes."""
    plain = file_bytes(radiograph(), "deflated")
    start = plain.index(b"\x02\x00\x00\x00UL\x04\x00")
    end = start + 12 + struct.unpack_from("<I", plain, start + 8)[0]
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return plain[:end] + squeeze.compress(b"\0" * size) + squeeze.flush()


def jpeg2000_bomb() -> bytes:
    """A code stream that declares 60,000 × 60,000 in an image of 240 × 220 (SIZ marker, ISO/IEC 15444-1 §A.5.1)."""
    siz = PACKED.index(b"\xff\x51")
    return PACKED[: siz + 6] + struct.pack(">II", 60000, 60000) + PACKED[siz + 14 :]


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "unreadable: empty file"),
    "text": (b"no DICOM at all " * 20, "not DICOM"),
    "magic-only": (b"\0" * 128 + b"DICM", "unreadable: damaged"),
    "header-cut": (WHOLE[:200], "unreadable: damaged"),
    "pixels-cut": (WHOLE[: len(WHOLE) // 2], "unreadable: cut short"),
    "packed-cut": (PACKED[: len(PACKED) // 2], "unreadable: damaged"),
    "huge": (with_us(with_us(WHOLE, 0x28, 0x10, 65535), 0x28, 0x11, 65535), "unreadable: too large"),
    "no-rows": (with_us(WHOLE, 0x28, 0x10, 0), "not an image"),
    "one-bit": (with_us(WHOLE, 0x28, 0x101, 1), "unreadable: unsupported pixels"),
    "wide-bits": (with_us(WHOLE, 0x28, 0x101, 60000), "unreadable: unsupported pixels"),
    "odd-depth": (with_us(WHOLE, 0x28, 0x100, 12), "unreadable: unsupported pixels"),
    "wrong-length": (WHOLE.replace(b"CS\x06\x00CHEST ", b"CS\xff\xffCHEST "), "not an image"),
    "deflate-noise": (file_bytes(radiograph(), "deflated")[:600] + b"\xff" * 4000, "unreadable: damaged"),
    "stream-bomb": (jpeg2000_bomb(), "unreadable: damaged"),
    "stream-noise": (PACKED[: PACKED.index(b"\xff\x51")] + bytes(range(255)) * 9, "unreadable: damaged"),
    "unknown-syntax": (WHOLE.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"), "unreadable: damaged"),
    "constant": (file_bytes(radiograph(np.full((240, 220), 7, np.uint16))), "image"),  # the index calls it blank
}


def test_every_broken_file_has_its_reason(tmp_path: Path) -> None:
    write(tmp_path, good=WHOLE, packed=PACKED, **{name: data for name, (data, _) in BROKEN.items()})
    seen = outcome(tmp_path)
    assert {name: seen[name] for name in BROKEN} == {name: reason for name, (_, reason) in BROKEN.items()}
    assert (seen["good"], seen["packed"]) == ("image", "image")


def test_a_panic_of_the_rle_plug_in_is_a_damaged_file(tmp_path: Path) -> None:
    """Its exception is no Exception: a reader that let it pass would end (found by benchmarks.fuzz_readers)."""
    packed = Path(__file__).parent / "cases" / "fuzz_rle_panic.dcm.gz"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read_pixels(str(packed), PixelRules()).reason == "damaged"


def test_links_pipes_folders_and_odd_names_are_counted(tmp_path: Path) -> None:
    folder = write(tmp_path / "in" / "deep", good=WHOLE).parent
    write(tmp_path, outside=WHOLE)
    (folder / "inside").symlink_to(folder / "deep" / "good.dcm")
    (folder / "out").symlink_to(tmp_path / "outside.dcm")
    (folder / "dangling").symlink_to(folder / "nothing")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "up").symlink_to(tmp_path)
    (folder / "void").mkdir()
    os.mkfifo(folder / "pipe")
    (Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.dcm"))).write_bytes(WHOLE)
    (folder / ".hidden").write_bytes(WHOLE)
    assert outcome(folder) == {
        "deep/good": "image",
        "inside": "image",
        "out": "link out of the tree",
        "dangling": "unreadable: missing",
        "loop": "unreadable: missing",
        "up": "link to a folder",
        "pipe": "unreadable: not a file",
        "": "file name is not UTF-8",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_and_folders_without_permission_are_counted(tmp_path: Path) -> None:
    write(tmp_path, good=WHOLE, locked=WHOLE)
    write(tmp_path / "closed", hidden=WHOLE)
    (tmp_path / "locked.dcm").chmod(0)
    (tmp_path / "closed").chmod(0)
    try:
        assert outcome(tmp_path) == {
            "good": "image",
            "locked": "unreadable: no permission",
            "": "unreadable: no permission",
        }
    finally:
        (tmp_path / "closed").chmod(0o700)


@pytest.mark.parametrize("content", [{}, {".hidden": b"x"}])
def test_a_folder_without_files_is_an_error_that_says_so(tmp_path: Path, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match="expected at least one file"):
        open_dicom("d", SPEC, tmp_path)


@pytest.mark.parametrize("data", [WHOLE, b"a\0b", file_bytes(radiograph()).replace(b"DICM", b"DICX")])
def test_a_file_that_is_no_list_is_an_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "list").write_bytes(data)
    with pytest.raises(SourceError, match="one path per line, got"):
        open_dicom("d", SPEC, tmp_path / "list")


def test_a_deflate_bomb_is_counted_without_being_kept(tmp_path: Path) -> None:
    bomb = deflated_bomb(1 << 26)
    assert len(bomb) < 100_000
    (tmp_path / "bomb").write_bytes(bomb)
    seen = open_dicom_file(str(tmp_path / "bomb"), most_inflated=1 << 24)
    assert isinstance(seen, Unreadable)
    assert seen.reason == "too large"


def test_bytes_behind_the_deflated_data_set_do_not_keep_the_reader_busy(tmp_path: Path) -> None:
    """PS3.5 §A.5 pads it to an even length; a stream that ends on a megabyte leaves the pad unconsumed for ever."""
    for size in ((1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20):
        (tmp_path / "padded").write_bytes(deflated_bomb(size) + b"\0")
        file = open_dicom_file(str(tmp_path / "padded"))
        assert not isinstance(file, Unreadable)
        file.close()


def test_a_hanging_and_a_dying_reader_cost_one_file_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker itself is replaced by one that sleeps or dies at a file's name: no sane decoder does so on demand."""
    sick = tmp_path / "sick.py"
    body = Path(crew_module.__file__).with_name("worker_process.py").read_text(encoding="utf-8")
    trap = (
        '        if request.get("pixels", "").endswith("hang.dcm"): __import__("time").sleep(60)\n'
        '        if request.get("pixels", "").endswith("die.dcm"): os.kill(os.getpid(), 11)\n'
    )
    sick.write_text(re.sub(r'(        if "headers" in request:\n)', trap + r"\1", body, count=1), encoding="utf-8")
    popen = crew_module.subprocess.Popen
    monkeypatch.setattr(crew_module.subprocess, "Popen", lambda cmd, **kw: popen([cmd[0], str(sick), *cmd[3:]], **kw))
    write(tmp_path, good=WHOLE, hang=WHOLE, die=WHOLE)
    crew = DicomWorkerPool(1)
    reasons = []
    for name in ("hang", "good", "die", "good"):
        image = crew.image(str(tmp_path / f"{name}.dcm"), PixelRules(), limit_s=5.0)
        reasons.append(image.reason if isinstance(image, Unreadable) else "image")
    crew.close()
    assert reasons == ["out of time", "image", "decoder crashed", "image"]


def test_the_memory_of_a_reader_is_capped(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(WHOLE)
    crew = DicomWorkerPool(1, most_pixels=1)
    assert isinstance(crew.image(str(tmp_path / "a.dcm"), PixelRules()), np.ndarray)
    worker = next(iter(crew._all))
    limits = Path(f"/proc/{worker.process.pid}/limits").read_text(encoding="ascii")
    crew.close()
    assert int(re.search(r"Max address space\s+(\d+)", limits)[1]) == (3 << 30) + 48  # type: ignore[index]


def test_a_process_that_does_not_start_is_an_error_not_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module.sys, "executable", "/bin/false")
    with pytest.raises(SourceError, match="does not start"):
        DicomWorkerPool(1).image("x", PixelRules())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_with_any_bytes_changed_gives_an_image_or_a_reason(
    tmp_path: Path, crew: DicomWorkerPool, data: Any
) -> None:
    body = bytearray(data.draw(st.sampled_from([WHOLE[:3000], WHOLE, PACKED])))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(128, len(body) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "mutated"
    path.write_bytes(bytes(body))
    (facts,) = crew.headers([str(path)])
    assert set(facts) <= set(HEADER)
    image = crew.image(str(path), PixelRules("voi"))
    assert isinstance(image, Unreadable) or (image.ndim == 2 and image.dtype in (np.uint8, np.uint16))
