"""The OpenAPI 3.1 document of the server, served at /openapi.json."""
