"""The Lamppost gateway and city data platform: edge and server roles of one command."""

__version__ = "0.1.0"
