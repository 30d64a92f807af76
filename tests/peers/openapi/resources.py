"""Resources of the run, whose ids the paths need.

To nearly all ids that Schemathesis makes up, the answer is 404. So most cases get the id of a resource that is created here. Each
operation has its own resources: what one does to them does not show in the cases of another.
"""

import base64
import hashlib
import hmac
import json
import os
import time
import uuid
from datetime import datetime, timedelta, timezone
from itertools import count

import requests

SERVER = os.environ["SERVER"]
KEY = os.environ["KEY"]
OPERATOR_KEY = os.environ["OPERATOR_KEY"]
# The address of a webhook and of an MCP server that answer.
TOOL_SERVER = os.environ["TOOL_SERVER"]

# A resource is replaced after so many cases, because they change it, and others find it in lists and delete it.
USES = 10
# These need a new one for each case: they remove or use up theirs, or depend on all that was changed before.
ONCE = {"cancelBooking", "operatorRollKey", "retryTurn", "rollKey", "updateTool"}
# The response for a conversation that exists never ends.
ENDLESS = "streamWidgetEvents"

session = requests.Session()
numbers = count()


class Refused(Exception):
    """A resource was not created: there are as many as there may be."""


def call(method, path, body=None, key=KEY):
    response = session.request(method, SERVER + path, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=30)
    if not response.ok:
        raise Refused(f"{method} {path}: {response.status_code} {response.text}")
    return response.json()["data"], response.headers


def post(path, body=None, key=KEY):
    return call("POST", path, body, key)[0]


def slug():
    return f"own-{next(numbers)}"


def conversation():
    created = post("/v1/conversations", {"type": "widget"})
    return {"id": created["id"], "uuid": created["widget_uuid"]}


def send(text, sender_type="user"):
    """Sends a message in a new conversation: its ids, and the turn that answers it."""
    talk = conversation()
    message = {"conversation_id": talk["id"], "sender_id": "run", "sender_type": sender_type, "text": text}
    sent, headers = call("POST", "/v1/messages", {**message, "auto_reply": sender_type == "user"})
    return {"uuid": talk["uuid"], "message_id": sent["message"]["id"], "id": sent["message"]["id"]}, headers.get("Rejoinder-Turn")


def message():
    return send("Hello", "agent")[0]


def ended_turn(text):
    _, turn = send(text)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found, _ = call("GET", f"/v1/turns/{turn}")
        if found["state"] in ("completed", "failed"):
            return found
        time.sleep(0.01)
    raise Refused(f"the turn {turn} does not end")


def reply():
    return {"id": ended_turn("Hello lookup")["reply_message_id"]}


def erasure():
    return post("/v1/erasures", {"sender_id": slug()})


def key():
    return post("/v1/keys", {"name": "own", "scopes": ["read"]})


def knowledge_base():
    return post("/v1/knowledge_bases", {"slug": slug()})


def document():
    base = knowledge_base()["id"]
    created = post(f"/v1/knowledge_bases/{base}/documents", {"title": "Returns", "text": "Within 14 days."})
    return {"id": base, "document": created["slug"]}


def assistant():
    return post("/v1/assistants", {"slug": slug(), "name": "Own", "system_prompt": "You help."})["assistant"]


def identity_secret():
    own = assistant()["id"]
    created = post(f"/v1/assistants/{own}/identity_secrets")
    return {"id": own, "secret_id": created["id"], "secret": created["secret"]}


def version():
    own = assistant()["id"]
    call("PATCH", f"/v1/assistants/{own}", {"name": "Renamed"})
    return {"id": own, "version": 1}


PARAMETERS = {"type": "object", "properties": {"order_id": {"type": "string"}}}


def tool():
    """One of each kind in turn."""
    number = next(numbers)
    kinds = [
        {"kind": "webhook", "description": "Looks up an order", "url": f"{TOOL_SERVER}/orders", "parameters": PARAMETERS},
        {"kind": "mcp", "url": f"{TOOL_SERVER}/mcp", "timeout": "2s"},
        {"kind": "knowledge", "knowledge_base": "help"},
        {"kind": "calendar_availability", "calendar": "demos"},
    ]
    return post("/v1/tools", {"slug": f"own-{number}", **kinds[number % len(kinds)]})["tool"]


def mcp_tool():
    return post("/v1/tools", {"slug": slug(), "kind": "mcp", "url": f"{TOOL_SERVER}/mcp", "timeout": "2s"})["tool"]


def endpoint():
    try:
        return post("/v1/webhook_endpoints", {"url": f"{TOOL_SERVER}/hook", "types": ["conversation.deleted"]})
    except Refused:
        # There are so few that the cases themselves create all.
        return call("GET", "/v1/webhook_endpoints?limit=1")[0]["items"][0]


def delivery():
    own = endpoint()["id"]
    call("PATCH", f"/v1/webhook_endpoints/{own}", {"enabled": True})
    return {"id": own, "delivery_id": post(f"/v1/webhook_endpoints/{own}/test")["id"]}


def calendar():
    every_day = {day: ["00:00-23:30"] for day in ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}
    return post("/v1/calendars", {"slug": slug(), "time_zone": "UTC", "slot_minutes": 30, "hours": every_day})


def booking():
    """The next free slot of a calendar that all bookings share."""
    number = next(numbers)
    day = datetime.now(timezone.utc) + timedelta(days=2 + number // 40 % 50)
    own = booked.take()["id"]
    start = f"{day:%Y-%m-%d}T{number % 40 // 2:02}:{number % 2 * 30:02}"
    created = post(f"/v1/calendars/{own}/bookings", {"start": start, "title": "Demo"})
    return {"id": own, "booking_id": created["id"]}


def workspace():
    return post("/operator/v1/workspaces", {"slug": slug(), "name": "Own"}, OPERATOR_KEY)


def suspended_workspace():
    own = workspace()
    post(f"/operator/v1/workspaces/{own['id']}/suspend", None, OPERATOR_KEY)
    return own


def workspace_key():
    own = workspace()["id"]
    created = post(f"/operator/v1/workspaces/{own}/keys", {"name": "own", "scopes": ["read"]}, OPERATOR_KEY)
    return {"id": own, "key_id": created["id"]}


# What creates the resource of an operation that needs one in a state of its own.
OWN_CREATORS = {
    "operatorDeleteWorkspace": suspended_workspace,
    "readTrace": reply,
    "refreshTool": mcp_tool,
    "retryTurn": lambda: ended_turn("Hello refuse"),
}
# What creates the resource of a path that begins so. The first that fits counts.
CREATORS = {
    "/api/conversations/{uuid}/messages/{message_id}": message,
    "/api/conversations/{uuid}": conversation,
    "/api/automate/conversations/{uuid}": conversation,
    "/api/chat/{id}": lambda: {"id": conversation()["uuid"]},
    "/v1/conversations/{id}": conversation,
    "/v1/messages/{id}": message,
    "/v1/turns/{id}": lambda: ended_turn("Hello lookup"),
    "/v1/erasures/{id}": erasure,
    "/v1/keys/{id}": key,
    "/v1/knowledge_bases/{id}/documents/{document}": document,
    "/v1/knowledge_bases/{id}": knowledge_base,
    "/v1/assistants/{id}/identity_secrets/{secret_id}": identity_secret,
    "/v1/assistants/{id}/versions/{version}": version,
    "/v1/assistants/{id}": assistant,
    "/v1/tools/{id}": tool,
    "/v1/webhook_endpoints/{id}/deliveries/{delivery_id}": delivery,
    "/v1/webhook_endpoints/{id}": endpoint,
    "/v1/calendars/{id}/bookings/{booking_id}": booking,
    "/v1/calendars/{id}": calendar,
    "/operator/v1/workspaces/{id}/keys/{key_id}": workspace_key,
    "/operator/v1/workspaces/{id}": workspace,
}


class Supply:
    """The resources of one operation."""

    def __init__(self, create, uses=USES):
        self.create, self.uses = create, uses
        self.left, self.resource = 0, None

    def take(self):
        """A resource that exists; the one before if no more can be created."""
        if self.left == 0:
            try:
                self.resource = self.create()
            except Refused:
                pass
            self.left = self.uses
        self.left -= 1
        return self.resource


booked = Supply(calendar, 40)
identified = Supply(identity_secret, 50)
talks = Supply(conversation)
supplies = {}
cases = {}


def fill(case):
    """Gives a case the ids of a resource, except every fourth one, which keeps its own."""
    operation = case.operation
    name = operation.definition.raw["operationId"]
    by_path = (create for path, create in CREATORS.items() if operation.path.startswith(path))
    create = OWN_CREATORS.get(name) or next(by_path, None)
    if name == ENDLESS:
        case.path_parameters["uuid"] = str(uuid.uuid4())
        return
    # The cases of the last phase go on with the answers of others.
    if create is None or case.meta.phase.name.value == "stateful":
        return
    cases[name] = cases.get(name, 0) + 1
    if cases[name] % 4 == 0:
        return
    if name not in supplies:
        once = name in ONCE or case.method == "DELETE"
        supplies[name] = Supply(create, 1 if once else USES)
    resource = supplies[name].take()
    if resource:
        case.path_parameters.update({name: resource[name] for name in case.path_parameters})


def given(case):
    """The resource that a case was filled with, if it was."""
    supply = supplies.get(case.operation.definition.raw["operationId"])
    resource = supply and supply.resource
    return resource if resource and resource["id"] == case.path_parameters["id"] else None


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def identity():
    """An assistant, and a token of one of its visitors."""
    own = identified.take()
    claims = {"sub": "run", "aud": own["id"], "exp": int(time.time()) + 3600}
    signed = ".".join(encode(json.dumps(part).encode()) for part in [{"alg": "HS256", "typ": "JWT"}, claims])
    signature = hmac.new(own["secret"].encode(), signed.encode(), hashlib.sha256).digest()
    return own["id"], f"{signed}.{encode(signature)}"
