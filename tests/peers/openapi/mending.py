"""How a valid request that breaks a rule which no schema says is mended.

A rule is about a state, about two fields whose values depend on each other, or about text in a language of its own.
"""

import os
import re
from urllib.parse import urlsplit

import resources

# The order that the cursors of each tag belong to.
SORTS = {"Y": "-created_at", "Q": "created_at", "d": "-updated_at", "V": "updated_at"}
# The tools of the workspace file.
TOOLS = ["availability", "booking", "cancelling", "orders", "notes"]
# An assistant of the other workspace.
OTHER_ASSISTANT = os.environ["OTHER_ASSISTANT"]
RESERVED_HEADERS = {"host", "content-length", "transfer-encoding", "connection"}
VARIABLE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def pdf(text):
    """A file with one page, of ASCII only."""
    content = f"BT /F1 24 Tf 72 720 Td ({text}) Tj ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    file, offsets = "%PDF-1.4\n", []
    for number, part in enumerate(objects, 1):
        offsets.append(len(file))
        file += f"{number} 0 obj\n{part}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    return f"{file}xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(file)}\n%%EOF\n"


FILES = {
    "text/markdown": "# Returns",
    "text/plain": "Returns",
    "text/html": "<title>Returns</title><p>Within 14 days.</p>",
    "application/pdf": pdf("Within 14 days."),
}


def is_replaced():
    """Whether a body gets an id of what exists, or a slug of its own: every fourth case keeps what it has."""
    return next(resources.numbers) % 4 > 0


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
    """A slot fits into a window, the notice is shorter than the horizon, and a password goes with a username and by https.

    A password that is stored is needed again for another host.
    """
    for field in ["slot_minutes", "minimum_notice_minutes"]:
        if case.body.get(field):
            case.body[field] = min(case.body[field], 30)
    caldav = case.body.get("caldav")
    if caldav:
        caldav["url"] = "https://dav.example"
        caldav.setdefault("username", "me")
        caldav.setdefault("password", "secret")


def new_calendar(case):
    new_slug(case)
    calendar(case)


def document(case):
    """A file is a document with text, and its type is that of its content. The fields of a form are not in the query."""
    if case.media_type == "multipart/form-data":
        case.query.clear()
        kind = list(FILES)[len(case.body["file"]) % len(FILES)]
        case.body["file"] = FILES[kind]
        case.multipart_content_types = {"file": kind}
    elif case.media_type == "application/json":
        case.body["text"] = "Returns " + case.body["text"]
    else:
        case.body = FILES[case.media_type]


def new_slug(case):
    """Nothing else has it."""
    slug = (case.body.get("slug") or "").strip()
    if slug and is_replaced():
        case.body["slug"] = f"{slug[:50]}-{next(resources.numbers)}"


def new_document(case):
    """A title such as "!" makes no slug."""
    new_slug(case)
    document(case)
    if not (case.body.get("slug") or "").strip():
        case.body["slug"] = "returns"


def assistant(case):
    """Its tools exist, a variable is the operator's or the visitor's, and the form asks for the visitor's."""
    body = case.body
    if body.get("tools"):
        body["tools"] = TOOLS[: len(body["tools"])]
    names = [name for name in ["variables", "visitor_variables", "widget"] if name in body]
    if not names:
        return
    # What is stored would have to go with what is given.
    for name in ["variables", "visitor_variables", "widget"]:
        body.setdefault(name, {})
    declared = dict(body["visitor_variables"] or {})
    form = (body["widget"] or {}).get("form") or []
    for number, field in enumerate(form):
        if not VARIABLE.fullmatch(field["variable"]) or field["variable"] in [other["variable"] for other in form[:number]]:
            field["variable"] = f"field_{number}"
        declared.setdefault(field["variable"], {})
    for variable in declared.values():
        longest = int(variable.get("max_length", 200))
        variable["default"] = variable.get("default", "")[:longest]
    asked = [field["variable"] for field in form]
    others = [name for name in declared if name not in asked]
    body["visitor_variables"] = {name: declared[name] for name in [*asked, *others][:32]}
    body["variables"] = {name: value for name, value in (body["variables"] or {}).items() if name not in declared}


def new_assistant(case):
    """Not every name makes a slug."""
    assistant(case)
    if not case.body.get("slug") and not re.search("[a-z0-9]", case.body["name"].lower()):
        case.body["slug"] = resources.slug()


def headers(body):
    """A name has no case, and some are the client's. A text in braces would have to be an argument."""
    known = {}
    for name, value in (body.get("headers") or {}).items():
        if name.lower() not in RESERVED_HEADERS:
            known[name.lower()] = value.replace("{", "(") if isinstance(value, str) else value
    if body.get("headers"):
        body["headers"] = known


def tool(body, kind):
    """What it refers to exists, and its parameters are a JSON Schema with the argument of its URL."""
    if isinstance(body.get("calendar"), str):
        body["calendar"] = "demos"
    if isinstance(body.get("knowledge_base"), str):
        body["knowledge_base"] = "help"
    headers(body)
    if kind in ["webhook", "mcp"] and "timeout" in body:
        # The host of most does not exist, and a call of it takes as long.
        body["timeout"] = "1s"
    if kind == "webhook" and "{" in (body.get("url") or ""):
        body["parameters"] = body.get("parameters") or {}
    elif kind == "mcp" and "{" in (body.get("url") or ""):
        body["url"] = "https://shop.example/mcp"
    if isinstance(body.get("parameters"), dict):
        body["parameters"] = {"type": "object", "properties": {name: {} for name in ["order_id", *body["parameters"]]}}
    if body.get("body"):
        body["body"] = body["body"].replace("{", "(")


def new_tool(case):
    """Every second MCP server exists."""
    new_slug(case)
    tool(case.body, case.body["kind"])
    if case.body["kind"] == "mcp" and len(case.body["slug"]) % 2 == 0:
        case.body["url"] = f"{resources.TOOL_SERVER}/mcp"
        case.body.pop("allow", None)


FIELDS = {
    "webhook": {"parameters", "url", "method", "headers", "body", "form", "static", "timeout", "secret", "secrets", "idempotent", "name"},
    "mcp": {"url", "headers", "timeout", "allow"},
    "knowledge": {"knowledge_base", "name"},
    "calendar_availability": {"calendar", "name"},
}
# No tool of the kind is without these.
REQUIRED = {"url", "knowledge_base", "calendar"}


def tool_change(case):
    """Fields go with the kind of the stored tool and, if Schemathesis has found it in a list, with what it has."""
    stored = resources.given(case)
    kind = stored["kind"] if stored else None
    fields = FIELDS.get(kind, set()) | {"description", "label"}
    required = REQUIRED | ({"description"} if kind in [None, "webhook"] else set())
    body = {name: value for name, value in case.body.items() if name in fields and (value is not None or name not in required)}
    tool(body, kind)
    if body.get("method") == "GET":
        body = {name: value for name, value in body.items() if name not in ["body", "form", "static"]}
    elif body.get("body"):
        body = {name: value for name, value in body.items() if name not in ["form", "static"]}
    if kind == "mcp":
        # It is asked for its tools.
        body.pop("allow", None)
    case.body = body or {"description": "Looks up an order"}


def booking(case):
    """Its conversation exists."""
    if case.body.get("conversation_id") and is_replaced():
        case.body["conversation_id"] = resources.talks.take()["id"]


def list_widget_conversations(case):
    """They are those of a visitor whom a token names."""
    case.query["assistant_id"], case.headers["Rejoinder-Identity"] = resources.identity()


def message(case):
    """Its conversation exists, and a reply is to a message of it."""
    if "conversation_id" in case.body and is_replaced():
        case.body["conversation_id"] = resources.talks.take()["id"]
        case.body.pop("reply_to_message_id", None)


def chat(case):
    """Its conversation exists, and the last message of the user counts."""
    if is_replaced():
        case.body["id"] = resources.talks.take()["uuid"]
    case.body["messages"].append({"role": "user", "parts": [{"type": "text", "text": "Hello"}]})
    if case.body.get("trigger") == "regenerate-message":
        case.body.pop("trigger")


def own_workspace(case):
    """The assistant is one of the workspace."""
    if case.body["default_assistant_id"] and is_replaced():
        case.body["default_assistant_id"] = OTHER_ASSISTANT


MENDED = {
    "listConversations": list_conversations,
    "listEvents": list_events,
    "listFreeSlots": list_free_slots,
    "readUsage": read_usage,
    "operatorReadUsage": read_usage,
    "createKey": expiry,
    "operatorCreateKey": expiry,
    "createCalendar": new_calendar,
    "createKnowledgeBase": new_slug,
    "operatorCreateWorkspace": new_slug,
    "updateCalendar": calendar,
    "createDocument": new_document,
    "putDocument": document,
    "createAssistant": new_assistant,
    "updateAssistant": assistant,
    "createTool": new_tool,
    "updateTool": tool_change,
    "sendMessage": message,
    "chat": chat,
    "listWidgetConversations": list_widget_conversations,
    "createBooking": booking,
    "updateOwnWorkspace": own_workspace,
}


def public(case):
    """The server refuses addresses of private networks, also those that it gave itself, and those that no parser reads."""
    for part in [case.body, case.body.get("caldav"), case.query]:
        if isinstance(part, dict) and isinstance(part.get("url"), str) and not is_public(part["url"]):
            part["url"] = "https://shop.example"


def is_public(url):
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return False
    return bool(host) and (host != "127.0.0.1" or url.startswith(resources.TOOL_SERVER))


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


def mend(case):
    """Mends the request of a valid case."""
    if "Idempotency-Key" in case.headers:
        # A key belongs to one request.
        case.headers["Idempotency-Key"] = f"{case.headers['Idempotency-Key'][:240]}-{next(resources.numbers)}"
    if isinstance(case.body, dict):
        case.body = without_nul(case.body)
        public(case)
    own_conversation(case)
    operation = MENDED.get(case.operation.definition.raw["operationId"])
    if operation:
        operation(case)
