"""Readings to NGSI-LD entities of Smart Data Models, and their count. Pure; edge and server share it."""
