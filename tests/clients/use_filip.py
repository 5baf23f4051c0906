"""What a user of FiLiP does: ``python use_filip.py URL RECEIVER_URL``. Runs in a venv of its own."""

from __future__ import annotations

import sys

from filip.clients.ngsi_ld.cb import ContextBrokerLDClient
from filip.models.base import FiwareLDHeader
from filip.models.ngsi_ld.context import ActionTypeLD, ContextLDEntity, ContextProperty, NamedContextProperty
from filip.models.ngsi_ld.subscriptions import Endpoint, EntityInfo, NotificationParams, SubscriptionLD
from told import wait_until_told

URL, RECEIVER = sys.argv[1:3]
TENANT = "filip"


def room(number: int, degrees: float) -> ContextLDEntity:
    made = ContextLDEntity(id=f"urn:ngsi-ld:Room:{number}", type="Room")
    made.add_properties([NamedContextProperty(name="temperature", value=degrees, unitCode="CEL")])
    return made


client = ContextBrokerLDClient(url=URL, fiware_header=FiwareLDHeader(ngsild_tenant=TENANT))
client.post_entity(room(1, 20.5))
found = client.get_entity("urn:ngsi-ld:Room:1")
assert found.model_dump()["temperature"]["value"] == 20.5, found
asked = SubscriptionLD(
    id="urn:ngsi-ld:Subscription:filip",
    type="Subscription",
    entities=[EntityInfo(type="Room")],
    notification=NotificationParams(
        attributes=["temperature"], endpoint=Endpoint(uri=RECEIVER, accept="application/json")
    ),
)
client.post_subscription(asked)
assert [one.id for one in client.get_subscription_list()] == ["urn:ngsi-ld:Subscription:filip"]
client.update_entity_attribute("urn:ngsi-ld:Room:1", ContextProperty(value=23.5), attr_name="temperature")
assert client.get_entity("urn:ngsi-ld:Room:1").model_dump()["temperature"]["value"] == 23.5
client.append_entity_attributes(
    ContextLDEntity(id="urn:ngsi-ld:Room:1", type="Room", humidity={"type": "Property", "value": 40})
)
client.entity_batch_operation(action_type=ActionTypeLD.CREATE, entities=[room(2, 18.0), room(3, 19.0)])
client.entity_batch_operation(action_type=ActionTypeLD.UPSERT, entities=[room(2, 18.5), room(4, 17.0)])
listed = client.get_entity_list(entity_type="Room")
assert sorted(one.id for one in listed) == [f"urn:ngsi-ld:Room:{number}" for number in (1, 2, 3, 4)]
warm = client.get_entity_list(entity_type="Room", q="temperature>20")
assert [one.id for one in warm] == ["urn:ngsi-ld:Room:1"]
client.entity_batch_operation(action_type=ActionTypeLD.DELETE, entities=[room(2, 0), room(3, 0), room(4, 0)])
client.delete_attribute("urn:ngsi-ld:Room:1", "humidity")
wait_until_told(URL, "urn:ngsi-ld:Subscription:filip", {"NGSILD-Tenant": TENANT})
client.delete_subscription("urn:ngsi-ld:Subscription:filip")
client.delete_entity_by_id("urn:ngsi-ld:Room:1")
assert client.get_entity_list(entity_type="Room") == []
client.close()
print("done")
