"""Trajectories → a folder that outlives the program, and back.

Write with `RunWriter`, read with `open_records`. Nothing here imports torch: a store made on a cluster opens on
a laptop. Names are imported when first used.
"""

from advassay.optional_libraries import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
