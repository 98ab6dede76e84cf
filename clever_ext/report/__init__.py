"""A run to look at: one self-contained HTML page, or its rows as CSV, JSON or Markdown."""

from .writing import FORMATS, write_report

__all__ = ["FORMATS", "write_report"]
