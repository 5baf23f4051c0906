"""Where power comes from: a load model of our own, or the recording of a real household."""
