"""Bytes in, readings out: buses, codecs and templates. A leaf package: it imports nothing of ``gateway``."""
