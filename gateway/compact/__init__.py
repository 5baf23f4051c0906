"""Readings as few bytes: blocks of the outbox, and the messages between a box and a Lamppost server."""
