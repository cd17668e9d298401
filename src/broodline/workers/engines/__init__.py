"""Engines: where workers run. One file each."""
