"""`broodline serve`."""

from __future__ import annotations

import argparse
import logging
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from broodline.cli.argument_types import positive_integer
from broodline.errors import UsageError

if TYPE_CHECKING:
    from broodline.service.auth import Tokens
    from broodline.service.server import ServerOptions

PURPOSE = "Serve a store over HTTP to workers on other hosts."
EXAMPLE = "broodline serve --store sqlite:////data/broodline.db"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add("--store", metavar="URL", required=True, help="the store, such as sqlite:///PATH; it is created if it does not exist")
    add("--host", metavar="ADDRESS", default="127.0.0.1", help="listen on this address (default: 127.0.0.1, this machine only)")
    add("--port", metavar="PORT", type=_port, default=8765, help="listen on this port; 0 is any free one (default: 8765)")
    add("--tokens", metavar="FILE", type=Path, help="a role and a token a line (default: broodline.tokens; made if missing)")
    add("--allow-host", metavar="NAME", action="append", default=[], help="a further name by which clients call the service")
    add("--tls-cert", metavar="FILE", type=Path, help="the certificate, with its chain, in PEM: serve https")
    add("--tls-key", metavar="FILE", type=Path, help="the key of the certificate, in PEM")
    add("--max-body", metavar="BYTES", type=positive_integer, default=16 << 20, help="the largest request (default: 16 MiB)")
    add("--max-rate", metavar="N", type=positive_integer, default=5_000, help="requests a second per address (default: 5000)")
    add("--max-connections", metavar="N", type=positive_integer, default=5_000, help="open connections (default: 5000)")


def main(arguments: argparse.Namespace) -> None:
    """Serves until SIGTERM or Ctrl-C."""
    try:
        from broodline.service.server import serve
    except ImportError as error:
        raise UsageError(
            f"`broodline serve` needs more packages ({error.name})\nhelp: pip install 'broodline[service]'"
        ) from error
    from broodline.storage.location import open_store
    from broodline.storage.urls import scheme_of, shown

    if scheme_of(arguments.store) in ("http", "https"):
        raise UsageError(f"{shown(arguments.store)}: is a service itself\nhelp: name the store of that service")
    options = _options(arguments)
    tokens = _tokens(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="broodline: %(message)s")
    with closing(open_store(arguments.store)) as store:
        serve(
            store,
            tokens=tokens,
            options=options,
            ready=lambda url: print(f"serving {shown(arguments.store)} at {url}", flush=True),
        )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 65535, got '{text}'")
    return int(text)


def _options(arguments: argparse.Namespace) -> ServerOptions:
    from broodline.service.guard import Limits
    from broodline.service.server import ServerOptions, check_certificate

    if (arguments.tls_cert is None) != (arguments.tls_key is None):
        raise UsageError("one of --tls-cert and --tls-key is missing\nhelp: give both, or none of them")
    if arguments.tls_cert is not None:
        check_certificate(arguments.tls_cert, arguments.tls_key)
    limits = Limits(body=arguments.max_body, rate=arguments.max_rate, connections=arguments.max_connections)
    return ServerOptions(
        host=arguments.host,
        port=arguments.port,
        hosts=tuple(arguments.allow_host),
        certificate=arguments.tls_cert,
        key=arguments.tls_key,
        limits=limits,
    )


def _tokens(arguments: argparse.Namespace) -> Tokens:
    """The tokens; those of a service of this machine are made at its first start.

    Raises:
        UsageError: There is no token, and the service is to listen to other machines.
    """
    from broodline.service.auth import make_tokens, read_tokens
    from broodline.service.guard import is_loopback

    path: Path = arguments.tokens or Path("broodline.tokens")
    local = is_loopback(arguments.host)
    if not path.exists():
        if not local:
            raise UsageError(
                f"{path}: there are no tokens, and {arguments.host} is reached by other machines\n"
                "help: start the service on 127.0.0.1 once, which makes the file, or name one with --tokens"
            )
        make_tokens(path)
        print(f"made {path.absolute()}: a token for each role", flush=True)
    if not local and arguments.tls_cert is None:
        print("broodline: warning: tokens travel without encryption; add --tls-cert and --tls-key", file=sys.stderr)
    return read_tokens(path)
