"""What a user of ngsildclient does: ``python use_ngsildclient.py PORT RECEIVER_URL``. Runs in a venv of its own."""

from __future__ import annotations

import sys

from ngsildclient import Client, Entity, SubscriptionBuilder
from told import wait_until_told

PORT, RECEIVER = int(sys.argv[1]), sys.argv[2]
CORE = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context.jsonld"


def room(number: int, degrees: float) -> Entity:
    made = Entity("Room", f"n{number}", ctx=[CORE])
    made.prop("temperature", degrees, unitcode="CEL")
    made.gprop("location", (52.5, 13.4))
    made.rel("isPartOf", "urn:ngsi-ld:Building:1")
    return made


client = Client("127.0.0.1", PORT)
assert client.is_connected()
assert client.create(room(1, 20.5))
assert client.exists("urn:ngsi-ld:Room:n1")
found = client.get("urn:ngsi-ld:Room:n1", ctx=CORE)
assert found["temperature.value"] == 20.5, found
asked = SubscriptionBuilder(RECEIVER).description("warm").select_type("Room").watch(["temperature"]).build()
asked["@context"] = [CORE]
subscription = client.subscriptions.create(asked)
assert subscription, subscription
assert [one["id"] for one in client.subscriptions.list()] == [subscription]
found["temperature.value"] = 23.5
assert client.update(found)
assert client.upsert(room(2, 18.0), room(3, 19.0))
assert sorted(one["temperature.value"] for one in client.query(type="Room")) == [18.0, 19.0, 23.5]
assert [one.id for one in client.query(type="Room", q="temperature>20")] == ["urn:ngsi-ld:Room:n1"]
assert client.count(type="Room") == 3
assert client.types.list() == ["Room"], client.types.list()
result = client.batch.create([room(4, 1.0), room(5, 2.0)])
assert result.ok, result
result = client.batch.delete([room(4, 1.0), room(5, 2.0)])
assert result.ok, result
wait_until_told(f"http://127.0.0.1:{PORT}", subscription)
assert client.subscriptions.purge()
assert client.subscriptions.list() == []
assert client.delete(found)
assert not client.exists("urn:ngsi-ld:Room:n1")
client.drop("Room")
assert client.count(type="Room") == 0
client.close()
print("done")
