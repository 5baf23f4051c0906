"""The server role: an NGSI-LD context broker with history and subscriptions in embedded storage, and the pages."""
