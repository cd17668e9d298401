"""Pure values and decisions: no clock, disk, database, logging, threads or global random numbers."""
