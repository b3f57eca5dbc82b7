"""The few images that figures show: lossless PNG at native depth, with what the network said about them.

STORE/gallery/index.json lists the examples; clean and adversarial images lie beside it. Pixels live here and
nowhere else in the records, so `gallery: off` leaves a store without any.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from advassay import store_layout
from advassay.checked_files import damaged, read_document, write_document
from advassay.errors import StoreError
from advassay.identity import content_hash
from advassay.png_files import SIGNATURE, decode_png, encode_png
from advassay.records.run_reader import check_version
from advassay.spec.base_model import Frozen

INDEX = "index.json"
HEALED = "`advassay attack` with the same study and --store keeps the images anew."
"""What to do where the index or an image is damaged."""
FORMAT_VERSION = "1"


class Example(Frozen):
    """One attacked image kept for figures."""

    cohort: str
    run_id: str
    arm: str = ""
    image_id: str
    label: int
    class_names: tuple[str, ...]
    epsilon: float
    step_size: str
    steps: int
    """Iterations after which the adversarial image was taken."""
    predicted: int
    """Class index of the adversarial image as attacked (before rounding to the PNG's depth); -1: no decision (NaN)."""
    clean_probabilities: tuple[float, ...] | None
    adversarial_probabilities: tuple[float, ...] | None
    """Softmax, by class; null where a logit is NaN."""
    bits: int
    """Depth of both PNGs, 8 or 16: the depth of the prepared images."""
    clean_file: str = ""
    adversarial_file: str = ""
    """File names inside the gallery folder; set when written."""

    @property
    def before(self) -> float | None:
        """Probability of the clean image's class; None where it has none."""
        return None if self.clean_probabilities is None else max(self.clean_probabilities)

    @property
    def after(self) -> float | None:
        """Probability of the adversarial image's class; None where it has none."""
        return None if self.adversarial_probabilities is None else self.adversarial_probabilities[self.predicted]

    @property
    def correct(self) -> bool:
        """The clean image was classified correctly."""
        return self.clean_probabilities is not None and int(np.argmax(self.clean_probabilities)) == self.label

    @property
    def fallen(self) -> bool:
        """First classified correctly, and as another class after the attack; no decision (NaN) is none."""
        return self.correct and self.predicted not in (-1, self.label)


def write_example(gallery: Path, example: Example, clean: np.ndarray, adversarial: np.ndarray) -> Example:
    """Keep one pair: images float32 (channel, height, width) in [0, 1], grey or RGB, rounded to `example.bits`.

    An example of the same run, image, step size and ε replaces the earlier one. Returns it with its file names.
    """
    name = content_hash([example.cohort, example.image_id, example.bits])
    attacked = content_hash([example.run_id, example.image_id, example.step_size, example.epsilon])
    example = example.model_copy(update={"clean_file": f"{name}.png", "adversarial_file": f"{attacked}.png"})
    write_png(gallery / example.clean_file, clean, example.bits)
    write_png(gallery / example.adversarial_file, adversarial, example.bits)
    kept = [e for e in read_gallery(gallery) if e.adversarial_file != example.adversarial_file] + [example]
    kept.sort(key=lambda e: (e.cohort, e.arm, e.image_id, e.step_size, e.epsilon))
    write_index(gallery, kept)
    return example


def write_index(gallery: Path, examples: Sequence[Example]) -> None:
    """Write the list of what is kept."""
    content = {"format_version": FORMAT_VERSION, "examples": [e.model_dump(mode="json") for e in examples]}
    write_document(gallery / INDEX, content, indent=1)


def read_gallery(gallery: Path) -> list[Example]:
    """Every example kept, by cohort, image and ε; empty where nothing was.

    Raises FormatError for a newer format, DamagedError for an index that cannot be read.
    """
    path = gallery / INDEX
    if not path.exists():
        return []
    content = read_document(path, HEALED)
    check_version(content.get("format_version"), "gallery")
    try:
        return [Example.model_validate(example) for example in content["examples"]]
    except (KeyError, TypeError, ValueError):
        raise damaged(path, "it lists no examples", HEALED) from None


def remove_examples(gallery: Path, gone: Callable[[Example], bool]) -> list[Example]:
    """Remove the examples that are `gone`, and images that no other one shows. Returns what was removed."""
    examples = read_gallery(gallery)
    removed = [example for example in examples if gone(example)]
    kept = [example for example in examples if not gone(example)]
    if removed:
        write_index(gallery, kept)
        needed = {file for example in kept for file in (example.clean_file, example.adversarial_file)}
        for file in {file for one in removed for file in (one.clean_file, one.adversarial_file)} - needed:
            (gallery / file).unlink(missing_ok=True)
    return removed


def is_whole(gallery: Path, example: Example) -> bool:
    """Whether both images of an example are there, every chunk of them as its checksum says (PNG, 3.2 and 5.4)."""
    return all(_whole_png(gallery / file) for file in (example.clean_file, example.adversarial_file))


def _whole_png(path: Path) -> bool:
    try:
        data = path.read_bytes()
    except OSError:
        return False
    at, kind = 8, b""
    while data[:8] == SIGNATURE and at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if int.from_bytes(data[end : end + 4], "big") != zlib.crc32(data[at + 4 : end]):
            return False
        at = end + 4
    return kind == b"IEND"


def read_image(gallery: Path, file: str) -> np.ndarray:
    """A kept image as stored: uint8 or uint16, (height, width) or (height, width, 3) RGB. StoreError if unreadable."""
    try:
        return decode_png((gallery / file).read_bytes())
    except (OSError, ValueError):
        raise damaged(gallery / file, "it cannot be read as PNG", HEALED) from None


def write_png(path: Path, image: np.ndarray, bits: int) -> None:
    """Write float32 (channel, height, width) in [0, 1] as PNG of 8 or 16 bits, rounded to the nearest grey level."""
    encoded = encode_png(grey_levels(image, bits))
    with store_layout.writing(path) as beside:
        beside.write_bytes(encoded)


def grey_levels(image: np.ndarray, bits: int) -> np.ndarray:
    """float32 (channel, height, width) in [0, 1] → uint8 or uint16, (height, width) or (height, width, 3) RGB, rounded.

    Raises StoreError for other depths and shapes.

    >>> grey_levels(np.array([[[0.0, 0.5, 1.0]]], np.float32), 16)
    array([[    0, 32768, 65535]], dtype=uint16)
    """
    if bits not in (8, 16) or image.ndim != 3 or image.shape[0] not in (1, 3):
        raise StoreError(f"gallery: bits 8 or 16 and (1 or 3, height, width), got {bits} and {image.shape}.")
    top = 2**bits - 1
    levels = np.rint(np.clip(image, 0, 1).astype(np.float64) * top).astype(np.uint8 if bits == 8 else np.uint16)
    return levels[0] if len(levels) == 1 else np.moveaxis(levels, 0, -1)
