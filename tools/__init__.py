"""Commands for the developers of broodline."""
