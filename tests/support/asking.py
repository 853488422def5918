"""Requests made from the examples of the document, changed here and there; and a tenant that has one of everything they speak of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select, true
from werkzeug.test import Client, TestResponse

from db.models import AuditEntry, Base
from tests.support.contract import Operation
from tests.support.watched import learn
from tests.support.web import Caller, House
from webapp.examples import EXAMPLES
from webapp.examples.example import Example
from webapp.examples.histories import FORTY_DAYS, TEN_HOURS, WITH_DAYS_OFF


def first(operation_id: str) -> Example:
    """The first example of an operation."""
    return next(example for example in EXAMPLES if example.operation == operation_id)


def ask(caller: Caller, operation: Operation, example: Example, client: Client | None = None) -> TestResponse:
    """Send an example as it is shown; an Authorization of its own is kept, and an empty one left out."""
    path = operation.path
    for name, value in example.path.items():
        path = path.replace(f"{{{name}}}", value)
    headers = {"Authorization": f"Bearer {caller.key}"} | dict(example.headers)
    body = example.body if isinstance(example.body, str | bytes | None) else json.dumps(example.body)
    sent = {} if body is None else {"data": body, "content_type": example.media_type}
    given = {name: value for name, value in headers.items() if value}
    method, query = operation.method.upper(), dict(example.query)
    return (client or caller.client).open(path, method=method, query_string=query, headers=given, **sent)


@dataclass
class Place:
    """A tenant with the people of the examples, a version that serves, and the training that made it."""

    house: House
    caller: Caller
    names: Mapping[str, str] = field(default_factory=dict)

    def asked(self, operation: Operation, **changes: Any) -> Example:
        """The operation's first example about the things that are really here."""
        example = first(operation.id)
        path = {name: self.names.get(name, value) for name, value in example.path.items()}
        headers = {name: value for name, value in example.headers.items() if name != "If-Match"}
        return replace(example, **{"path": path, "headers": headers} | changes)

    def ask(self, operation: Operation, client: Client | None = None, **changes: Any) -> TestResponse:
        return ask(self.caller, operation, self.asked(operation, **changes), client)

    def train(self, **spec: Any) -> str:
        """Id of a training of the person."""
        body = {"entity": "user-42", "recipe": "health-daily", "target": "rhr", "spec": spec}
        found: str = self.caller.post("/models/train", body).json["id"]
        return found

    def watch(self, **spec: Any) -> str:
        """Id of a training of a detector of the server."""
        found: str = self.caller.post("/anomalies/train", {"entity": "server-7", "spec": spec}).json["id"]
        return found


def settle(house: House, tenant: str) -> Place:
    """A new tenant with one of everything."""
    caller = house.caller(tenant)
    place = Place(house, caller)
    for entity, history in (("user-42", FORTY_DAYS), ("user-43", WITH_DAYS_OFF), ("server-7", TEN_HOURS)):
        assert caller.post(f"/entities/{entity}/observations", data=history, content_type="text/csv").status_code == 200
    job = place.train()
    house.publish(caller, job)
    learn(house, caller, place.watch())
    model = caller.get("/models").json["data"][0]["id"]
    webhook = caller.post("/webhooks", {"url": "https://backend.example/", "types": ["job.succeeded"]}).json["id"]
    delivery = caller.post(f"/webhooks/{webhook}/test").json["id"]
    schedule = {"name": "nightly train", "every_s": 86_400, "template": {"train": {"entities": ["user-42"], "recipe": "health-daily"}}}
    made = caller.post("/schedules", schedule).json["id"]
    caller.put("/entities/forgotten")
    erasure = caller.delete("/entities/forgotten").headers["Location"].rpartition("/")[2]
    news = {"schedule_id": made, "webhook_id": webhook, "delivery_id": delivery, "erasure_id": erasure}
    place.names = {"entity": "user-42", "target": "rhr", "model_id": model, "semver": "1.0.0", "job_id": job, "code": "internal"} | news
    return place


def rows_of(house: House, tenant_id: str) -> dict[str, list[str]]:
    """All that the database holds of a tenant, but for its keys, which note when they were used, and what the audit says of them."""
    held = {}
    with house.runtime.engine.connect() as connection:
        for name, table in Base.metadata.tables.items():
            if name not in ("tenants", "api_keys"):
                others = ~table.c.action.startswith("key.") if name == AuditEntry.__tablename__ else true()
                held[name] = sorted(map(repr, connection.execute(select(table).where(table.c.tenant_id == tenant_id, others))))
    return held
