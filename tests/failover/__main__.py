"""Causes faults in a PostgreSQL cluster under load, and prints what they did; `scripts/failover` prepares and starts it."""

import argparse
import signal
import sys
import threading
import time
from contextlib import suppress

from cluster import Cluster, Stuck, http, signal_all
from load import Load, Readiness, Sessions, start_model
from verdict import Verdict, observe_clients, observe_database, observe_readiness, wait_until_ended

# Before a fault.
WARM_UP = 8


def switchover(cluster):
    leader = cluster.leader()
    url = f"http://127.0.0.1:{leader.rest_port}/switchover"
    # Answers when it is done; a refusal would make the run meaningless.
    answer = []

    def post():
        with suppress(OSError):
            answer.append(http("POST", url, {"leader": leader.name}, timeout=60))

    thread = threading.Thread(target=post, daemon=True)
    thread.start()

    def check():
        thread.join()
        if not answer or answer[0][0] != 200:
            raise Stuck(f"the switchover was refused: {answer}")

    return check


def kill_postmaster(cluster):
    cluster.leader().postmaster().kill()


def kill_node(cluster):
    node = cluster.leader()
    node.kill()
    return node.patroni.start


def freeze_node(cluster):
    return freeze(cluster.leader().all())


def freeze_postgres(cluster):
    return freeze(cluster.leader().postgres())


def freeze(processes):
    signal_all(processes, signal.SIGSTOP)
    return lambda: signal_all(processes, signal.SIGCONT)


def restart_haproxy(cluster):
    cluster.haproxy.process.terminate()
    cluster.haproxy.process.wait()
    cluster.haproxy.start()


# Each returns what repairs or checks it afterwards, if anything.
FAULTS = {
    "switchover": switchover,
    "kill-postmaster": kill_postmaster,
    "kill-node": kill_node,
    "freeze-node": freeze_node,
    "freeze-postgres": freeze_postgres,
    "restart-haproxy": restart_haproxy,
}
# Takes 10 s at most, whatever the ttl.
WITHOUT_ELECTION = ("switchover", "restart-haproxy")


def run_fault(cluster, name, number, options):
    cluster.wait_until_healthy()
    stopping = threading.Event()
    load = Load(cluster, f"{name}-{number}", options.rate)
    readiness = [Readiness(url, stopping) for url in cluster.urls]
    sessions = [Sessions(node, stopping) for node in cluster.nodes]
    load.start()
    time.sleep(WARM_UP)
    fault = time.monotonic()
    repair = FAULTS[name](cluster)
    if name in WITHOUT_ELECTION or repair is None:
        time.sleep(15)
    else:
        # The node returns while the load continues: it must not take back what others have written since.
        time.sleep(options.ttl + 15)
    if repair is not None:
        repair()
    time.sleep(options.after)
    ended = time.monotonic()
    load.stop()
    verdict = Verdict()
    verdict.open = wait_until_ended(cluster, 120)
    stopping.set()
    observe_clients(verdict, load, fault, ended)
    observe_readiness(verdict, load, readiness, fault, ended)
    observe_database(verdict, cluster, load)
    verdict.sessions = max((count for watch in sessions for at, count in watch.samples if at > fault + 3), default=0)
    verdict.judge(10 if name in WITHOUT_ELECTION else options.ttl + 5)
    if options.verbose:
        trace(load, readiness, fault)
    return verdict


def trace(load, readiness, fault):
    """The answers of each second and the changes of /readyz, from the fault on."""
    seconds = {}
    for message in load.messages:
        for a in message.attempts:
            key = f"{message.api} {a.status} {a.code or ''}".strip()
            counts = seconds.setdefault(int(a.ended - fault), {})
            counts[key] = counts.get(key, 0) + 1
    for second in sorted(seconds):
        print(f"  {second:4} s  {seconds[second]}", file=sys.stderr)
    for watch in readiness:
        last = None
        for at, ready, reason in watch.samples:
            if (ready, reason) != last:
                print(f"  {at - fault:6.1f} s  {watch.url} ready: {ready} {reason.strip()[:200]}", file=sys.stderr)
            last = (ready, reason)
        print(f"  {watch.samples[-1][0] - fault:6.1f} s  {watch.url}: the last of {len(watch.samples)} answers", file=sys.stderr)


COLUMNS = [
    ("fault", 16), ("mode", 12), ("old sessions", 13), ("sent", 6), ("acked", 6), ("gap", 6), ("lost", 5), ("doubled", 8),
    ("charged twice", 14), ("wrong", 6), ("failed", 7), ("open", 5), ("ready", 6), ("early", 6), ("flaps", 6),
    ("refusal", 8), ("on standby", 11),
]


def print_row(cells):
    widths = [width for _, width in COLUMNS]
    texts = [f"{cell:<{width}}" for cell, width in zip(cells[:3], widths[:3])]
    numbers = [f"{cell:>{width}}" for cell, width in zip(cells[3:], widths[3:])]
    print("".join(texts + numbers), flush=True)


def row(name, mode, sessions, v):
    ready = "-" if v.ready is None else f"{v.ready:.1f}"
    return [
        name, mode, sessions, v.sent, v.acknowledged, f"{v.gap:.1f}", v.lost, v.doubled, v.charged_twice, v.wrong,
        v.failed, v.open, ready, f"{v.early:.1f}", v.flaps, f"{v.refusal:.1f}", v.sessions,
    ]


def run_cluster(cluster, mode, sessions, options, rows, problems):
    """All faults, one after the other, in one cluster."""
    cluster.start()
    for number, name in enumerate(options.fault):
        run = f"{name}, {mode}, sessions {sessions}"
        print(f"failover: {run}", file=sys.stderr)
        verdict = run_fault(cluster, name, number, options)
        rows.append(row(name, mode, sessions, verdict))
        problems += [f"{run}: {problem}" for problem in verdict.problems]
    cluster.wait_until_healthy()
    if reason := cluster.check_store():
        problems.append(f"{mode}, sessions {sessions}: {reason}")


def run_all(options):
    """True if every goal was met."""
    rows, problems = [], []
    model = start_model()
    for mode in options.mode:
        for sessions in options.sessions:
            cluster = Cluster(options, mode == "strict", sessions == "cut", model.server_port)
            try:
                run_cluster(cluster, mode, sessions, options, rows, problems)
            except Stuck as stuck:
                problems.append(f"{mode}, sessions {sessions}: {stuck}")
            finally:
                cluster.close(options.keep)
    print_row([name for name, _ in COLUMNS])
    for cells in rows:
        print_row(cells)
    for problem in problems:
        print(f"failover: {problem}", file=sys.stderr)
    return not problems


def main():
    parser = argparse.ArgumentParser(prog="scripts/failover", description=__doc__)
    parser.add_argument("--fault", action="append", choices=FAULTS, help="only this one; may be repeated")
    parser.add_argument("--mode", action="append", choices=["synchronous", "strict"], help="only this one")
    parser.add_argument("--sessions", action="append", choices=["cut", "left"],
                        help="with (cut) or without (left) `on-marked-down shutdown-sessions`; only this one")
    parser.add_argument("--short", action="store_true", help="synchronous, sessions left, three faults")
    parser.add_argument("--ttl", type=int, default=20, help="of Patroni, in seconds")
    parser.add_argument("--rate", type=int, default=50, help="messages a second")
    parser.add_argument("--after", type=int, default=20, help="seconds of load after the repair")
    parser.add_argument("--keep", action="store_true", help="keep the logs")
    parser.add_argument("--verbose", action="store_true", help="print the answers of each second")
    parser.add_argument("--rejoinder", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--bin-dir", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    short = options.short
    options.fault = options.fault or (["switchover", "kill-node", "freeze-postgres"] if short else list(FAULTS))
    options.mode = options.mode or (["synchronous"] if short else ["synchronous", "strict"])
    options.sessions = options.sessions or (["left"] if short else ["cut", "left"])
    # So that `finally` ends the programs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(0 if run_all(options) else 1)


if __name__ == "__main__":
    main()
