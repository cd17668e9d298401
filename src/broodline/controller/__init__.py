"""The controller: answers workers, one transaction each, and keeps nothing between calls."""
