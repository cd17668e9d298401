"""Where studies live: databases of records, directories of checkpoints, and the location that joins them."""
