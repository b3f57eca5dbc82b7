"""OME-TIFF, QPTIFF and planar TIFFs: every pixel of every level, µm per pixel, channels, or a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tifffile
from made_slides import stained, write_png
from PIL import Image, TiffImagePlugin

from advassay.sources.read_failures import Unreadable
from advassay.sources.slides import Slide, SlidePaths, make_tiles, open_slide
from advassay.sources.slides.tiff_slide import TiffSlide
from advassay.spec.tile_spec import SlideClasses, TileRules

RGB = stained(500, 610)
UM = {"PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.25, "PhysicalSizeYUnit": "µm"}


def write_ome(path: Path, pixels: np.ndarray, axes: str, levels: int = 1, metadata: dict | None = None, **options: object) -> Path:  # fmt: skip  # noqa: E501
    """An OME-TIFF whose smaller levels are SubIFDs of every second pixel."""
    with tifffile.TiffWriter(path, ome=True, byteorder=options.pop("byteorder", "<")) as file:
        file.write(
            pixels, subifds=levels - 1, metadata={"axes": axes} | (UM if metadata is None else metadata), **options
        )
        for level in range(1, levels):
            small = pixels[:: 2**level, :: 2**level] if axes.startswith("Y") else pixels[:, :: 2**level, :: 2**level]
            file.write(small, subfiletype=1, **options)
    return path


Opened = Callable[..., TiffSlide]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Open a slide that must be a TiffSlide; it is closed when the test ends."""
    with ExitStack() as open_ones:

        def one(path: Path, channel: str | int | None = None) -> TiffSlide:
            slide = open_slide(path, path.parent, channel)
            assert isinstance(slide, TiffSlide), slide
            return open_ones.enter_context(slide)

        yield one


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_levels_in_subifds_are_read_as_written(
    tmp_path: Path, byteorder: str, compression: str | None, dtype: type, opened: Opened
) -> None:
    pixels = RGB.astype(dtype) * (1 if dtype == np.uint8 else 200)
    path = write_ome(tmp_path / "a.ome.tif", pixels, "YXS", 3, byteorder=byteorder, compression=compression,
                     predictor=compression is not None, tile=(128, 128), photometric="rgb")  # fmt: skip
    slide = opened(path)
    assert (slide.format, slide.mpp, slide.sizes) == ("ome-tiff", 0.25, ((610, 500), (305, 250), (153, 125)))
    for level, times in enumerate((1, 2, 4)):
        region = slide.region(40 * times, 30 * times, level, 100, 80)
        assert region is not None
        assert region.scanned == 1
        assert np.array_equal(region.pixels, pixels[::times, ::times][30:110, 40:140])


@pytest.mark.parametrize("tile", [(128, 128), None])
def test_channel_planar_files_are_colour_images(tmp_path: Path, tile: tuple[int, int] | None, opened: Opened) -> None:
    planes = np.moveaxis(RGB, 2, 0)
    options = {"tile": tile, "photometric": "rgb", "planarconfig": "separate"}
    ome = opened(write_ome(tmp_path / "a.ome.tif", planes, "SYX", **options))
    tifffile.imwrite(tmp_path / "b.tif", planes, compression="zlib", **options)
    three_pages = opened(write_ome(tmp_path / "c.ome.tif", planes, "CYX", tile=tile, photometric="minisblack"))
    for slide in (ome, opened(tmp_path / "b.tif"), three_pages):
        region = slide.region(100, 70, 0, 300, 200)
        assert region is not None
        assert np.array_equal(region.pixels, RGB[70:270, 100:400])


def test_a_channel_is_taken_by_name_or_number_and_never_guessed(tmp_path: Path, opened: Opened) -> None:
    planes = np.random.default_rng(0).integers(0, 4000, (4, 500, 610)).astype(np.uint16)
    named = UM | {"Channel": {"Name": ["DAPI", "FITC", "Cy3", "Cy5"]}}
    path = write_ome(tmp_path / "f.ome.tif", planes, "CYX", 2, named, tile=(128, 128), photometric="minisblack")
    for channel, index in (("fitc", 1), (3, 3), ("0", 0)):
        region = opened(path, channel).region(10, 20, 0, 64, 32)
        assert region is not None
        assert np.array_equal(region.pixels, planes[index, 20:52, 10:74])
    assert opened(path, 0).white == 4095
    refused = open_slide(path, tmp_path)
    assert refused == Unreadable("several channels", "4 channels (DAPI, FITC, Cy3, Cy5); `channel` names one")
    assert open_slide(path, tmp_path, "GFP") == Unreadable("no such channel", "'GFP' is none of DAPI, FITC, Cy3, Cy5")


def test_channels_that_are_samples_of_one_page_are_chosen_too(tmp_path: Path, opened: Opened) -> None:
    planes = np.random.default_rng(0).integers(0, 60000, (4, 300, 310)).astype(np.uint16)
    for name, axes, pixels, layout in (
        ("a", "SYX", planes, "separate"),
        ("b", "YXS", np.moveaxis(planes, 0, 2), "contig"),
    ):
        path = write_ome(tmp_path / f"{name}.ome.tif", pixels, axes, photometric="minisblack", planarconfig=layout)
        assert isinstance(refused := open_slide(path, tmp_path), Unreadable)
        assert refused.reason == "several channels"
        region = opened(path, 2).region(10, 20, 0, 64, 32)
        assert region is not None
        assert np.array_equal(region.pixels, planes[2, 20:52, 10:74])


def test_what_is_transparent_is_not_scanned(tmp_path: Path, opened: Opened) -> None:
    rgba = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    rgba[:100, :100, 3] = 0
    path = write_ome(tmp_path / "a.ome.tif", rgba, "YXS", photometric="rgb", extrasamples=["unassalpha"])
    region = opened(path).region(50, 50, 0, 100, 100)
    assert region is not None
    assert (region.scanned, region.pixels.shape) == (0.75, (100, 100, 3))
    assert (region.pixels[:50, :50] == 255).all()


def test_a_qptiff_is_one_page_a_channel_with_its_levels_behind_them(tmp_path: Path, opened: Opened) -> None:
    planes = np.random.default_rng(0).integers(0, 255, (2, 512, 640)).astype(np.uint8)
    options = {"tile": (128, 128), "photometric": "minisblack", "software": "PerkinElmer-QPI", "metadata": None,
               "resolution": (2e4, 2e4), "resolutionunit": "CENTIMETER"}  # fmt: skip
    about = (
        "<PerkinElmer-QPI-ImageDescription><ImageType>{}</ImageType><Name>{}</Name></PerkinElmer-QPI-ImageDescription>"
    )
    with tifffile.TiffWriter(tmp_path / "a.qptiff") as file:
        for plane, name in zip(planes, ("DAPI", "CD8"), strict=True):
            file.write(plane, description=about.format("FullResolution", name), **options)
        thumbnail = np.zeros((64, 80, 3), np.uint8)
        file.write(
            thumbnail, description=about.format("Thumbnail", ""), **options | {"photometric": "rgb", "tile": None}
        )
        for plane, name in zip(planes, ("DAPI", "CD8"), strict=True):
            file.write(plane[::2, ::2], description=about.format("ReducedResolution", name), subfiletype=1, **options)
    slide = opened(tmp_path / "a.qptiff", "CD8")
    assert (slide.format, slide.mpp, slide.sizes) == ("qptiff", 0.5, ((640, 512), (320, 256)))
    for level, times in ((0, 1), (1, 2)):
        region = slide.region(20 * times, 10 * times, level, 100, 50)
        assert region is not None
        assert np.array_equal(region.pixels, planes[1, ::times, ::times][10:60, 20:120])


XML = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels '
    'ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="610" SizeY="500" SizeC="3" SizeZ="1" SizeT="1" {}>'
    '<Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData/></Pixels></Image></OME>'
)


def write_by_pillow(path: Path, compression: str, sizes: str = 'PhysicalSizeX="0.3" PhysicalSizeY="0.3"') -> np.ndarray:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270] = XML.format(sizes)
    Image.fromarray(RGB).save(path, compression=compression, tiffinfo=tags)
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits"])
def test_compressed_parts_decode_as_another_library_decodes_them(
    tmp_path: Path, compression: str, opened: Opened
) -> None:
    expected = write_by_pillow(tmp_path / "a.ome.tif", compression)
    region = opened(tmp_path / "a.ome.tif").region(100, 70, 0, 300, 200)
    assert region is not None
    assert np.abs(region.pixels.astype(int) - expected[70:270, 100:400]).max() <= (2 if compression == "jpeg" else 0)


@pytest.mark.parametrize(
    ("sizes", "mpp"),
    [
        ('PhysicalSizeX="0.3" PhysicalSizeY="0.3"', 0.3),
        ('PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="250" PhysicalSizeYUnit="nm"', 0.25),
        ('PhysicalSizeX="0.0005" PhysicalSizeXUnit="mm"', 0.5),
        ('PhysicalSizeX="1" PhysicalSizeXUnit="pixel"', None),
        ('PhysicalSizeX="0.25" PhysicalSizeXUnit="&#xB5;m"', 0.25),
        ('PhysicalSizeX="0.25" PhysicalSizeXUnit="&#956;m"', 0.25),
        ('PhysicalSizeX="0.01" PhysicalSizeXUnit="thou"', 0.254),
        ('PhysicalSizeX="0.00001" PhysicalSizeXUnit="in"', 0.254),
        ('PhysicalSizeX="0.3" PhysicalSizeY="0.6"', None),
        ('PhysicalSizeX="nonsense"', None),
        ("", None),
    ],
)
def test_resolution_is_what_the_ome_xml_says_in_its_unit(
    tmp_path: Path, sizes: str, mpp: float | None, opened: Opened
) -> None:
    write_by_pillow(tmp_path / "a.ome.tif", "tiff_lzw", sizes)
    assert opened(tmp_path / "a.ome.tif").mpp == (None if mpp is None else pytest.approx(mpp))


def test_what_is_no_plane_is_refused_with_the_reason(tmp_path: Path) -> None:
    stack = np.zeros((5, 200, 200), np.uint8)
    write_ome(tmp_path / "z.ome.tif", stack, "ZYX", photometric="minisblack")
    found = open_slide(tmp_path / "z.ome.tif", tmp_path)
    assert isinstance(found, Unreadable)
    assert found.reason == "unsupported slide"
    assert "ZYX" in found.detail


def test_damage_is_a_reason_or_a_damaged_region_never_an_exception(tmp_path: Path) -> None:
    path = write_ome(tmp_path / "a.ome.tif", RGB, "YXS", 3, tile=(128, 128), photometric="rgb", compression="zlib")
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for trial in range(60):
        broken = bytearray(data[: int(rng.integers(100, len(data)))] if trial % 2 else data)
        for place in rng.integers(0, len(broken), 20):
            broken[place] = int(rng.integers(0, 256))
        path.write_bytes(bytes(broken))
        slide = open_slide(path, tmp_path)
        assert isinstance(slide, Slide | Unreadable)
        if isinstance(slide, Slide):
            for level in range(len(slide.sizes)):
                slide.region(0, 0, level, 200, 200)
            slide.close()


def test_tiles_of_an_ome_tiff_carry_the_resolution_of_their_level(tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.ome.tif"
    path.parent.mkdir()
    write_ome(path, stained(1024, 1024), "YXS", 2, tile=(256, 256), photometric="rgb")
    made = make_tiles(SlidePaths(path.parent), tmp_path / "out", TileRules(size_px=128, mpp=0.5), key=b"k")
    assert made.manifest.height == 16
    assert set(made.manifest["mpp"]) == {0.5}
    assert set(made.manifest["level"]) == {1}


def test_the_table_says_each_slides_resolution(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_png(tmp_path / "in" / f"{name}.png", stained(512, 512, ord(name)))
    table = tmp_path / "slides.csv"
    table.write_text("slide,label,um\na,x,0.5\nb,x,0.25\nc,x,soon\n")
    places = SlidePaths(tmp_path / "in", table)
    made = make_tiles(places, tmp_path / "out", TileRules(size_px=128, mpp=0.5), SlideClasses(mpp="um"), key=b"k")
    found = {row["tiles"]: (row["mpp"], row["mpp_from"]) for row in made.slides.to_dicts() if row["status"] == "read"}
    assert found == {16: (0.5, "table"), 4: (0.25, "table")}
    (lost,) = [row for row in made.slides.to_dicts() if row["status"] == "left out"]
    assert lost["reason"] == "unusable table row"
    assert "'soon' is no number" in lost["detail"]


def test_a_table_that_contradicts_the_file_goes_first_and_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.ome.tif"
    path.parent.mkdir()
    write_ome(path, stained(512, 512), "YXS", tile=(256, 256), photometric="rgb")
    (tmp_path / "slides.csv").write_text("slide,mpp\na.ome.tif,0.5\n")
    made = make_tiles(
        SlidePaths(path.parent, tmp_path / "slides.csv"), tmp_path / "out", TileRules(size_px=256, mpp=0.5), key=b"k"
    )
    row = made.slides.to_dicts()[0]
    assert (row["tiles"], row["mpp"], row["notes"]) == (4, 0.5, "the table says 0.5 µm per pixel, the file 0.25")
