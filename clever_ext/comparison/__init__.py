"""Is one model more robust than another? Paired scores, tests, cautions, and a verdict.

Numbers and the words for them are made here. Nothing here scores a picture, prints or draws.
"""

from .compare import compare
from .comparison import Comparison

__all__ = ["Comparison", "compare"]
