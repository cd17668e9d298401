"""Evaluates a checkpoint on images that neither training nor selection has used: `python test.py DIR`."""

import json
import sys
from pathlib import Path

from train import TEST, evaluate, load

if __name__ == "__main__":
    print(json.dumps(evaluate(load(Path(sys.argv[1])), TEST)))
