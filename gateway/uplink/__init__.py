"""What empties the outbox over a link: sender, transports, the state of the link."""
