"""Reports on a study, as values, tables and figures."""
