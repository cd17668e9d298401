"""`python -m broodline` is `broodline`."""

import os
import sys

if __name__ == "__main__":
    # Python searches the current folder first, where a user's `random.py` may lie. The command `broodline` does not.
    if not sys.flags.safe_path and sys.path and os.path.realpath(sys.path[0]) == os.path.realpath(""):
        del sys.path[0]

    from broodline.cli import main

    sys.exit(main())
