"""Tokens: random strings, each with a role. The service keeps their hashes, and a client sends one with each request.

A token is in a file of its owner, or in the environment: never in a URL, an argument, a log or the store.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from broodline.errors import UsageError

TOKEN, TOKEN_FILE = "BROODLINE_TOKEN", "BROODLINE_TOKEN_FILE"
_SHORTEST = 16
_TOKEN = re.compile(rf"[A-Za-z0-9._~+/=-]{{{_SHORTEST},200}}")
_HEAD = (
    "# Tokens of `broodline serve`, a role and a token a line. Every reader of this file can use them.\n"
    "# reader: sees studies. worker: trains too. admin: creates, ends and deletes studies too.\n"
)


class Role(IntEnum):
    """The permissions of a token; a higher role permits all that a lower one does."""

    READER = 1
    WORKER = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens that a service accepts, as hashes.

    Args:
        roles: The role of each SHA-256 hash.
    """

    roles: Mapping[bytes, Role]

    def role_of(self, token: bytes) -> Role | None:
        """The role of a token; None if no token is equal.

        Every comparison takes the same time, however many bytes are right, and all are made.
        """
        given, found = hashlib.sha256(token).digest(), None
        for known, role in self.roles.items():
            if hmac.compare_digest(given, known):
                found = role
        return found


def read_tokens(path: Path) -> Tokens:
    """The tokens in a file.

    Raises:
        UsageError: The file can't be read, other users can read it, or a line is wrong. The message holds no token.
    """
    return Tokens({hashlib.sha256(token.encode()).digest(): role for role, token in _lines(path)})


def make_tokens(path: Path) -> None:
    """Writes a new file with a random token for each role, which only its owner can read.

    Raises:
        UsageError: It exists, or can't be written.
    """
    lines = [f"{role.name.lower()} {secrets.token_urlsafe(32)}\n" for role in Role]
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(_HEAD + "".join(lines))
    except OSError as error:
        raise UsageError(f"{path}: the token file can't be made: {error.strerror}") from error


def own_token(environment: Mapping[str, str] = os.environ) -> str | None:
    """The token of a client: from the environment, or from a file that the environment names.

    The file holds one token, or is the token file of a service, of which the highest role is taken. None: there is none.

    Raises:
        UsageError: The token or the file can't be used. The message holds no token.
    """
    if token := environment.get(TOKEN, "").strip():
        return _checked(token, TOKEN)
    if not (name := environment.get(TOKEN_FILE, "")):
        return None
    return max(_lines(Path(name)))[1]


def _lines(path: Path) -> list[tuple[Role, str]]:
    try:
        with path.open(encoding="ascii") as file:
            _check_private(path, os.fstat(file.fileno()).st_mode)
            lines = [line.split() for line in file if line.strip() and not line.startswith("#")]
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise UsageError(f"{path}: the token file can't be read: {problem}") from error
    if not lines:
        raise UsageError(f"{path}: the token file holds no token")
    return [_line(path, number, words) for number, words in enumerate(lines, start=1)]


def _line(path: Path, number: int, words: list[str]) -> tuple[Role, str]:
    *role, token = words
    if len(words) > 2 or (role and role[0].upper() not in Role.__members__):
        raise UsageError(f"{path}: token {number}: must be a role (reader, worker or admin) and a token")
    return Role[role[0].upper()] if role else Role.WORKER, _checked(token, f"{path}: token {number}")


def _checked(token: str, where: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise UsageError(f"{where}: a token is {_SHORTEST} to 200 letters, digits and the characters . _ ~ + / = -")
    return token


def _check_private(path: Path, mode: int) -> None:
    if stat.S_IMODE(mode) & 0o077 and stat.S_ISREG(mode):
        raise UsageError(f"{path}: other users can use the tokens in this file; help: chmod 600 {path}")
