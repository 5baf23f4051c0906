"""Compact batches in: readings of gateways become entities, each once."""
