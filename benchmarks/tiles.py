"""How long tiles take and how much memory, against the size of a slide; and a figure of what the rules reject.

    python benchmarks/tiles.py --out docs/results/slides --sides 4096 8192 16384

Slides are made by the program: one level, tiled TIFF, stained discs on glass, with marker ink, a blurred part and a
region file. Each size runs in a process of its own; its peak memory is the kernel's VmHWM.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile

GLASS, STAIN, NUCLEUS, INK = (243, 242, 244), (214, 140, 186), (98, 58, 130), (25, 75, 190)
TILE = 256


def texture(side: int) -> np.ndarray:
    """uint8 (side, side, 3) RGB: stroma with nuclei."""
    random = np.random.default_rng(0)
    pixels = np.clip(np.array(STAIN) + random.integers(-14, 15, (side, side, 1)), 0, 255).astype(np.uint8)
    for x, y in random.integers(0, side, (side * side // 500, 2)):
        cv2.ellipse(pixels, (int(x), int(y)), (6, 4), float(x % 180), 0, 360, NUCLEUS, -1, cv2.LINE_AA)
    return pixels


def write_slide(path: Path, side: int) -> None:
    """Two discs of tissue; ink crosses the left one, the lower right one is out of focus below its middle."""
    sharp = texture(1024)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 6)

    def tiles() -> Iterator[np.ndarray]:
        for top in range(0, side, TILE):
            for left in range(0, side, TILE):
                yield tile(sharp, blurred, left, top, side)

    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(
            tiles(),
            shape=(side, side, 3),
            dtype=np.uint8,
            tile=(TILE, TILE),
            photometric="rgb",
            resolution=(1e4 / 0.5, 1e4 / 0.5),
            resolutionunit="CENTIMETER",
        )


def tile(sharp: np.ndarray, blurred: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    y, x = np.mgrid[top : top + TILE, left : left + TILE] / side
    discs = (np.hypot(x - 0.3, y - 0.36) < 0.24) | (np.hypot(x - 0.7, y - 0.64) < 0.25)
    soft = (x > 0.5) & (y > 0.72)
    ink = (np.abs(y - 0.9 * x - 0.1) < 0.012) & (x < 0.45)
    at = np.s_[top % 1024 : top % 1024 + TILE, left % 1024 : left % 1024 + TILE]
    tissue = np.where(soft[:, :, None], blurred[at], sharp[at])
    pixels = np.where(discs[:, :, None], tissue, np.uint8(GLASS))
    return np.where(ink[:, :, None], np.uint8(INK), pixels).astype(np.uint8)


def write_region(path: Path, side: int) -> None:
    corners = [[0.5, 0.3], [0.75, 0.3], [0.75, 0.9], [0.5, 0.9], [0.5, 0.3]]
    ring = [[round(x * side), round(y * side)] for x, y in corners]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"type": "Feature", "geometry": geometry, "properties": {"classification": "tumour"}}))


def measure(folder: Path) -> dict[str, float]:
    """Cut the slide in `folder`, in this process; seconds, tiles, and peak memory in MB."""
    from advassay.sources.slides import SlidePaths, make_tiles
    from advassay.spec.tile_spec import SlideClasses, TileRules

    began = time.perf_counter()
    classes = SlideClasses(annotations="regions", outside="normal")
    places = SlidePaths(folder / "slides", annotations=folder / "regions")
    made = make_tiles(places, folder / "tiles", TileRules(mpp=0.5), classes, key=b"benchmark")
    seconds = time.perf_counter() - began
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    row = made.slides.row(0, named=True)
    return {"cells": row["cells"], "tiles": row["tiles"], "seconds": seconds, "peak_mb": int(peak) / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sides", type=int, nargs="+", default=[4096, 8192, 16384])
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure is not None:
        print(json.dumps(measure(asked.measure)))
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    print("| side, px | pixels, MB | cells | tiles | seconds | peak memory, MB |\n|---|---|---|---|---|---|")
    for side in asked.sides:
        with tempfile.TemporaryDirectory() as name:
            print(one(Path(name), side, asked.out, figure=side == min(asked.sides)), flush=True)


def one(folder: Path, side: int, out: Path, figure: bool) -> str:
    (folder / "slides").mkdir()
    write_slide(folder / "slides" / "made.tif", side)
    write_region(folder / "regions" / "made.geojson", side)
    command = [sys.executable, __file__, "--out", str(out), "--measure", str(folder)]
    seen = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    thumbnail = next((folder / "tiles" / "thumbnails").iterdir())
    if figure:
        shown = cv2.resize(cv2.imread(str(thumbnail)), None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(out / "thumbnail.png"), shown)
    return (
        f"| {side:,} | {side * side * 3 / 1e6:,.0f} | {seen['cells']:,} | {seen['tiles']:,} | {seen['seconds']:.1f} | "
        f"{seen['peak_mb']:.0f} |"
    )


if __name__ == "__main__":
    main()
