"""JSON-LD @context for NGSI-LD: compiled name maps, the documents known offline, and bounded fetching of others.

``Contexts.context_for(spec)`` gives a ``Context``: names to IRIs and back. The core context is always applied last and
cannot be overridden (CIM 009 clause 5.5.7), so a name that nobody defines becomes one of the default vocabulary.
"""

from gateway.server.contexts.compiled import CORE_URL, Context
from gateway.server.contexts.service import Contexts

__all__ = ["CORE_URL", "Context", "Contexts"]
