"""The controller answers the calls of workers, each in one transaction, and keeps no state between calls."""
