"""What can be counted, for Prometheus."""
