"""What Schemathesis cannot know: values of formats, and rules that no schema says.

A rule is about a state, about two fields whose values depend on each other, or about text in a language of its own. A valid request that
breaks one is mended before it is sent; an invalid one is sent as it is, so each refusal that a schema declares is still checked.
"""

import os
from datetime import datetime, timedelta, timezone

import schemathesis
from hypothesis import strategies as st

# The server refuses addresses of private networks and hosts that do not exist.
HOSTS = ["shop.example", "www.shop.example", "xn--mnchen-3ya.example"]
PATHS = st.from_regex(r"(/[a-z0-9._~-]{1,8}){0,3}", fullmatch=True)
YESTERDAY = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
QUARTERS = [YESTERDAY - timedelta(minutes=15 * count) for count in range(200)]


def clock(half_hours):
    """A time of the day."""
    return f"{half_hours // 2:02}:{half_hours % 2 * 30:02}"


hosts = st.sampled_from(HOSTS)
FORMATS = {
    "uri": st.builds("{}://{}{}".format, st.sampled_from(["https", "http", "HTTPS"]), hosts, PATHS),
    # A placeholder must be a property of the parameters.
    "url-template": st.builds("https://{}{}".format, hosts, PATHS),
    "origin": st.builds("{}://{}".format, st.sampled_from(["https", "http"]), hosts),
    "host": st.sampled_from([*HOSTS, "10.0.0.7:8080", "[fd00::7]:443", "localhost"]),
    # As many as a day may have, none of which overlap.
    "opening-hours": st.sampled_from([f"{clock(half)}-{clock(half + 1)}" for half in range(48)]),
    "time-zone": st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "america/new_york"]),
    "booking-start": st.sampled_from([f"{YESTERDAY + timedelta(days=days):%Y-%m-%dT14:00}" for days in range(2, 30)]),
    "timeout": st.sampled_from(["1s", "10s", "1500ms", "30 seconds"]),
    "variable-name": st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True),
    # So few that a query of them is never too large.
    "day-or-quarter": st.sampled_from([time.strftime("%Y-%m-%dT%H:%M:%SZ") for time in QUARTERS] + [f"{YESTERDAY:%Y-%m-%d}"]),
}
for name, strategy in FORMATS.items():
    schemathesis.openapi.format(name, strategy)

# The ids of what the run itself needs: its key, its workspace and a knowledge base. It finds them in the lists, and would delete them.
OWN = set(os.environ["OWN"].split())

# The order that the cursors of each tag belong to.
SORTS = {"Y": "-created_at", "Q": "created_at", "d": "-updated_at", "V": "updated_at"}


def list_conversations(case):
    """A cursor belongs to one order."""
    if "cursor" in case.query:
        case.query["sort"] = SORTS[case.query["cursor"][0]]


def list_events(case):
    """The server waits for an event for up to a minute, as it is asked to. That takes too long here."""
    if "wait" in case.query:
        case.query["wait"] = min(int(case.query["wait"]), 1)


def list_free_slots(case):
    """The last day is not before the first."""
    if "to" in case.query:
        case.query["to"] = max(case.query["from"], case.query["to"])


def read_usage(case):
    """The end is later than the start."""
    if "end" in case.query:
        case.query.pop("end")


def expiry(case):
    """A key expires in the future."""
    if case.body.get("expires_at"):
        case.body["expires_at"] = "2999-12-31T00:00:00Z"


def calendar(case):
    """A slot fits into a window, the notice is shorter than the horizon, and a password goes with a username and by https. One that is stored is
    needed again for another host."""
    for field in ["slot_minutes", "minimum_notice_minutes"]:
        if case.body.get(field):
            case.body[field] = min(case.body[field], 30)
    caldav = case.body.get("caldav")
    if caldav:
        caldav["url"] = "https://dav.example"
        caldav.setdefault("username", "me")
        caldav.setdefault("password", "secret")


def document(case):
    """A file is a document with text, and its type is that of its content. The fields of a form are not in the query."""
    if case.media_type == "multipart/form-data":
        case.query.clear()
        case.body["file"] = "# Returns"
        case.multipart_content_types = {"file": "text/markdown"}
    elif case.media_type == "application/json":
        case.body["text"] = "Returns " + case.body["text"]
    else:
        case.media_type, case.body = "text/markdown", "# Returns"


def new_document(case):
    """A title such as "!" makes no slug."""
    document(case)
    if not (case.body.get("slug") or "").strip():
        case.body["slug"] = "returns"


def assistant(case):
    """Its tools exist. Parameters and variables have rules by name."""
    body = case.body
    if body.get("tools"):
        body["tools"] = ["orders"]
    for field in ["parameters", "variables", "visitor_variables"]:
        if body.get(field):
            body[field] = {}


def new_assistant(case):
    """Not every name makes a slug."""
    assistant(case)
    if not case.body.get("slug"):
        case.body["slug"] = "front"


def new_tool(case):
    """What it refers to exists, and its parameters are a JSON Schema with the arguments of its templates."""
    body = case.body
    if "calendar" in body:
        body["calendar"] = "demos"
    if "knowledge_base" in body:
        body["knowledge_base"] = "help"
    if body.get("headers"):
        body["headers"] = {"X-Team": "a"}
    if body["kind"] in ["webhook", "mcp"]:
        # Its host does not exist, and a call of it takes as long.
        body["timeout"] = "1s"
    if body["kind"] == "webhook":
        body["parameters"] = {"type": "object", "properties": {"order_id": {"type": "string"}}}
    if body.get("body"):
        body["body"] = "{}"


def tool_change(case):
    """Fields go with the kind of the stored tool."""
    case.body = {"description": case.body.get("description") or "Looks up an order"}


def chat(case):
    """The last message of the user counts."""
    case.body["messages"].append({"role": "user", "parts": [{"type": "text", "text": "Hello"}]})
    if case.body.get("trigger") == "regenerate-message":
        case.body.pop("trigger")


MENDED = {
    "listConversations": list_conversations,
    "listEvents": list_events,
    "listFreeSlots": list_free_slots,
    "readUsage": read_usage,
    "operatorReadUsage": read_usage,
    "createKey": expiry,
    "operatorCreateKey": expiry,
    "createCalendar": calendar,
    "updateCalendar": calendar,
    "createDocument": new_document,
    "putDocument": document,
    "createAssistant": new_assistant,
    "updateAssistant": assistant,
    "createTool": new_tool,
    "updateTool": tool_change,
    "chat": chat,
}


def public(case):
    """The server refuses addresses of private networks, also those that it gave itself."""
    for part in [case.body, case.body.get("caldav")]:
        if isinstance(part, dict) and "//127.0.0.1" in (part.get("url") or ""):
            part["url"] = "https://shop.example"


def own_conversation(case):
    """`conversation_id` of the widget API is a UUID, which Schemathesis takes from there for a link of its own to other operations."""
    if not str(case.query.get("conversation_id", "con_")).startswith("con_"):
        case.query.pop("conversation_id")


def without_nul(value):
    """No string at any depth contains U+0000, which the databases cannot store. A schema of free-form JSON cannot say it."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [without_nul(item) for item in value]
    if isinstance(value, dict):
        return {without_nul(name): without_nul(item) for name, item in value.items()}
    return value


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.method != "GET":
        for name, value in case.path_parameters.items():
            if value in OWN:
                case.path_parameters[name] = value[:-4] + "zzzz"
    if not case.meta or not case.meta.generation.mode.is_positive:
        return
    if isinstance(case.body, dict):
        case.body = without_nul(case.body)
        public(case)
    own_conversation(case)
    mend = MENDED.get(case.operation.definition.raw.get("operationId"))
    if mend:
        mend(case)
