"""Small copies of public sets, laid out as published: file names, folders, tables and columns; the pixels are noise."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

PX = 24
_random = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return _random.integers(0, 256, shape, dtype=np.uint8)


def image(path: Path, colour: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), noise(PX, PX, 3) if colour else noise(PX, PX))


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def radiograph(path: Path, *, age: int = 40, sex: str = "F") -> None:
    """A chest radiograph of 220 px as a DICOM file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.PatientID, ds.PatientAge, ds.PatientSex = path.stem, f"{age:03}Y", sex
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "DX", "CHEST", "PA"
    ds.Rows = ds.Columns = 220
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelData = noise(220, 220).tobytes()
    ds.save_as(path, enforce_file_format=True)


def nih_chestxray14(folder: Path) -> None:
    rows = ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,a,b,c,d"]
    for patient in range(48):
        name, age = f"{patient + 1:08}_000.png", (22, 30, 60, 18)[patient % 4]
        finding = "Effusion|Pneumonia" if patient == 47 else "No Finding"
        rows.append(f"{name},{finding},0,{patient + 1},{age:03}Y,{'MF'[patient // 4 % 2]},PA,1,1,0.1,0.1")
        image(folder / f"images_{1 + patient % 2:03}" / "images" / name)
    text(folder / "Data_Entry_2017_v2020.csv", "\n".join(rows))
    text(folder / "train_val_list.txt", "\n".join(f"{patient + 1:08}_000.png" for patient in range(40)))
    text(folder / "test_list.txt", "\n".join(f"{patient + 1:08}_000.png" for patient in range(40, 48)))


def shenzhen(folder: Path) -> None:
    for number in range(20):
        stem = f"CHNCXR_{number + 1:04}_{number % 2}"
        image(folder / "CXR_png" / f"{stem}.png")
        age = "3 months" if number == 0 else f"{20 + number}yrs"
        text(folder / "ClinicalReadings" / f"{stem}.txt", f"{'Male' if number % 3 else 'female'} {age}\nnormal")


def montgomery(folder: Path) -> None:
    for number in range(20):
        stem = f"MCUCXR_{number + 1:04}_{number % 2}"
        image(folder / "CXR_png" / f"{stem}.png")
        image(folder / "ManualMask" / "leftMask" / f"{stem}.png")
        text(folder / "ClinicalReadings" / f"{stem}.txt", f"Patient's Sex: M\nPatient's Age: {20 + number:03}Y\nnormal")


def tbx11k(folder: Path) -> None:
    names = {"train": [], "val": []}
    for label, letter in (("health", "h"), ("sick", "s"), ("tb", "tb")):
        for number in range(12):
            name = f"{label}/{letter}{number:04}.png"
            image(folder / "imgs" / name)
            names["val" if number < 4 else "train"].append(name)
    image(folder / "imgs" / "extra" / "shenzhen" / "CHNCXR_0001_0.png")
    for side, listed in names.items():
        text(folder / "lists" / f"TBX11K_{side}.txt", "\n".join(listed))


def vindr_cxr(folder: Path) -> None:
    head = "image_id,rad_id,Aortic enlargement,Tuberculosis,Other disease,No finding"
    rows: dict[str, list[str]] = {"train": [head], "test": [head.replace("rad_id,", "")]}
    for number in range(24):
        side, name = ("train" if number < 16 else "test"), f"{number:032x}"
        radiograph(folder / side / f"{name}.dicom")
        ill = number % 2
        votes = [ill, ill, 1 - ill] if side == "train" else [ill]
        for reader, vote in enumerate(votes):
            reader_id = f"R{reader + 1}," if side == "train" else ""
            rows[side].append(f"{name},{reader_id}{vote},{vote},0,{1 - vote}")
    for side, lines in rows.items():
        text(folder / "annotations" / f"image_labels_{side}.csv", "\n".join(lines))


def rsna_pneumonia(folder: Path) -> None:
    rows = ["patientId,class"]
    for number in range(32):
        name = f"00000000-0000-0000-0000-{number:012x}"
        radiograph(
            folder / "stage_2_train_images" / f"{name}.dcm", age=25 if number % 4 < 2 else 60, sex="FM"[number % 2]
        )
        label = ("Normal", "Normal", "Lung Opacity", "No Lung Opacity / Not Normal")[number // 8]
        rows += [f"{name},{label}"] * (1 + (number // 8 == 2))
    text(folder / "stage_2_detailed_class_info.csv", "\n".join(rows))


def padchest(folder: Path) -> None:
    rows = [
        "ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,Projection,MethodLabel,Labels"
    ]
    for number in range(96):
        name = f"{number:03}_{number}-1.png"
        image(folder / str(number % 2) / name)
        born = (2014 - 22, 2014 - 30, 2014 - 60, 2014 - 18)[number % 4]
        labels = {4: "['aortic elongation']", 5: "['tuberculosis sequelae', 'pneumonia']"}.get(
            number // 12, "['normal']"
        )
        rows.append(
            f'{name},{number % 2},20140320,S{number},P{number},{born}.0,{"MF"[number // 4 % 2]},PA,Physician,"{labels}"'
        )
    with gzip.open(folder / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(rows))


def open_i(folder: Path) -> None:
    for number in range(24):
        name = f"CXR{number}_IM-{number:04}-3001"
        image(folder / "NLMCXR_png" / f"{name}.png")
        mesh = "normal" if number % 2 else "Aorta, Thoracic/tortuous/mild"
        text(
            folder / "ecgen-radiology" / f"{number}.xml",
            f'<?xml version="1.0"?><eCitation><uId id="CXR{number}"/><MeSH><major>{mesh}</major></MeSH>'
            f'<parentImage id="{name}"/></eCitation>',
        )


def kermany(folder: Path) -> None:
    for split in ("train", "test"):
        for number in range(12):
            image(folder / "chest_xray" / split / "NORMAL" / f"IM-{number + 100 * len(split):04}-0001.jpeg")
            kind = ("bacteria", "virus")[number % 2]
            image(
                folder / "chest_xray" / split / "PNEUMONIA" / f"person{number + len(split) * 50}_{kind}_{number}.jpeg"
            )
    image(folder / "chest_xray" / "val" / "NORMAL" / "NORMAL2-IM-1427-0001.jpeg")
    image(folder / "chest_xray" / "val" / "PNEUMONIA" / "person1946_bacteria_4874.jpeg")


def lc25000(folder: Path) -> None:
    for organ, tissues in (("lung", ("aca", "n", "scc")), ("colon", ("aca", "n"))):
        for tissue in tissues:
            for number in range(12):
                name = f"{organ}{tissue}{number + 1}.jpeg"
                image(folder / "lung_colon_image_set" / f"{organ}_image_sets" / f"{organ}_{tissue}" / name, colour=True)


def nct_crc_he_100k(folder: Path) -> None:
    for part, images in (("NCT-CRC-HE-100K", 8), ("CRC-VAL-HE-7K", 4)):
        for tissue in ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM"):
            for number in range(images):
                image(folder / part / tissue / f"{tissue}-{part[:3]}{number:05}.tif", colour=True)


def breakhis(folder: Path) -> None:
    for number in range(24):
        letter, kind, subtype = (("B", "benign", "adenosis"), ("M", "malignant", "ductal_carcinoma"))[number % 2]
        slide = f"14-{22549 + number}{'AB' if number % 3 else 'G'}"
        for magnification in (40, 100, 200, 400):
            name = f"SOB_{letter}_{'A' if letter == 'B' else 'DC'}-{slide}-{magnification}-001.png"
            where = folder / "BreaKHis_v1" / "histology_slides" / "breast" / kind / "SOB" / subtype
            image(where / f"SOB_{letter}_A_{slide}" / f"{magnification}X" / name, colour=True)


def pcam(folder: Path) -> None:
    for part, images in (("train", 16), ("valid", 8), ("test", 8)):
        stem = folder / f"camelyonpatch_level_2_split_{part}"
        with h5py.File(f"{stem}_x.h5", "w") as file:
            file["x"] = noise(images, 96, 96, 3)
        with h5py.File(f"{stem}_y.h5", "w") as file:
            file["y"] = (np.arange(images, dtype=np.uint8) % 2).reshape(images, 1, 1, 1)
        rows = [f"{i},0,0,True,True,camelyon16_{part}_{i // 2:03}" for i in range(images)]
        text(Path(f"{stem}_meta.csv"), "\n".join([",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi", *rows]))


def medmnist(folder: Path, name: str, classes: int, colour: bool, labels_of_one: int = 1) -> None:
    arrays = {}
    for part, images in (("train", 8 * classes), ("val", 4 * classes), ("test", 4 * classes)):
        arrays[f"{part}_images"] = noise(images, 28, 28, 3) if colour else noise(images, 28, 28)
        label = np.arange(images) % classes
        if labels_of_one > 1:
            arrays[f"{part}_labels"] = np.eye(labels_of_one + 1, dtype=np.uint8)[label + 3][:, :labels_of_one]
            arrays[f"{part}_labels"][::2] = 0
        else:
            arrays[f"{part}_labels"] = label.astype(np.uint8)[:, None]
    np.savez(folder / f"{name}.npz", **arrays)


EXCERPTS: dict[str, Callable[[Path], None]] = {
    make.__name__.replace("_", "-"): make
    for make in (
        *(nih_chestxray14, shenzhen, montgomery, tbx11k, vindr_cxr, rsna_pneumonia, padchest, open_i, kermany),
        *(lc25000, nct_crc_he_100k, breakhis, pcam),
    )
}
"""Recipe → how to write a small copy of its set into a folder."""
