"""Checkpoint stores: where committed checkpoints are kept. `base` holds their protocol; each implementation is one file."""
