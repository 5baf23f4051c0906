"""Quality of data: order, duplicates, gaps, completeness and units of what is observed, kept up to date at ingest."""
