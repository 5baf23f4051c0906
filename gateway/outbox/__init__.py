"""The durable local queue of readings that the server has not acknowledged: one SQLite file, one writer."""
