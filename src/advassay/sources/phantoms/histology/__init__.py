"""H&E-like tiles from a few dozen draws. Start in `tile.py`: tissue → architecture → nuclei → stain."""
