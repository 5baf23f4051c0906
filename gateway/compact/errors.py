"""What is wrong with bytes that came from a disk or a network."""


class CompactError(Exception):
    """Bytes that are no body: damaged, of another version, or made by nobody who kept to the format."""
