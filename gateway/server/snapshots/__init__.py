"""Snapshots: what queries found, kept apart and unchanged (CIM 009 v1.9.1)."""
