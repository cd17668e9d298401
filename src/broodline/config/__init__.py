"""Study files and schedule files: parsed, checked and written; every error names the file and the key."""
