"""The SQL core that every SQL database shares: tables, rows and queries."""
