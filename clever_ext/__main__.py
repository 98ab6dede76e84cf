# PYTHON_ARGCOMPLETE_OK
"""`python -m clever_ext`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
