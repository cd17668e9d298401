"""Errors of PostgreSQL, translated: those that can pass are `StoreUnavailable`, all others are `StoreError` and permanent.

A lost connection, a restart, a failover and a conflict between transactions can pass. While a transaction commits, a lost
connection leaves open whether it did. The caller repeats the call, and every call of the controller can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa

from broodline.errors import BroodlineError, StoreError, StoreFailing, StoreFull, StoreMissing, StoreUnavailable
from broodline.storage.postgres.address import Address
from broodline.storage.sql.rows import UnreadableRow

# Codes and classes of codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
_CAN_PASS = (
    "08",  # the connection
    "40",  # serialization failures and deadlocks
    "53",  # too many connections, out of memory
    "25006",  # a server that became a standby is read-only
    "25P03",  # this process was suspended in the midst of a transaction, and the server ended that
    "55P03",  # the lock was held for too long
    "57P",  # the server stops, starts, or another process ended the connection
    "57014",  # a time limit of the server
)
_DISK_FULL, _IO_ERROR = "53100", "58030"
_NO_PRIVILEGE = "42501"
_SCHEMA = ("42P01", "42703", "42704", "3F000")
# A refused connection has no code. The server's language decides its text; in another one than English it is waited for.
_REFUSED = {
    "password authentication failed": "the server refuses the password; {password}",
    "no password supplied": "the server asks for a password; {password}",
    "authentication failed": "the server refuses the user; {hba}",
    "no pg_hba.conf entry": "the server refuses the user or the host; {hba}",
    "permission denied for database": "the user has no privilege to connect; GRANT CONNECT ON DATABASE",
    "role ": "there is no such user; create it with CREATE ROLE, or name another one in the URL",
    "database ": "there is no such database; create it with `createdb`, or name another one with --store",
    "definition of service": "the service file has no such service",
    "certificate verify failed": "the certificate of the server is not trusted; see sslrootcert",
    "root certificate file": "the certificate of the server can't be checked; see sslrootcert",
    "server does not support ssl": "the server has no TLS, which sslmode asks for",
}
_HELP = {
    "password": "write it into the file that PGPASSFILE names (~/.pgpass)",
    "hba": "name another user in the URL, or ask the administrator for a line in pg_hba.conf",
}
_NEEDS_MISSING = ("role ", "database ")


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """Replaces the errors of PostgreSQL and SQLAlchemy that leave this context.

    Raises:
        StoreUnavailable: The server does not answer at the moment, or a conflict ended the transaction.
        StoreError: The database can't be used until a person changes something.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        original = error.orig if isinstance(error.orig, psycopg.Error) else psycopg.DatabaseError(str(error.orig))
        raise translation(address, original) from original
    except sa.exc.TimeoutError as error:  # all connections of this process are in use
        raise StoreUnavailable(f"{address.name}: {error}") from error
    except psycopg.Error as error:
        raise translation(address, error) from error
    except UnreadableRow as error:
        raise StoreError(f"{address.name}: the database is corrupt ({error}); restore it from a copy") from error


def translation(address: Address, error: psycopg.Error) -> BroodlineError:
    """The error to raise in place of one of psycopg."""
    code, text = error.sqlstate, address.without_secrets(str(error)) or type(error).__name__
    shown = f"{address.name}: {text}"
    if code is None:
        return _of_connection(address, error, text)
    if code == _DISK_FULL:
        return StoreFull(shown)
    if code == _IO_ERROR:
        return StoreFailing(shown)
    if code.startswith(_CAN_PASS):
        return StoreUnavailable(shown)
    if code == _NO_PRIVILEGE:
        return StoreError(f"{address.name}: the user lacks a privilege ({text}); {_GRANTS}")
    if code in _SCHEMA:
        return StoreError(f"{address.name}: the tables of the database are not complete ({text}); restore them from a copy")
    return StoreError(f"{shown} (SQLSTATE {code})")


_GRANTS = "create the tables as their owner, or grant SELECT, INSERT, UPDATE and DELETE on them and USAGE on their sequences"


def _of_connection(address: Address, error: psycopg.Error, text: str) -> BroodlineError:
    """The error for one that has no code: the connection was refused or lost, or the driver refuses a value."""
    if not isinstance(error, psycopg.OperationalError):
        return StoreError(f"{address.name}: {text}")
    lower = text.lower()
    for sign, remedy in _REFUSED.items():
        if sign in lower and (sign not in _NEEDS_MISSING or "does not exist" in lower):
            kind = StoreMissing if sign == "database " else StoreError
            return kind(f"{address.name}: {remedy.format(**_HELP)} ({text})")
    return StoreUnavailable(f"{address.name}: {text}")
