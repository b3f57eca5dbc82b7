"""Regions: which part of each image a cohort shows. Start in `apply_regions.py`; `thorax_finder.py` looks at the
pixels."""
