"""Figures: a frame and a width in CSS pixels in, a chart out; each file registers its own (`figure.py`)."""
