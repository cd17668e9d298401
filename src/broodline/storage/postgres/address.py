"""The address of a PostgreSQL database: what libpq needs to connect, and the name that messages show.

The URL goes to libpq as it is, so everything that libpq knows works: PGPASSFILE, a service file, certificates, several hosts with
`target_session_attrs=read-write`. A password is part of no message.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from broodline.errors import StoreError
from broodline.storage.urls import shown

# A host that is gone answers nothing. Without these a process would wait for minutes or for ever.
_PATIENCE: Mapping[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_SECRETS = ("password", "sslpassword")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The address of a database.

    Args:
        name: The URL without its password.
        options: The arguments of `psycopg.connect`.
    """

    name: str
    options: Mapping[str, Any] = field(repr=False)

    def connect(self, *, autocommit: bool = False) -> psycopg.Connection[Any]:
        """Connects.

        Raises:
            psycopg.Error: That is not possible.
        """
        return psycopg.connect(**self.options, autocommit=autocommit)

    def without_secrets(self, text: str) -> str:
        """A message of the server or of libpq as one line, without the password."""
        for secret in filter(None, map(self.options.get, _SECRETS)):
            for written in (str(secret), quote(str(secret)), quote(str(secret), safe="")):
                text = text.replace(written, "***")
        return "; ".join(filter(None, map(str.strip, text.splitlines())))


def address_of(url: str) -> Address:
    """The address in a URL.

    Raises:
        StoreError: It is no URL of libpq.
    """
    name = shown(url)
    try:
        given = conninfo_to_dict(url)
        for port in str(given.get("port") or "0").split(","):
            int(port or "0")
    except (
        psycopg.Error,
        ValueError,
    ):  # not shown: libpq repeats parts of the URL, perhaps of the password
        raise StoreError(
            f"'{name}' is no URL of PostgreSQL: write postgresql://USER@HOST:PORT/DATABASE, with special characters as %XX"
        ) from None
    patience = {key: value for key, value in _PATIENCE.items() if f"PG{key.upper()}" not in os.environ}
    fixed = {"client_encoding": "UTF8", "fallback_application_name": "broodline"}
    return Address(name=name, options={**patience, **fixed, **given})
