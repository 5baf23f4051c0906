"""An example for others: sensors behind a box that speaks lines of text over TCP."""
