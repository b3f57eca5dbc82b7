"""Sentences of a report: captions' words, methods, limitations, checklist."""
