"""Schedules for training frameworks. One file a framework, the only one that imports it."""
