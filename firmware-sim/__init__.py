"""The simulator: a site made real at the level of bytes and time. Independent of what it serves as a test for."""
