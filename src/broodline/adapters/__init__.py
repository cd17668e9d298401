"""Schedules in the forms that frameworks have for them: one small file each, the only one that imports its framework."""
