"""Figures, one file each: a frame and a width in CSS pixels in, a chart out; `figure_registry.py` lists them all."""
