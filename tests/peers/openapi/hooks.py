"""What Schemathesis cannot know of the document's formats."""

import schemathesis
from hypothesis import strategies as st

# A URI that the server may call: it refuses addresses of private networks and hosts that are none, which no pattern tells from others.
HOSTS = st.sampled_from(["shop.example", "www.example.com", "xn--mnchen-3ya.example"])
PATHS = st.from_regex(r"(/[a-z0-9._~-]{1,8}){0,3}(\?[a-z]{1,5}=[a-z0-9]{1,5})?", fullmatch=True)
SCHEMES = st.sampled_from(["https", "http", "HTTPS"])

schemathesis.openapi.format("uri", st.builds("{}://{}{}".format, SCHEMES, HOSTS, PATHS))
schemathesis.openapi.format("origin", st.builds("{}://{}".format, st.sampled_from(["https", "http"]), HOSTS))
