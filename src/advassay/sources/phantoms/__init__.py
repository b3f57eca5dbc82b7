"""Phantoms: chest radiographs and H&E-like histology tiles made by the program, with the truth as a table.

A machine without data runs the whole study on them, and large-n experiments get a known truth. Public:
`table` (who is who), `render` (the pixels) and `landmarks` (where things are). All are deterministic by (seed, index)
on one kind of processor; OpenCV rounds a few pixels otherwise where there is no AVX-512.
"""

from advassay.optional_libraries import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
