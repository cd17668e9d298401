"""The reason and the output of a failure as the store keeps them: printable, and bounded."""

from __future__ import annotations

from broodline.core.text import printable, shortened

LONGEST_REASON, LONGEST_OUTPUT = 2_000, 16_000  # characters


def failure_texts(reason: str, output: str) -> tuple[str, str]:
    """The reason and the output of a failure, which a program or another library wrote.

    A failure must not become a second one where it is stored or shown: half a surrogate pair has no encoding, a terminal obeys
    escape sequences, and a string of gigabytes fills the database. The beginning of a reason counts, and the end of an output.

    Args:
        reason: The event.
        output: The last lines that the program printed, or a traceback.
    """
    # Cut before it is searched, and once more, since spelling out a character makes it longer.
    cut = printable(shortened(reason, LONGEST_REASON)), printable(shortened(output, LONGEST_OUTPUT, keep_end=True))
    return shortened(cut[0], 2 * LONGEST_REASON), shortened(cut[1], 2 * LONGEST_OUTPUT, keep_end=True)
