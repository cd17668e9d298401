"""Trainers: how one trial is trained. One file a kind: a Python function, a command, a resident program."""
