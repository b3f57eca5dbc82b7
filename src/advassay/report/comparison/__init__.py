"""Several stores side by side, as one page."""
