"""What Schemathesis cannot know: values of formats, ids, and rules that no schema says.

A valid request that breaks such a rule is mended before it is sent; an invalid one is sent as it is, so each refusal that a schema
declares is still checked.
"""

import atexit
import json
import os
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

import mending
import resources
import schemathesis
from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation

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

# A key of a workspace that no file manages.
OTHER_KEY = os.environ["OTHER_KEY"]

# The answers of each operation, by status.
ANSWERS = {}


def operation_id(case):
    return case.operation.definition.raw["operationId"]


@schemathesis.hook
def before_call(context, case, kwargs):
    if not case.meta:
        return
    if not case.meta.is_negative_at(ParameterLocation.PATH):
        resources.fill(case)
    if case.method != "GET":
        for name, value in case.path_parameters.items():
            if value in OWN:
                case.path_parameters[name] = value[:-4] + "zzzz"
    if case.meta.generation.mode.is_positive:
        mending.mend(case)
    if operation_id(case) == "updateOwnWorkspace" and case.headers.get("Authorization") == f"Bearer {resources.KEY}":
        case.headers["Authorization"] = f"Bearer {OTHER_KEY}"


@schemathesis.hook
def after_call(context, case, response):
    # Not of a method that the path does not have: OPTIONS has an answer everywhere.
    if case.method.upper() == case.operation.method.upper():
        ANSWERS.setdefault(operation_id(case), Counter())[response.status_code] += 1


@atexit.register
def write_answers():
    Path(os.environ["ANSWERS"]).write_text(json.dumps(ANSWERS))
