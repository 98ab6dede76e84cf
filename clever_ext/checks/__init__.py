"""Everything that can be known before scores are made, in a minute, as findings.

One module for each topic; each takes what a few images showed (`Looked`) and yields findings. What
refuses an image or a model is elsewhere, where they are taken in: here it is only put in words, and
nothing is scored or written.
"""

from .call import check
from .report import Checked

__all__ = ["Checked", "check"]
