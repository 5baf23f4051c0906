"""Templates: ``<kind>/<name>.yaml``, as in Lamppost's own ``config/templates``."""
