"""Operations on a study, for the command line and Python: run, join, check, replay, continue, recover, free disk space."""
