"""Figures, one file each: a frame and a width in CSS pixels in, a chart out; `catalogue.py` lists them all."""
