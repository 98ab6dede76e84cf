"""Is one model more robust than another? Paired scores, tests, cautions, and a verdict."""

from .compare import compare
from .comparison import Comparison

__all__ = ["Comparison", "compare"]
