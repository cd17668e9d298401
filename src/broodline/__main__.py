"""`python -m broodline` is `broodline`."""

import sys

from broodline.cli import main

if __name__ == "__main__":
    sys.exit(main())
