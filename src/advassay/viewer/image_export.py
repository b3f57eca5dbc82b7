"""A proved iterate as a PNG or DICOM file of the prepared images' depth, with what it is written inside the file."""

from __future__ import annotations

import hashlib
import io
from typing import Literal

import numpy as np

from advassay import __version__
from advassay.errors import StoreError
from advassay.identity import canonical_json
from advassay.optional_libraries import optional_imports
from advassay.png_files import encode_png
from advassay.records.gallery import grey_levels
from advassay.records.run_header import RunHeader
from advassay.report.figures.image_panels import difference, magnification
from advassay.report.output.figure_files import in_png
from advassay.viewer.recomputation import Recomputed

What = Literal["clean", "attacked", "difference"]
"""The prepared image; an iterate; 0.5 + factor · (iterate − prepared image), of 8 bits."""


def png(
    made: Recomputed, header: RunHeader, what: What, *, image_id: str, step_size: str, epsilon: float, step: int
) -> bytes:
    """PNG with international text chunks Title and Description: cohort, arm, point, weights and what the proof says.

    Rounded to the depth of the prepared images, so that its decision may differ from the iterate's by that. Raises
    StoreError where the iterates are not proved or there is no such step.
    """
    clean, attacked = _levels(made, header, step)
    depth = 8 if what == "difference" else header.bits
    shown = {"clean": clean, "attacked": attacked}.get(what)
    factor = factor_of(clean, attacked, header, epsilon)
    if shown is None:
        shown = difference(clean, attacked, factor)
    named = f"Difference × {factor:g}, mid-grey unchanged" if what == "difference" else KINDS[what]
    about = description(made, header, named, depth, image_id=image_id, step_size=step_size, epsilon=epsilon, step=step)
    return in_png(encode_png(shown), f"{header.cohort} {image_id}: {what}", about)


KINDS = {"clean": "Prepared image", "attacked": "Attacked image"}


def description(
    made: Recomputed, header: RunHeader, named: str, depth: int, *, image_id: str, step_size: str, epsilon: float,
    step: int,
) -> str:  # fmt: skip
    """What an exported image is, in sentences: cohort, arm, point, weights and what the proof says."""
    point = f"arm {header.arm}, step size {step_size}, ε = {epsilon:g}, iterate {step} of {header.steps}"
    return (
        f"{named}{'' if named == KINDS['clean'] else f', {point}'}. Cohort {header.cohort}, image {image_id}, run "
        f"{header.run_id}, network {header.classifier} (weights SHA-256 {header.weights_sha256}). {made.proof.reason} "
        f"Rounded to {depth} bits."
    )


def _levels(made: Recomputed, header: RunHeader, step: int) -> tuple[np.ndarray, np.ndarray]:
    """(prepared image, iterate) in levels of their depth. Raises StoreError where there is nothing to give away."""
    if made.iterates is None or not made.proof.shown:
        raise StoreError("image: it is not proved to be the recorded one.", "Nothing of it is given away.")
    if not 0 <= step < len(made.iterates):
        raise StoreError(f"step: 0 to {len(made.iterates) - 1}, got {step}.")
    return grey_levels(made.iterates[0], header.bits), grey_levels(made.iterates[step], header.bits)


SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
TEXT_LENGTH = 1024
"""Characters that a short text (VR ST) holds."""


def dicom(
    made: Recomputed, header: RunHeader, what: Literal["clean", "attacked"], *, image_id: str, step_size: str,
    epsilon: float, step: int,
) -> bytes:  # fmt: skip
    """DICOM Secondary Capture (PS3.3 A.8.1), explicit little-endian: a derived image of a person without a name.

    Its UIDs are new ones, made from what the image is, so that the same iterate is the same object; those of the image
    it was prepared from, and all that names a person or a place, are not in it. Raises StoreError as `png` does,
    MissingLibraryError without the extra `dicom`.
    """
    with optional_imports("dicom"):
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import UID, ExplicitVRLittleEndian

    shown = _levels(made, header, step)[0 if what == "clean" else 1]
    key: dict[str, str | float] = {"image_id": image_id, "step_size": step_size, "epsilon": epsilon, "step": step}
    about = description(made, header, KINDS[what], header.bits, image_id=image_id, step_size=step_size,
                        epsilon=epsilon, step=step)  # fmt: skip

    def uid(level: str, *content: str | int | float) -> UID:
        """2.25. and a number, as from a UUID (PS3.5 B.2), the same for the same content."""
        digest = hashlib.sha256(canonical_json(["advassay", level, *content]).encode()).digest()
        return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")

    grey, top = shown.ndim == 2, 2**header.bits - 1
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.SOPClassUID = UID(SECONDARY_CAPTURE)
    ds.SOPInstanceUID = uid("image", header.run_id, what, *key.values())
    ds.StudyInstanceUID = uid("study", header.cohort, image_id)
    ds.SeriesInstanceUID = uid("series", header.run_id, image_id, step_size)
    for name in ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID", "PatientName",
                 "PatientID", "PatientBirthDate", "PatientSex", "Laterality", "PatientOrientation"):  # fmt: skip
        setattr(ds, name, "")
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = "Derived image: no attribute of its source was kept"
    ds.Modality, ds.ConversionType = "OT", "WSD"
    ds.Manufacturer, ds.ManufacturerModelName, ds.SoftwareVersions = "advassay", "advassay view", __version__
    ds.SeriesNumber, ds.InstanceNumber = 1, step + 1
    ds.SeriesDescription = f"{'Adversarial attack' if what == 'attacked' else 'Prepared image'}, arm {header.arm}"[:64]
    ds.DerivationDescription = about if len(about) <= TEXT_LENGTH else about[: TEXT_LENGTH - 1] + "…"
    ds.ImageComments = "For research on classifiers only; not for diagnosis."
    ds.Rows, ds.Columns = shown.shape[:2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (1, "MONOCHROME2") if grey else (3, "RGB")
    ds.BitsAllocated = ds.BitsStored = header.bits
    ds.HighBit, ds.PixelRepresentation = header.bits - 1, 0
    if grey:
        ds.WindowCenter, ds.WindowWidth = (top + 1) / 2, top + 1
    else:
        ds.PlanarConfiguration = 0
    pixels = np.ascontiguousarray(shown, shown.dtype.newbyteorder("<")).tobytes()
    ds.add_new("PixelData", "OW" if header.bits > 8 else "OB", pixels + b"\0" * (len(pixels) % 2))
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written = io.BytesIO()
    ds.save_as(written, enforce_file_format=True)
    return written.getvalue()


def factor_of(clean: np.ndarray, attacked: np.ndarray, header: RunHeader, epsilon: float) -> float:
    """The factor at which the largest change that the attack may make fills the grey scale; of L2 the largest made."""
    if header.attack.get("norm", "linf") == "linf":
        return magnification(epsilon)
    top = float(np.iinfo(clean.dtype).max)
    return magnification(max(float(np.abs(attacked.astype(np.float64) - clean).max()) / top, 1e-9))
