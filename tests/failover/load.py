"""A model that repeats what it is asked, 50 messages a second to both APIs, and observers of the servers."""

import http.client
import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg

from cluster import ASSISTANT, http as request, wait_for

CONVERSATIONS = 100
# A message whose outcome is unknown is sent again with the same key for this long.
PATIENCE = 60.0


def reply_to(text):
    """The only right reply: a reply to another message differs."""
    return f"re: {text}"


class ModelHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = next(m["content"] for m in reversed(asked["messages"]) if m["role"] == "user")
        # Long enough that a fault meets replies in progress.
        time.sleep(0.2)
        head = {"id": "echo", "created": 0, "model": "echo", "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
        message = {"role": "assistant", "content": reply_to(text)}
        if asked.get("stream"):
            choices = [{"index": 0, "delta": message, "finish_reason": None}], [{"index": 0, "delta": {}, "finish_reason": "stop"}]
            chunks = [json.dumps({**head, "object": "chat.completion.chunk", "choices": choice}) for choice in choices]
            self.answer("text/event-stream", "".join(f"data: {chunk}\n\n" for chunk in [*chunks, "[DONE]"]))
        else:
            choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
            self.answer("application/json", json.dumps({**head, "object": "chat.completion", "choices": choices}))

    def answer(self, content_type, body):
        data = body.encode()
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(data)

    def log_message(self, *_):
        pass


class ModelServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, *_):
        """A caller that hangs up is no error."""


def start_model():
    server = ModelServer(("127.0.0.1", 0), ModelHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@dataclass
class Attempt:
    server: int
    began: float
    ended: float
    status: int
    code: str | None
    body: dict | None
    has_turn: bool
    is_replay: bool

    @property
    def is_unknown(self):
        return self.status == 0 or self.code in ("outcome_unknown", "idempotency_key_in_flight")


@dataclass
class Message:
    number: int
    api: str
    text: str
    attempts: list = field(default_factory=list)

    @property
    def acknowledged(self):
        return any(attempt.status == 200 for attempt in self.attempts)

    @property
    def is_unknown(self):
        """Only a response to the first request, or its replay, decides: a repeat that is refused says nothing about it."""
        last = self.attempts[-1]
        if last.status == 200 or last.is_replay:
            return False
        return any(attempt.is_unknown for attempt in self.attempts)

    @property
    def is_refused(self):
        return not self.acknowledged and not self.is_unknown


class Load:
    """Sends at a fixed rate, whether or not responses arrive, to both APIs and all servers in turn."""

    def __init__(self, cluster, name, rate):
        self.cluster, self.name, self.rate = cluster, name, rate
        self.messages = []
        self.threads = []
        self.stopping = threading.Event()
        self.conversations = [self.create("widget"), self.create("api")]
        self.thread = threading.Thread(target=self.send_all, daemon=True)

    def create(self, kind):
        ids = []
        for number in range(CONVERSATIONS):
            url = f"http://{self.cluster.urls[number % len(self.cluster.urls)]}/v1/conversations"
            headers = {"authorization": f"Bearer {self.cluster.key}"}
            body = {"assistant_id": ASSISTANT, "type": kind}

            def post(url=url, headers=headers, body=body):
                status, text = request("POST", url, body, headers, 10)
                return json.loads(text)["data"] if status in (200, 201) else None

            data = wait_for("a conversation", post, 30)
            ids.append(data["widget_uuid"] if kind == "widget" else data["id"])
        return ids

    def start(self):
        self.thread.start()

    def stop(self):
        """Stops sending, and waits for the outcomes."""
        self.stopping.set()
        self.thread.join()
        for thread in self.threads:
            thread.join(PATIENCE + 80)

    def send_all(self):
        began = time.monotonic()
        while not self.stopping.is_set():
            number = len(self.messages)
            message = Message(number, "widget" if number % 2 == 0 else "platform", f"{self.name} {number}")
            self.messages.append(message)
            thread = threading.Thread(target=self.deliver, args=(message,), daemon=True)
            self.threads.append(thread)
            thread.start()
            time.sleep(max(0.0, began + (number + 1) / self.rate - time.monotonic()))

    def deliver(self, message):
        """As the documentation asks of clients: an unknown outcome is resolved by a repeat with the same key."""
        turn = message.number // 2
        # A conversation meets all servers.
        server = (turn + turn // CONVERSATIONS) % len(self.cluster.urls)
        end = time.monotonic() + PATIENCE
        while True:
            message.attempts.append(self.attempt(message, turn % CONVERSATIONS, server))
            if not message.is_unknown or time.monotonic() > end:
                return
            server = (server + 1) % len(self.cluster.urls)
            time.sleep(1)

    def attempt(self, message, conversation, server):
        headers = {"content-type": "application/json", "idempotency-key": message.text.replace(" ", "-")}
        if message.api == "widget":
            path = f"/api/conversations/{self.conversations[0][conversation]}/messages"
            body = {"message": message.text}
        else:
            path = "/v1/messages"
            headers["authorization"] = f"Bearer {self.cluster.key}"
            body = {
                "conversation_id": self.conversations[1][conversation],
                "sender_id": "usr_load", "sender_type": "user", "text": message.text,
            }
        began = time.monotonic()
        status, code, answer, has_turn, is_replay = 0, None, None, False, False
        connection = http.client.HTTPConnection(self.cluster.urls[server], timeout=70)
        try:
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read()
            status, code = response.status, response.getheader("rejoinder-error")
            has_turn = response.getheader("rejoinder-turn") is not None
            is_replay = response.getheader("idempotent-replayed") is not None
            answer = json.loads(text)
        except (OSError, http.client.HTTPException, ValueError) as error:
            code = code or type(error).__name__
        finally:
            connection.close()
        return Attempt(server, began, time.monotonic(), status, code, answer, has_turn, is_replay)


class Readiness:
    """Asks /readyz of one server, ten times a second."""

    def __init__(self, url, stopping):
        self.url, self.stopping = url, stopping
        # Time of the response, whether it was 200, and its reason.
        self.samples = []
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while not self.stopping.is_set():
            status, text = 0, "no response"
            with suppress(OSError, http.client.HTTPException):
                status, text = request("GET", f"http://{self.url}/readyz", timeout=10)
            self.samples.append((time.monotonic(), status == 200, text))
            time.sleep(0.1)


SESSIONS_IN_RECOVERY = """
select count(*) from pg_stat_activity
where usename = 'rejoinder' and pg_is_in_recovery() and backend_start < now() - interval '1 second'
"""


class Sessions:
    """Counts the sessions of Rejoinder on a server in recovery, once a second; those that were just made do not count."""

    def __init__(self, node, stopping):
        self.node, self.stopping = node, stopping
        self.samples = []
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while not self.stopping.is_set():
            with suppress(psycopg.Error):
                with self.node.connect() as connection:
                    count = connection.execute(SESSIONS_IN_RECOVERY).fetchone()[0]
                    self.samples.append((time.monotonic(), count))
            time.sleep(1)
