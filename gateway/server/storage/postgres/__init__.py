"""Storage in PostgreSQL: several server nodes over one database."""
