"""Three nodes of Patroni, etcd, HAProxy and Rejoinder on 127.0.0.1, and what a fault does to them."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg

ROOT = Path(__file__).resolve().parents[2]
HAPROXY_CFG = ROOT / "ops/postgresql/haproxy.cfg"
NODES = 3
SERVERS = 2

WORKSPACE = """
[workspace]
slug = "failover"
name = "Failover"
balance = "100000.00"
default_assistant = "desk"
pricing = { widget = "0.01", api = "0.003" }

[[assistants]]
slug = "desk"
id = "550e8400-e29b-41d4-a716-446655440000"
name = "Desk"
system_prompt = "You are the desk."
"""
ASSISTANT = "550e8400-e29b-41d4-a716-446655440000"


class Stuck(Exception):
    """The cluster does not do what a run needs; the next cluster may."""


def spare_port():
    """Below the range of ephemeral ports, so that no outgoing connection takes it while a program restarts."""
    while True:
        port = 20000 + int.from_bytes(os.urandom(2), "big") % 12000
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for(what, look, seconds):
    """Calls `look` until it returns something true; errors of a connection count as false."""
    end = time.monotonic() + seconds
    error = None
    while time.monotonic() < end:
        try:
            if found := look():
                return found
        except (OSError, psycopg.Error, ValueError) as failed:
            error = failed
        time.sleep(0.1)
    raise Stuck(f"waited {seconds} s for {what}: {error}")


def http(method, url, body=None, headers=None, timeout=5):
    """Status and text; an error status is no exception."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data, {"content-type": "application/json", **(headers or {})}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def signal_all(processes, number):
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


class Program:
    """A program that can be started again, with its log in the folder of the run."""

    def __init__(self, name, command, folder, env=None, user=None):
        self.name, self.command, self.folder = name, command, folder
        self.env, self.user = env, user
        self.process = None

    def start(self):
        options = {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}
        with open(self.folder / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                env=self.env, start_new_session=True, **options,
            )

    def tree(self):
        """The program and its children."""
        if self.process is None or self.process.poll() is not None:
            return []
        with suppress(psutil.NoSuchProcess):
            main = psutil.Process(self.process.pid)
            return [main, *main.children(recursive=True)]
        return []

    def kill(self):
        signal_all(self.tree(), signal.SIGKILL)
        if self.process is not None:
            self.process.wait()


class Node:
    """Patroni and its PostgreSQL."""

    def __init__(self, cluster, number):
        self.name = f"node{number}"
        self.port, self.rest_port = spare_port(), spare_port()
        self.folder = cluster.folder / self.name
        self.folder.mkdir()
        config = self.folder / "patroni.json"
        # JSON is YAML.
        config.write_text(json.dumps(self.config(cluster), indent=2))
        if cluster.owner is not None:
            shutil.chown(self.folder, cluster.owner, cluster.owner)
        patroni = Path(sys.executable).with_name("patroni")
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C"}
        self.patroni = Program("patroni", [patroni, config], self.folder, env, cluster.owner)

    def config(self, cluster):
        return {
            "scope": "rejoinder",
            "name": self.name,
            "restapi": {"listen": f"127.0.0.1:{self.rest_port}", "connect_address": f"127.0.0.1:{self.rest_port}"},
            "etcd3": {"host": f"127.0.0.1:{cluster.etcd_port}"},
            "bootstrap": {
                "dcs": {
                    "ttl": cluster.ttl, "loop_wait": 5, "retry_timeout": 5,
                    "synchronous_mode": True, "synchronous_mode_strict": cluster.strict,
                    # Of two synchronous standbys the one that is further is promoted, so the other need not be rewound first.
                    "synchronous_node_count": NODES - 1,
                    "postgresql": {"use_pg_rewind": True, "parameters": {"max_connections": 100}},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self.folder / "data"),
                "bin_dir": cluster.bin_dir,
                # A spread checkpoint takes minutes.
                "basebackup": [{"checkpoint": "fast"}],
                "authentication": {
                    name: {"username": user, "password": "unused"}
                    for name, user in [("superuser", "postgres"), ("replication", "replicator"), ("rewind", "rewind")]
                },
                "parameters": {"unix_socket_directories": str(self.folder), "logging_collector": "off"},
                "pg_hba": ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
            },
        }

    def status(self):
        return json.loads(http("GET", f"http://127.0.0.1:{self.rest_port}/patroni", timeout=2)[1])

    def postmaster(self):
        pid = int((self.folder / "data/postmaster.pid").read_text().split()[0])
        return psutil.Process(pid)

    def postgres(self):
        """The postmaster first, so that it starts no process while the others are stopped."""
        with suppress(OSError, ValueError, IndexError, psutil.NoSuchProcess):
            postmaster = self.postmaster()
            return [postmaster, *postmaster.children(recursive=True)]
        return []

    def connect(self, database="postgres"):
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=database,
            connect_timeout=2, autocommit=True, options="-c statement_timeout=60s",
        )

    def all(self):
        return [*self.patroni.tree(), *self.postgres()]

    def kill(self):
        processes = self.all()
        signal_all(processes, signal.SIGKILL)
        psutil.wait_procs(processes, timeout=10)
        if self.patroni.process is not None:
            self.patroni.process.wait()


class Cluster:
    """Starts everything; `close` ends it."""

    def __init__(self, options, strict, cut_sessions, model_port):
        self.strict, self.ttl = strict, options.ttl
        self.rejoinder = str(Path(options.rejoinder).resolve())
        self.bin_dir = options.bin_dir
        self.owner = "postgres" if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="rejoinder-failover."))
        self.folder.chmod(0o755)
        self.etcd_port, self.database_port = spare_port(), spare_port()
        url = f"http://127.0.0.1:{self.etcd_port}"
        peer = f"http://127.0.0.1:{spare_port()}"
        self.etcd = Program("etcd", [
            "etcd", "--data-dir", "etcd", "--listen-client-urls", url, "--advertise-client-urls", url,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
        ], self.folder)
        self.nodes = [Node(self, number) for number in range(1, NODES + 1)]
        self.haproxy = self.proxy(cut_sessions)
        settings = self.settings(model_port)
        (self.folder / "workspace.toml").write_text(WORKSPACE)
        self.urls = []
        self.servers = []
        for number in range(1, SERVERS + 1):
            listen = f"127.0.0.1:{spare_port()}"
            self.urls.append(listen)
            env = {**settings, "REJOINDER_LISTEN": listen}
            self.servers.append(Program(f"rejoinder{number}", [self.rejoinder, "serve"], self.folder, env))
        self.command_env = settings

    def proxy(self, cut_sessions):
        """HAProxy with the file of ops/, in which only addresses are replaced."""
        text = HAPROXY_CFG.read_text().replace("127.0.0.1:5000", f"127.0.0.1:{self.database_port}")
        for number, node in enumerate(self.nodes, 1):
            text, replaced = re.subn(
                rf"10\.0\.0\.{number}:5432 check port 8008",
                f"127.0.0.1:{node.port} check port {node.rest_port}", text,
            )
            assert replaced == 1, HAPROXY_CFG
        if not cut_sessions:
            text = text.replace(" on-marked-down shutdown-sessions", "")
        config = self.folder / "haproxy.cfg"
        config.write_text(text)
        return Program("haproxy", [shutil.which("haproxy") or "/usr/sbin/haproxy", "-db", "-f", str(config)], self.folder)

    def settings(self, model_port):
        return {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": f"postgres://rejoinder@127.0.0.1:{self.database_port}/rejoinder",
            "REJOINDER_DATA_DIR": "data",
            "REJOINDER_DEMO": "false",
            "REJOINDER_LIMITS__ENABLED": "false",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{model_port}/v1",
            "OPENAI_MODEL": "echo",
            "OPENAI_API_KEY": "unused",
        }

    def start(self):
        self.etcd.start()
        wait_for("etcd", lambda: http("GET", f"http://127.0.0.1:{self.etcd_port}/health")[0] == 200, 30)
        self.nodes[0].patroni.start()
        leader = wait_for("the first primary", self.leader, 60)
        for node in self.nodes[1:]:
            node.patroni.start()
        with wait_for("PostgreSQL", leader.connect, 10) as connection:
            connection.execute("create role rejoinder login")
            connection.execute("create database rejoinder owner rejoinder")
        self.wait_until_healthy()
        self.haproxy.start()
        wait_for("HAProxy", lambda: socket.create_connection(("127.0.0.1", self.database_port), 1).close() or True, 10)
        # HAProxy takes all servers for healthy until it has checked them.
        time.sleep(4)
        self.run("migrate")
        self.run("apply", "workspace.toml")
        key = self.run("keys", "create", "--workspace", "failover", "--name", "failover", "--json")
        self.key = json.loads(key)["secret"]
        for server in self.servers:
            server.start()
        for url in self.urls:
            wait_for("Rejoinder", lambda url=url: http("GET", f"http://{url}/readyz")[0] == 200, 30)

    def run(self, *arguments):
        done = subprocess.run(
            [self.rejoinder, *arguments], cwd=self.folder, env=self.command_env, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise Stuck(f"rejoinder {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def check_store(self):
        """The reason why the stored rows are not intact; `None` if they are."""
        env = {**self.command_env, "REJOINDER_LISTEN": "127.0.0.1:0"}
        done = subprocess.run(
            [self.rejoinder, "check", "--store", "--json"], cwd=self.folder, env=env, capture_output=True, text=True
        )
        integrity = json.loads(done.stdout)["integrity"]
        return None if integrity["ok"] else integrity["detail"]

    def leader(self):
        """The node whose Patroni says that it is the primary."""
        for node in self.nodes:
            with suppress(OSError, ValueError):
                if http("GET", f"http://127.0.0.1:{node.rest_port}/primary", timeout=2)[0] == 200:
                    return node
        return None

    def wait_until_healthy(self):
        """One primary and two standbys that stream from it, one of them synchronous."""

        def healthy():
            leader = self.leader()
            if leader is None or any(node.status()["state"] not in ("running", "streaming") for node in self.nodes):
                return False
            with leader.connect() as connection:
                states = connection.execute("select state, sync_state from pg_stat_replication").fetchall()
            return (
                [state for state, _ in states].count("streaming") == NODES - 1
                and any(sync != "async" for _, sync in states)
            )

        wait_for("a healthy cluster", healthy, 120)

    def close(self, keep):
        for server in self.servers:
            server.kill()
        self.haproxy.kill()
        for node in self.nodes:
            node.kill()
        self.etcd.kill()
        if keep:
            print(f"failover: the logs are in {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
