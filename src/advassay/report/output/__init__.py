"""Findings → files: page, Markdown, JSON, PDF, CSV, figures."""
