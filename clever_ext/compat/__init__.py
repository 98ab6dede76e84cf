"""Other libraries' functions with our scores behind them: their names, arguments and answers.

One module for each library, which is never imported from here: `art` is handed what brings its
library along; the others are imported by their own names, as `clever_ext.compat.lightning`, since
their classes are made of their library's.
"""

from . import art

__all__ = ["art"]
