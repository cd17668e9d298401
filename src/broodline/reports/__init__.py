"""Reports: what a study found, as values, tables and figures."""
