"""A run to look at: one HTML page that needs nothing else, or its rows as CSV, JSON or Markdown.

Runs are read, summed up and written here. Nothing here scores or compares: that was done before.
"""

from .writing import FORMATS, write_report

__all__ = ["FORMATS", "write_report"]
