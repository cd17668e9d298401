"""Compares population based training with random search for the same number of steps: `python demo.py`.

The comparison uses images that neither training nor selection has used.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
STUDIES = {"population based": HERE / "study.toml", "random search": HERE / "random.toml"}
# Finds `broodline`, and the `python` of the study file, without an activated environment.
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def call(*command: str | Path) -> None:
    """Prints and runs a command, and exits with its status if it fails."""
    shown = [os.path.relpath(word) if isinstance(word, Path) else word for word in command]
    print(f"\n$ {' '.join(shown)}", flush=True)
    if status := subprocess.run(command, env=ENVIRONMENT).returncode:
        sys.exit(status)


def answer(*command: str | Path) -> dict[str, Any]:
    """The first line that a command prints, parsed as JSON."""
    output = subprocess.run(command, env=ENVIRONMENT, check=True, stdout=subprocess.PIPE, text=True).stdout
    first: dict[str, Any] = json.loads(output.splitlines()[0])
    return first


def comparison(best: dict[str, dict[str, Any]]) -> Table:
    """The best trial of each study, on the validation and on the test images."""
    table = Table("", "validation loss", "accuracy", "test loss", "accuracy", title="The best of each")
    for name, trial in best.items():
        test = answer("python", HERE / "test.py", trial["checkpoint"])
        seen = trial["metrics"]
        table.add_row(name, f"{seen['loss']:.3f}", f"{seen['accuracy']:.1%}", f"{test['loss']:.3f}", f"{test['accuracy']:.1%}")
    return table


def main() -> None:
    """Runs or resumes both studies, and shows the results."""
    for study in STUDIES.values():
        call("broodline", "run", study)
    call("broodline", "schedule", STUDIES["population based"])
    best = {name: answer("broodline", "best", study, "--json") for name, study in STUDIES.items()}
    print()
    Console().print(comparison(best))
    print(f"The best weights: {best['population based']['checkpoint']}")


if __name__ == "__main__":
    main()
