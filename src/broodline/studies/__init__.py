"""The wiring: run, check, replay, continue, recover and clean up a study."""
