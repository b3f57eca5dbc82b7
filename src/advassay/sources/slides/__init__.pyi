from .slide import Region as Region, Slide as Slide
from .slide_collection import SlidePaths as SlidePaths, slides_state as slides_state
from .slide_readers import open_slide as open_slide
from .slide_source import open_slides as open_slides
from .tile_extraction import Tiles as Tiles, make_tiles as make_tiles
from .tile_writer import MANIFEST as MANIFEST, SLIDES as SLIDES
