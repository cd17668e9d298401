"""Checkpoint stores: where the files of committed checkpoints are kept."""
