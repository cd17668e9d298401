"""Storage: databases with the records of studies, checkpoint stores, and the location that joins the two."""
