"""The version of the rules by which DICOM files become images and candidates."""

DICOM_READING = 3
"""Raised when the same files would give other images or other candidates; prepared cohorts say which read them."""
