"""Keeps a database of the current schema for the upgrade tests: `python tests/databases/make.py`.

`schema_N.sqlite` was written by the last version of broodline that had schema N, by two short studies: `digits`, with a trial
that failed, and `stopped`, with early stopping (not in schema 1). Such a file is never changed again.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from broodline.storage.sql import schema

HERE = Path(__file__).parent
TRAINER = """\
set -eu
weights=0
if [ -n "${BROODLINE_RESTORE:-}" ]; then weights=$(cat "$BROODLINE_RESTORE/weights"); fi
weights=$((weights + BROODLINE_STEPS))
echo "$weights" > "$BROODLINE_SAVE/weights"
echo "{\\"step\\": $((BROODLINE_START + BROODLINE_STEPS)), \\"accuracy\\": $weights.$BROODLINE_TRIAL}" >> "$BROODLINE_METRICS"
if [ "$BROODLINE_TRIAL" = 3 ]; then exit 3; fi
"""
STUDY = """\
name = {name}
trial_steps = 10
population = 2
workers = 1
[objective]
accuracy = "maximize"
[budget]
trials = {trials}
[space]
lr = {{ float = [1e-4, 1.0], log = true }}
[train]
command = ["sh", "train.sh"]
"""
STOPPING = '[stopping]\nrule = "median"\nmin_trials = 1\n'


def main() -> None:
    """Runs the studies and keeps their database, small and without a log."""
    kept = HERE / f"schema_{schema.VERSION}.sqlite"
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / "train.sh").write_text(TRAINER)
        for name, trials, more in (("digits", 6, ""), ("stopped", 8, STOPPING)):
            (directory / f"{name}.toml").write_text(STUDY.format(name=json.dumps(name), trials=trials) + more)
            subprocess.run([sys.executable, "-m", "broodline", "run", f"{name}.toml", "--json"], cwd=directory, check=True)
        with closing(sqlite3.connect(directory / "broodline.db", isolation_level=None)) as database:
            for statement in (
                "PRAGMA journal_mode=DELETE",
                "PRAGMA page_size=1024",
                "UPDATE identity SET place = NULL",
                "VACUUM",
            ):
                database.execute(statement)
        kept.write_bytes((directory / "broodline.db").read_bytes())
    print(f"kept {kept}")


if __name__ == "__main__":
    main()
