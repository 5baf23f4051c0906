"""Scenario files: one YAML file describes one site."""
