"""Applications over the broker: the console (the page at ``/``) with its state, series and events."""
