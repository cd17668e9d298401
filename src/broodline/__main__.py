"""`python -m broodline` is `broodline`."""

import os
import sys

if __name__ == "__main__":
    # Python searches the current folder first, where a user's `random.py` may lie; the command `broodline` does not. An empty
    # entry of PYTHONPATH stands for that folder too, so the standard library comes first.
    if not sys.flags.safe_path and os.path.realpath(sys.path[0]) == os.path.realpath(""):
        del sys.path[0]
    library = os.path.dirname(os.__file__)
    sys.path.sort(key=lambda entry: entry not in (library, os.path.join(library, "lib-dynload")))

    from broodline.cli import main

    sys.exit(main())
