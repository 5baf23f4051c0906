"""Names of operations that a source may offer, and their groups (CIM 009 clause 4.20)."""

from __future__ import annotations

PROVISION = frozenset(
    [
        "createEntity",
        "updateEntity",
        "appendAttrs",
        "updateAttrs",
        "deleteAttrs",
        "deleteEntity",
        "mergeEntity",
        "replaceEntity",
        "replaceAttrs",
        "purgeEntity",
        "createBatch",
        "upsertBatch",
        "updateBatch",
        "deleteBatch",
        "mergeBatch",
    ]
)
TEMPORAL = frozenset(
    [
        "upsertTemporal",
        "appendAttrsTemporal",
        "deleteAttrsTemporal",
        "updateAttrInstanceTemporal",
        "deleteAttrInstanceTemporal",
        "deleteTemporal",
        "retrieveTemporal",
        "queryTemporal",
    ]
)
DISCOVERY = frozenset(
    [
        "retrieveEntityTypes",
        "retrieveEntityTypeDetails",
        "retrieveEntityTypeInfo",
        "retrieveAttrTypes",
        "retrieveAttrTypeDetails",
        "retrieveAttrTypeInfo",
    ]
)
RETRIEVE = frozenset({"retrieveEntity", "queryEntity"})
CONSUMPTION = RETRIEVE | DISCOVERY | {"queryBatch"}
SUBSCRIPTION = frozenset(
    ["createSubscription", "updateSubscription", "retrieveSubscription", "querySubscription", "deleteSubscription"]
)
MAPS = frozenset({"retrieveEntityMap", "updateEntityMap", "deleteEntityMap", "createEntityMapQueryEntity"})
SUPPORT = MAPS | {"createEntityMapQueryTemporal", "retrieveContextSourceIdentity"}
OPERATIONS = PROVISION | TEMPORAL | CONSUMPTION | SUBSCRIPTION | SUPPORT
ASSOCIATION = CONSUMPTION | SUBSCRIPTION | {"retrieveContextSourceIdentity"}
SINGLE_WRITES = frozenset(name for name in PROVISION if not name.endswith("Batch"))
GROUPS = {
    "federationOps": ASSOCIATION | MAPS,
    "associationOps": ASSOCIATION,
    "retrieveOps": RETRIEVE,
    "updateOps": frozenset({"updateEntity", "updateAttrs", "replaceEntity", "replaceAttrs"}),
    "redirectionOps": SINGLE_WRITES | RETRIEVE | DISCOVERY | MAPS | {"retrieveContextSourceIdentity"},
}
DEFAULT = "federationOps"


def expanded(names: list[str]) -> frozenset[str]:
    """All operations of a list of names and groups; names must be known."""
    return frozenset(name for given in names for name in GROUPS.get(given, frozenset({given})))
