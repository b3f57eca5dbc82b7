"""Minimal amplitudes of images → ε50 of a network → one effect over cohorts. See README.md."""
