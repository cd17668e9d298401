"""The PostgreSQL store: one database for many hosts."""
