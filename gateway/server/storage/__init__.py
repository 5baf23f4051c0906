"""The only SQL of the server: one interface (``base``), one embedded implementation (``sqlite``)."""
