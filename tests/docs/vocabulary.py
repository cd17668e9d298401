"""The words that broodline's prose avoids, each with its replacement, and the exceptions with their reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Avoided:
    """A word or phrase to avoid.

    Args:
        pattern: A regular expression for it.
        instead: What to write.
        any_case: False: only as written, since another spelling is plain English.
    """

    pattern: str
    instead: str
    any_case: bool = True

    def hits(self, prose: str) -> Iterator[re.Match[str]]:
        return re.finditer(self.pattern, prose, flags=re.MULTILINE | (re.IGNORECASE if self.any_case else 0))


@dataclass(frozen=True, slots=True)
class Exemption:
    """A sentence in which an avoided word is right.

    Args:
        sentence: A regular expression for the line around the hit.
        why: Why it is right there.
    """

    sentence: str
    why: str


# The start of a sentence, a heading, a list item or a table cell.
_START = r"(?:^[\s#*\->|]*|[.;:!?|] +|\()"

AVOIDED = (
    Avoided(r"\b(go|goes|going|gone|went) on\b", "resume, continue"),
    Avoided(r"\b(tell|tells|telling|told)\b", "report, send; a message states; a method returns"),
    Avoided(r"\b(hear|hears|hearing|heard)\b", "receive"),
    Avoided(r"\b(say|says|saying|said)\b", "log, state, define"),
    Avoided(r"\b(nobody|somebody|anybody|whoever|whom)\b", "worker, process, caller"),
    Avoided(_START + r"(Who|Whatever|Whoever)\b(?![^.|\n]*\?)", "start the sentence with a named thing"),
    Avoided(_START + r"What\b(?![^.|\n]*\?)", "start the sentence with a named thing", any_case=False),
    Avoided(r"\bbeside\b", "next to"),
    Avoided(r"\bmeanwhile\b", "concurrently, at the same time"),
    Avoided(r"\banew\b", "again"),
    Avoided(r"\b(a text|texts)\b(?! (file|editor))", "a string"),
    Avoided(r"\b(must be|is|not|no) a table\b", "a TOML table"),
    Avoided(r"\bwhole numbers?\b", "an integer"),
    Avoided(r"(?<!there )\b(is|are) none\b(?! of)", "must be ..., got ...", any_case=False),
    Avoided(r"\bspent\b", "exhausted, used up"),
    Avoided(r"\bdamaged\b", "corrupt"),
    Avoided(r"\bmatter any ?more\b", "stopped early: below the median"),
    Avoided(r"\bAskers?\b", "worker session", any_case=False),
    Avoided(r"\bforeseen\b", "precomputed decision"),
    Avoided(r"\bresting\b", "idle"),
    Avoided(r"\b(births?|newborns?|unborn|begun)\b", "new trial; started"),
    Avoided(r"\btips?\b", "leaf (of a lineage)"),
    Avoided(r"\blegs?\b", "segment"),
    Avoided(r"\brivals?\b", "peer, opponent"),
    Avoided(r"\bswept\b", "deleted"),
    Avoided(r"\b(kin|family)\b", "process tree, descendants"),
    Avoided(r"\b(bury|buries|buried)\b", "collect"),
    Avoided(r"\bwish(es|ed)?\b", "option"),
    Avoided(r"\bpiles?\b", "group of files"),
    Avoided(r"\bunfit\b", "invalid"),
    Avoided(r"\b(forsakes?|forsaken)\b", "discard an attempt"),
    Avoided(r"\b(settles?|settled)\b", "finish a rename"),
    Avoided(r"\bleftovers?\b", "orphan"),
    Avoided(r"\bfates?\b", "outcome"),
    Avoided(r"\bin vain\b", "wasted"),
    Avoided(r"\brecount(s|ed)?\b", "shift, rescale"),
    Avoided(r"\b(the|a|two|of|this|these) rooms?\b(?! for)", "module, package"),
    Avoided(r"""(strategy( = | is )?|--strategy[= ])[`"'](none|alone)[`"']""", 'strategy "random", "continue"'),
)

EXEMPTIONS = (
    Exemption(
        r"`damaged`|\"damaged\"|'damaged'|^ *damaged: ", "the name of a field, a JSON key and a column, which stays as it is"
    ),
    Exemption(r"(formerly|before version|until version|old name|alias|deprecated)", "the sentence is about a former name"),
)


def lines_with_avoided_words(prose: str) -> list[str]:
    """The lines of a text that hold an avoided word without an exemption: the line's number, the word, the replacement."""
    lines = prose.splitlines()
    found = []
    for avoided in AVOIDED:
        for hit in avoided.hits(prose):
            number = prose.count("\n", 0, hit.end())
            if not any(re.search(exemption.sentence, lines[number]) for exemption in EXEMPTIONS):
                found.append(
                    (number + 1, f"line {number + 1}: '{hit[0].strip()}' -> {avoided.instead}: {lines[number].strip()[:100]}")
                )
    return [line for _, line in sorted(found)]
