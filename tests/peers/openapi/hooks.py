"""What Schemathesis cannot know of the document's formats."""

import os

import schemathesis
from hypothesis import strategies as st

# A URI that the server may call: it refuses addresses of private networks and hosts that are none, which no pattern tells from others.
HOSTS = st.sampled_from(["shop.example", "www.example.com", "xn--mnchen-3ya.example"])
PATHS = st.from_regex(r"(/[a-z0-9._~-]{1,8}){0,3}(\?[a-z]{1,5}=[a-z0-9]{1,5})?", fullmatch=True)
SCHEMES = st.sampled_from(["https", "http", "HTTPS"])

schemathesis.openapi.format("uri", st.builds("{}://{}{}".format, SCHEMES, HOSTS, PATHS))
schemathesis.openapi.format("origin", st.builds("{}://{}".format, st.sampled_from(["https", "http"]), HOSTS))


# What the run itself needs: its key and its workspace. A stateful phase finds them in the lists, and would revoke or delete them.
OWN = {os.environ["OWN_KEY"], os.environ["OWN_WORKSPACE"]}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Keeps the run's own key and workspace, and waits for no event."""
    if case.method != "GET":
        for name, value in case.path_parameters.items():
            if value in OWN:
                case.path_parameters[name] = value[:-4] + "zzzz"
    # The server would wait for up to 60 s, as it is asked to.
    if case.operation.definition.raw.get("operationId") == "listEvents" and str(case.query.get("wait", "")).isdigit():
        case.query["wait"] = min(int(case.query["wait"]), 1)
