"""`broodline upgrade`."""

from __future__ import annotations

import argparse

from broodline.cli.output import print_json, print_line
from broodline.storage.urls import shown

PURPOSE = "Bring the tables of a store up to date with this version of broodline. Stop its runs and workers first."
EXAMPLE = "broodline upgrade --store postgresql://host/studies"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    default = "sqlite:///broodline.db"
    parser.add_argument("--store", metavar="URL", default=default, help=f"the store (default: {default} in this directory)")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def main(arguments: argparse.Namespace) -> None:
    """Upgrades a store."""
    from broodline.storage.location import upgrade_store

    done = upgrade_store(arguments.store)
    if arguments.json:
        print_json({"before": done.before, "after": done.after})
    elif done.before == done.after:
        print_line(f"{shown(arguments.store)}: schema {done.after} already; nothing was changed")
    else:
        print_line(f"{shown(arguments.store)}: upgraded from schema {done.before} to {done.after}")
