"""Schedules for training frameworks: one file per framework, and no other file imports it."""
