"""Regions: which part of each image a cohort shows. Start in `step.py`; `thorax.py` looks at the pixels."""
