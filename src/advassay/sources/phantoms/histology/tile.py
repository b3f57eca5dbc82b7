"""A batch of tiles: tissue → layout → layers → Beer–Lambert stain of haematoxylin and eosin."""

from __future__ import annotations

import cv2
import numpy as np

from advassay.sources.phantoms.draws import Draws
from advassay.sources.phantoms.histology.organs import ARCHITECTURE, Cells, lymphocytes
from advassay.sources.phantoms.histology.tile_layout import Layout, draw_nuclei, draw_regions
from advassay.sources.phantoms.histology.tissue import Tissue, tissues
from advassay.sources.phantoms.raster import DRAWING_PX, clouds, grid, resample
from advassay.sources.phantoms.truth import TILES_PER_SLIDE, patient_of, truth_of
from advassay.spec.source_spec import PhantomSource

HAEMATOXYLIN = (0.650, 0.704, 0.286)
EOSIN = (0.072, 0.990, 0.105)
_LOG10 = np.float32(np.log(10))


def stain(haematoxylin: np.ndarray, eosin: np.ndarray, slide: Draws, tile: Draws) -> np.ndarray:
    """(batch, size, size, 3) uint8 RGB from amounts (batch, size, size); 1 ≈ a dark nucleus, a dense fibre."""
    strength_h = np.exp(slide.normal("haematoxylin", sd=0.15))
    strength_e = np.exp(slide.normal("eosin", sd=0.17))
    image = np.empty((*haematoxylin.shape, 3), np.uint8)
    noise = [g.standard_normal(haematoxylin.shape[1:], dtype=np.float32) for g in tile.generators("camera")]
    grain = np.stack(noise) * np.float32(2.0)
    for channel, (h, e) in enumerate(zip(HAEMATOXYLIN, EOSIN, strict=True)):
        hue_h = h + slide.normal(f"hue H {channel}", sd=0.03)
        hue_e = np.maximum(e + slide.normal(f"hue E {channel}", sd=0.03), 0.01)
        white = slide.normal(f"white {channel}", 240, 4) * np.exp(tile.normal("lamp", sd=0.015))
        density = haematoxylin * (strength_h * hue_h) + eosin * (strength_e * hue_e)
        colour = np.exp(density * -_LOG10) * white + np.roll(grain, 5 * channel, axis=2)
        image[..., channel] = np.clip(np.rint(colour), 0, 255)
    return image


_SLIDES_PER_PATIENT = 1 << 20


def tiles(spec: PhantomSource, index: np.ndarray) -> np.ndarray:
    """(batch, size, size, 3) uint8 RGB tiles of the indices `index` (batch,)."""
    patient, place = patient_of(spec, index)
    tissue = tissues(spec, index, patient, truth_of(spec, index))
    slide = Draws(spec.seed, "slide", patient * _SLIDES_PER_PATIENT + place // TILES_PER_SLIDE)
    haematoxylin, eosin = dyes(tissue, spec.size_px)
    return stain(haematoxylin, eosin, slide, tissue.tile)


def dyes(tissue: Tissue, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Amounts of haematoxylin and eosin, each (batch, size, size) float32."""
    regions, nuclei = _layers(tissue, size)
    epithelium, colloid, space = (regions[..., k] for k in range(3))
    stroma = np.maximum(1 - epithelium - colloid - space, 0)
    fine = clouds(tissue.tile.generators("chromatin"), size, 72)
    broad = clouds(tissue.tile.generators("cytoplasm"), size, 12)
    haematoxylin = nuclei * (1 + (0.08 + 0.24 * tissue.chromatin) * fine) * (0.70 * tissue.uptake)
    haematoxylin += (0.13 + 0.03 * broad) * tissue.cytoplasm * epithelium + 0.04 * stroma
    eosin = stroma * _fibres(tissue, size) + epithelium * ((0.19 + 0.05 * broad) * tissue.cytoplasm)
    eosin += (0.30 * tissue.colloid) * colloid
    eosin *= 1 - 0.6 * nuclei
    return np.maximum(haematoxylin, 0), np.maximum(eosin, 0)


def _layers(tissue: Tissue, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Regions (batch, size, size, 3) and nuclei (batch, size, size), in [0, 1]."""
    drawn = max(size, DRAWING_PX)
    regions, nuclei = np.empty((drawn, drawn, 3), np.uint8), np.empty((drawn, drawn), np.uint8)
    result = []
    sigma = (size / 256 * tissue.tile.uniform("focus", 0.5, 1.4)).ravel()
    for k, rng in enumerate(tissue.tile.generators("layout")):
        regions[:], nuclei[:] = 0, 0
        layout = _layout(rng, tissue, k)
        draw_regions(regions, layout)
        draw_nuclei(nuclei, layout, tissue.pleomorphism[k].item(), tissue.chromatin[k].item())
        both = (resample(regions, size), resample(nuclei, size))
        result.append([cv2.GaussianBlur(layer, (0, 0), float(sigma[k])) for layer in both])
    scale = np.float32(1 / 255)
    return np.stack([r for r, _ in result]) * scale, np.stack([n for _, n in result]) * scale


def _layout(rng: np.random.Generator, tissue: Tissue, k: int) -> Layout:
    layout = Layout(rng)
    cells = Cells(
        malignancy=tissue.malignancy[k].item(),
        size=tissue.size[k].item(),
        crowding=tissue.crowding[k].item(),
        infiltrate=tissue.infiltrate[k].item(),
    )
    ARCHITECTURE[str(tissue.organ[k])](layout, cells)
    lymphocytes(layout, cells)
    return layout


def _fibres(tissue: Tissue, size: int) -> np.ndarray:
    """Wavy bundles of collagen along a slowly turning direction."""
    t = tissue.tile
    x, y = grid(size, 1.0)
    angle = np.float32(np.pi) * t.uniform("fibres", 0, 1)
    across = x * np.cos(angle) + y * np.sin(angle)
    warp = clouds(t.generators("fibre warp"), size, 6)
    finer = clouds(t.generators("fibre crimp"), size, 18)
    bundles = np.cos(across * t.uniform("fibre pitch", 16, 26) + 6 * warp + 1.6 * finer)
    grain = clouds(t.generators("fibre grain"), size, 48)
    return tissue.fibrosis * (0.23 + 0.05 * bundles + 0.05 * grain + 0.05 * finer + 0.04 * warp)
