"""How well the aortic region is found in phantoms, whose knob's place is known: hit rates, distances, milliseconds.

    python benchmarks/regions.py --images 400

Prints one line per side in pixels. centre: the knob's middle lies in the crop; whole: all of the knob does; kept: found
with the least confidence a study asks for by default; wrong films: kept of the same images turned or inverted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from advassay.cohorts.regions.region_finders import chest_region
from advassay.cohorts.regions.thorax_finder import find_thorax
from advassay.sources.phantoms import landmarks, render
from advassay.spec.cohort_spec import RegionSpec
from advassay.spec.source_spec import PhantomSource

RULE = RegionSpec(find="aorta")
WRONG: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "upside down": np.flipud,
    "quarter turn": np.rot90,
    "inverted": lambda image: image.max() - image,
}


def kept(image: np.ndarray) -> bool:
    size = (image.shape[1], image.shape[0])
    found = chest_region(find_thorax(np.ascontiguousarray(image)), size, RULE, None)
    return found.box is not None and found.confidence >= RULE.least_confidence


def measure(size: int, number: int) -> str:
    spec = PhantomSource(
        kind="phantoms",
        phantom="chest",
        images=number,
        prevalence={"aortic_rotation": 0.41, "tuberculosis": 0.2},
        size_px=size,
    )
    images = render(spec, range(number))
    truth = landmarks(spec).select("knob_x", "knob_y", "knob_radius").to_numpy() * size
    started = time.process_time()
    found = [chest_region(find_thorax(image), (size, size), RULE, None) for image in images]
    milliseconds = 1000 * (time.process_time() - started) / number
    sure = [f.box is not None and f.confidence >= RULE.least_confidence for f in found]
    boxes = np.array([f.box or (np.nan,) * 4 for f in found])
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    offset = np.abs(middle - truth[:, :2])
    distance = np.hypot(*offset.T)
    centre, whole = (offset < half).all(axis=1), (offset + truth[:, 2:] < half).all(axis=1)
    wrong = ", ".join(f"{name} {np.mean([kept(turn(i)) for i in images]):.3f}" for name, turn in WRONG.items())
    quartiles = " / ".join(f"{q:.1f}" for q in np.nanpercentile(distance, [50, 95, 100]))
    return (
        f"{size} px, {number} images: kept {np.mean(sure):.3f}, centre {centre.mean():.3f}, whole {whole.mean():.3f}, "
        f"distance px (median / 95% / largest) {quartiles}, crop side {np.nanmedian(2 * half):.0f} px, "
        f"{milliseconds:.0f} ms an image; kept of wrong films: {wrong}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400)
    asked = parser.parse_args()
    for side in (64, 128, 256):
        print(measure(side, asked.images), flush=True)
