"""What a run must show, from the clients' records and from the database."""

import time
from dataclasses import dataclass, field

import psycopg

from load import reply_to

PRICES = {"widget": 10_000, "platform": 3_000}
UNAVAILABLE = "The service is temporarily unavailable"
# The refusals of both contracts while a database fails over.
REFUSALS = {
    "platform": {
        500: lambda body: body == {"status": "error", "message": "Failed to enqueue message. Please retry.", "data": None},
        429: lambda body: body["status"] == "error" and body["data"] is None,
    },
    "widget": {
        400: lambda body: body["status"] is False and body["error"].startswith("Failed to process message: "),
        503: lambda body: body["status"] is False and bool(body["error"]),
    },
}

STORED = """
select q.text, count(distinct q.id), count(distinct t.id), count(distinct r.id),
       coalesce(bool_or(t.state in ('waiting', 'queued', 'running')), false),
       coalesce(bool_or(t.state = 'completed'), false), min(r.text)
from messages q
left join turns t on t.workspace_id = q.workspace_id and t.message_id = q.id
left join messages r on r.workspace_id = q.workspace_id and r.conversation_id = q.conversation_id and r.reply_to_id = q.id
where q.sender_type = 'user' and q.text like %s
group by q.text
"""
CHARGES = """
select q.text, count(*) filter (where l.kind = 'charge'), sum(l.amount)
from messages q
join turns t on t.workspace_id = q.workspace_id and t.message_id = q.id
join ledger l on l.workspace_id = t.workspace_id and l.turn_id = t.id
where q.text like %s
group by q.text
"""
BALANCE = """
select s.balance - (select coalesce(sum(amount), 0) from ledger l where l.workspace_id = s.workspace_id) from workspace_state s
"""
OPEN = "select count(*) from turns where state in ('waiting', 'queued', 'running')"


@dataclass
class Verdict:
    sent: int = 0
    acknowledged: int = 0
    gap: float = 0.0
    lost: int = 0
    doubled: int = 0
    charged_twice: int = 0
    wrong: int = 0
    failed: int = 0
    open: int = 0
    ready: float | None = None
    early: float = 0.0
    flaps: int = 0
    refusal: float = 0.0
    sessions: int = 0
    problems: list = field(default_factory=list)

    def judge(self, limit):
        """Compares with the goals; `limit` is that of the gap."""
        for name in ("lost", "doubled", "charged_twice", "wrong", "open", "sessions", "flaps"):
            if getattr(self, name) > 0:
                self.problems.append(f"{name.replace('_', ' ')}: {getattr(self, name)}")
        for name, most in (("gap", limit), ("early", 1.0), ("refusal", 5.0)):
            if getattr(self, name) > most:
                self.problems.append(f"{name}: {getattr(self, name):.1f} s, more than {most:.0f} s")


def wait_until_ended(cluster, seconds):
    """The number of turns that are open when the time is over."""
    end = time.monotonic() + seconds
    left = -1
    while time.monotonic() < end and left != 0:
        try:
            with database(cluster) as connection:
                left = connection.execute(OPEN).fetchone()[0]
        except psycopg.Error:
            pass
        time.sleep(0.5)
    return left


def database(cluster):
    leader = cluster.leader()
    if leader is None:
        raise psycopg.OperationalError("there is no primary")
    return leader.connect("rejoinder")


def longest_gap(times, began, ended):
    """The longest time without one of `times`, as its beginning and its end."""
    times = [began, *sorted(time for time in times if began < time < ended), ended]
    return max(zip(times, times[1:]), key=lambda pair: pair[1] - pair[0])


def observe_clients(verdict, load, fault, ended):
    times = [a.ended for m in load.messages for a in m.attempts if a.status == 200]
    before, after = longest_gap(times, fault - 1, ended)
    verdict.gap = after - before
    verdict.sent = len(load.messages)
    verdict.acknowledged = sum(message.acknowledged for message in load.messages)
    odd = {}
    for message in load.messages:
        for attempt in message.attempts:
            if attempt.status == 200:
                verdict.wrong += message.api == "widget" and attempt.body.get("message") != reply_to(message.text)
                continue
            if not attempt.has_turn:
                verdict.refusal = max(verdict.refusal, attempt.ended - attempt.began)
            in_words = REFUSALS[message.api].get(attempt.status)
            if in_words is None or attempt.body is None or not in_words(attempt.body):
                name = f"{message.api} {attempt.status} {attempt.code}"
                odd[name] = odd.get(name, 0) + 1
    verdict.problems += [f"answers outside of the contract: {count} of {name}" for name, count in odd.items()]


def observe_readiness(verdict, load, readiness, fault, ended):
    for server, watch in enumerate(readiness):
        times = [a.ended for m in load.messages for a in m.attempts if a.status == 200 and a.server == server]
        before, after = longest_gap(times, fault - 1, ended)
        samples = [(at, ready) for at, ready, _ in watch.samples if fault <= at <= ended]
        first_unready = next((at for at, ready in samples if not ready), None)
        if first_unready is None:
            # It said 200 throughout a gap that is too long to be a coincidence.
            if after - before > 2:
                verdict.early = max(verdict.early, after - max(before, fault))
            continue
        ready = next((at for at, ready in samples if ready and at > first_unready), None)
        if ready is None:
            verdict.problems.append(f"server {server + 1} never became ready")
            continue
        verdict.ready = max(verdict.ready or 0.0, ready - fault)
        if before < ready:
            verdict.early = max(verdict.early, after - ready)
        later = [is_ready for at, is_ready in samples if at >= ready]
        verdict.flaps += sum(1 for first, second in zip(later, later[1:]) if first and not second)


def observe_database(verdict, cluster, load):
    pattern = f"{load.name} %"
    with database(cluster) as connection:
        stored = {row[0]: row[1:] for row in connection.execute(STORED, [pattern])}
        charges = {row[0]: row[1:] for row in connection.execute(CHARGES, [pattern])}
        unbalanced = [row[0] for row in connection.execute(BALANCE) if row[0] != 0]
    if unbalanced:
        verdict.problems.append(f"balances that differ from their ledgers by {unbalanced}")
    answered = 0
    for message in load.messages:
        copies, turns, replies, is_open, is_completed, reply = stored.get(message.text, (0, 0, 0, False, False, None))
        if message.acknowledged and copies == 0:
            verdict.lost += 1
        if message.acknowledged and copies > 0 and not is_completed and not is_open:
            verdict.failed += 1
        # Any answer but 200 is final, unless the outcome is unknown.
        answered += message.is_refused and is_completed
        if copies > 1 or turns > 1 or replies > 1:
            verdict.doubled += 1
        # The widget's wrong replies were counted where they arrived.
        if reply is not None and reply != reply_to(message.text):
            verdict.wrong += message.api == "platform" or not message.acknowledged
        count, amount = charges.get(message.text, (0, 0))
        if count > 1:
            verdict.charged_twice += 1
        due = -PRICES[message.api] if is_open or is_completed else 0
        if amount != due:
            verdict.problems.append(f"{message.text}: its ledger entries are {amount} instead of {due}")
    if answered > 0:
        verdict.problems.append(f"refused, but answered and charged: {answered}")
