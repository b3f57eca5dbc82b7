"""A data set → the bytes of a file, in any of the transfer syntaxes that can be written here.

pydicom writes the uncompressed ones and deflated; OpenJPEG writes JPEG 2000; GDCM RLE, JPEG-LS and lossless JPEG.
"""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

UIDS: dict[str, UID] = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg2000": JPEG2000Lossless,
    "jpeg-ls": JPEGLSLossless,
    "jpeg-lossless": JPEGLosslessSV1,
    "no preamble": ImplicitVRLittleEndian,
}
"""`plan.SYNTAXES` → UID (PS3.5, annex A). "no preamble": no file meta information either, as old machines wrote."""

PACKED = ("rle", "jpeg2000", "jpeg-ls", "jpeg-lossless")
"""Those that hold pixels as a compressed stream."""


def encoded(ds: Dataset, syntax: str) -> bytes:
    """The file's bytes. A data set without pixels stays uncompressed whatever `syntax` says."""
    uid = UIDS[syntax]
    if syntax in PACKED:
        return _file(_compressed(ds, syntax), uid) if "PixelData" in ds else _file(ds, ExplicitVRLittleEndian)
    return _file(ds, uid, bare=syntax == "no preamble")


def _file(ds: Dataset, uid: UID, *, bare: bool = False) -> bytes:
    into = BytesIO()
    if bare:
        ds.save_as(into, implicit_vr=True, little_endian=True, enforce_file_format=False)
        return into.getvalue()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid
    ds.save_as(into, enforce_file_format=True)
    return into.getvalue()


def _compressed(ds: Dataset, syntax: str) -> Dataset:
    stream = _jpeg2000(ds) if syntax == "jpeg2000" else _by_gdcm(ds, syntax)
    ds.PixelData = encapsulate([stream])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds


def _jpeg2000(ds: Dataset) -> bytes:
    from openjpeg import encode

    colour = ds.SamplesPerPixel == 3
    shape = (ds.Rows, ds.Columns, 3) if colour else (ds.Rows, ds.Columns)
    pixels = np.frombuffer(ds.PixelData, np.uint8 if ds.BitsAllocated == 8 else "<u2").reshape(shape)
    return bytes(
        encode(pixels, bits_stored=ds.BitsStored, photometric_interpretation=1 if colour else 2, use_mct=False)
    )


def _by_gdcm(ds: Dataset, syntax: str) -> bytes:
    """The compressed frame. GDCM works on files, so two are lent to it."""
    import gdcm

    syntaxes = gdcm.TransferSyntax
    wanted = {
        "rle": syntaxes.RLELossless,
        "jpeg-ls": syntaxes.JPEGLSLossless,
        "jpeg-lossless": syntaxes.JPEGLosslessProcess14_1,
    }[syntax]
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder, "plain"), Path(folder, "packed")
        plain.write_bytes(_file(ds, ExplicitVRLittleEndian))
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(plain))
        done = reader.Read()
        change.SetTransferSyntax(syntaxes(wanted))
        change.SetInput(reader.GetImage())
        done = done and change.Change()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        if not (done and writer.Write()):
            raise RuntimeError(f"GDCM cannot write {syntax} of {ds.Rows} × {ds.Columns} pixels")
        return get_frame(dcmread(packed).PixelData, 0, number_of_frames=1)
