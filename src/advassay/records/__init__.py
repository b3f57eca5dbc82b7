"""Trajectories → a folder that outlives the program, and back.

Write with `RunWriter`, read with `open_records`. Nothing here imports torch: a store made on a cluster opens on
a laptop. Names are imported when first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
