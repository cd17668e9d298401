"""Judges a checkpoint on the images that neither training nor selection has seen: `python test.py DIR`."""

import json
import sys
from pathlib import Path

from train import TEST, evaluate, load

if __name__ == "__main__":
    print(json.dumps(evaluate(load(Path(sys.argv[1])), TEST)))
