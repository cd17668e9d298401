"""Strategies: one file each, pure, with its own options."""
