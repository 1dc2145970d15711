#!/usr/bin/env python3
"""redis-py's client of Redis Cluster: every PHEAN command finds the node of its tube, and workers follow their tubes.

    tests/clients/cluster.py MODULE [tls]     (PHEAN_TEST_SERVER names another redis-server)

It starts a cluster of three nodes by itself, goes through the commands in RESP2 and in RESP3, and stops it. With `tls`
all connections are encrypted, those between the nodes too, and no node listens without.
"""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

MODULE = sys.argv[1]
TLS = sys.argv[2:] == ["tls"]
SERVER = os.environ.get("PHEAN_TEST_SERVER", "redis-server")
NODES = 3
SLOTS = 16384

# A command line for each command that names a tube. ID is that of a job that is buried, LEASE that of one that is
# reserved. The cluster has the list of all commands, so that none can be forgotten here.
LINES = """
PHEAN.PUT TUBE body PRI 1
PHEAN.MPUT TUBE 2 one two
PHEAN.RESERVE TUBE TIMEOUT 1
PHEAN.MRESERVE 1 TUBE COUNT 2
PHEAN.TOUCH TUBE LEASE
PHEAN.JOB TUBE LEASE
PHEAN.CLAIMED TUBE
PHEAN.RELEASE TUBE LEASE
PHEAN.RESERVEJOB TUBE ID
PHEAN.BURY TUBE ID
PHEAN.KICKJOB TUBE ID
PHEAN.PRIORITIZE TUBE ID 7
PHEAN.DELAY TUBE ID 100
PHEAN.KICK TUBE 10
PHEAN.PAUSE TUBE 0
PHEAN.PEEK TUBE READY
PHEAN.SCAN TUBE 0
PHEAN.STATS TUBE
PHEAN.DELETE TUBE ID
PHEAN.CLEAR TUBE
"""

# These are no client's, or name no tube: they are asked of every node.
OTHERS = {"PHEAN.APPLY", "PHEAN.TUBES"}


def eventually(condition):
    bound = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < bound, "what was waited for did not happen in 60 s"
        time.sleep(0.01)


def free_port():
    """A port whose neighbour 10,000 above, where the cluster's bus listens, is free as well."""
    for port in range(7700 + os.getpid() % 1000, 30000):
        with socket.socket() as low, socket.socket() as high:
            try:
                low.bind(("127.0.0.1", port))
                high.bind(("127.0.0.1", port + 10000))
            except OSError:
                continue
            return port
    raise AssertionError("there is no free port")


class Cluster:
    def __init__(self, folder):
        self.folder = folder
        self.processes = []
        self.ports = []
        self.clients = {}

    def start(self):
        if TLS:
            self.certificate()
        for _ in range(NODES):
            self.start_node()
        addresses = [f"127.0.0.1:{port}" for port in self.ports]
        self.manage("create", *addresses, "--cluster-yes")
        for port in self.ports:
            node = self.node(port)
            eventually(lambda: node.execute_command("CLUSTER INFO")["cluster_state"] == "ok")

    def certificate(self):
        """One certificate, which signs itself, for all nodes and clients."""
        words = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=phean -addext subjectAltName=IP:127.0.0.1"
        files = ["-keyout", self.folder / "key.pem", "-out", self.folder / "cert.pem"]
        subprocess.run(["openssl", *words.split(), *files], check=True, capture_output=True)

    def start_node(self):
        port = free_port()
        own = self.folder / str(port)
        own.mkdir()
        settings = ["--loadmodule", MODULE, "--cluster-enabled", "yes", "--save", "", "--dir", str(own)]
        if TLS:
            settings += ["--port", "0", "--tls-port", str(port), "--tls-cluster", "yes"]
            settings += ["--tls-cert-file", str(self.folder / "cert.pem")]
            settings += ["--tls-key-file", str(self.folder / "key.pem")]
            settings += ["--tls-ca-cert-file", str(self.folder / "cert.pem")]
        else:
            settings += ["--port", str(port)]
        command = [SERVER, "--bind", "127.0.0.1", "--logfile", str(own / "log"), *settings]
        self.processes.append(subprocess.Popen(command))
        self.ports.append(port)

        def answers():
            assert self.processes[-1].poll() is None, (own / "log").read_text()
            try:
                return self.node(port).ping()
            except redis.ConnectionError:
                return False

        eventually(answers)

    def options(self):
        # No retries of commands whose reply is late, and a read timeout above every TIMEOUT.
        options = {"socket_timeout": 60}
        if TLS:
            files = {"keyfile": "key.pem", "certfile": "cert.pem", "ca_certs": "cert.pem"}
            options |= {"ssl": True} | {f"ssl_{name}": str(self.folder / file) for name, file in files.items()}
        return options

    def node(self, port):
        if port not in self.clients:
            retry = Retry(NoBackoff(), 0)
            self.clients[port] = redis.Redis(host="127.0.0.1", port=port, protocol=2, retry=retry, **self.options())
        return self.clients[port]

    def client(self, protocol):
        return RedisCluster(host="127.0.0.1", port=self.ports[0], protocol=protocol, **self.options())

    def manage(self, *words):
        keys = ["--cert", "cert.pem", "--key", "key.pem", "--cacert", "cert.pem"]
        tls = ["--tls", *keys] if TLS else []
        done = subprocess.run(
            ["redis-cli", *tls, "--cluster", *words], cwd=self.folder, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def home(self, tube):
        """The port of the node that serves a tube, as all nodes see it."""

        def seen(port):
            try:
                self.node(port).execute_command("PHEAN.STATS", tube)
            except redis.exceptions.MovedError as error:
                return error.port
            return port

        eventually(lambda: len({seen(port) for port in self.ports}) == 1)
        return seen(self.ports[0])

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(30)
        for port in self.ports:
            log = (self.folder / str(port) / "log").read_text()
            for word in ["BUG REPORT", "Guru Meditation", "panicked at", "== CRITICAL =="]:
                assert word not in log, log


def lease_of(reply):
    return reply[1].decode()


def every_command(cluster, protocol):
    """Through a client that knows nothing of this module but what COMMAND tells it."""
    client = cluster.client(protocol)
    known = {line.split()[0] for line in LINES.split("\n") if line}
    there = client.execute_command("COMMAND LIST", "FILTERBY", "MODULE", "phean", target_nodes=RedisCluster.RANDOM)
    assert {name.decode().upper() for name in there} == known | OTHERS, there
    served = set()
    for number in range(9):
        tube = f"cluster:py{protocol}:{number}"
        home = cluster.home(tube)
        served.add(home)
        client.execute_command("PHEAN.PUT", tube, "first", "TTR", "1000")
        lease = lease_of(client.execute_command("PHEAN.RESERVE", tube))
        id = client.execute_command("PHEAN.PUT", tube, "second", "DELAY", "1000")
        for line in LINES.strip().split("\n"):
            words = [{"TUBE": tube, "LEASE": lease, "ID": id}.get(word, word) for word in line.split()]
            client.execute_command(*words)
            # It went where it belongs by itself, or was sent there: any other node says so.
            for port in cluster.ports:
                if port != home:
                    try:
                        cluster.node(port).execute_command(*words)
                    except redis.exceptions.MovedError as error:
                        assert error.port == home, f"{line}: {error}"
                    else:
                        raise AssertionError(f"{line} was run by a node that does not serve the tube")
    assert served == set(cluster.ports), "each node serves a tube"
    tubes = client.execute_command("PHEAN.TUBES", target_nodes=client.get_nodes())
    assert set(tubes) == {node.name for node in client.get_nodes()}, tubes
    client.close()


def a_worker_follows_its_tube(cluster, protocol):
    """A slot with a reserved job, and a worker who waits for the next one, moves to another node."""
    client = cluster.client(protocol)
    tube = f"cluster:py{protocol}:moves"
    home = cluster.home(tube)
    other = next(port for port in cluster.ports if port != home)
    client.execute_command("PHEAN.PUT", tube, "held", "TTR", "1000")
    lease = lease_of(client.execute_command("PHEAN.RESERVE", tube))
    replies = []

    def work():
        with cluster.client(protocol) as worker:
            replies.append(worker.execute_command("PHEAN.RESERVE", tube, "TIMEOUT", "50"))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def waiting(port):
        # Maps are flat in RESP2.
        stats = cluster.node(port).execute_command("PHEAN.STATS")
        return stats[stats.index(b"current-waiting") + 1]

    eventually(lambda: waiting(home) == 1)
    slot = client.keyslot(tube)
    ids = {port: cluster.node(port).execute_command("CLUSTER MYID").decode() for port in cluster.ports}
    old, new = cluster.node(home), cluster.node(other)
    new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[home])
    old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[other])
    old.execute_command("MIGRATE", "127.0.0.1", other, tube, 0, 30000)
    for port in [other, home] + [port for port in cluster.ports if port not in (home, other)]:
        cluster.node(port).execute_command("CLUSTER SETSLOT", slot, "NODE", ids[other])
    # The worker is told at once where its tube is, and waits on there.
    eventually(lambda: waiting(other) == 1)
    assert waiting(home) == 0
    client.execute_command("PHEAN.PUT", tube, "next")
    thread.join(60)
    assert replies and replies[0][2] == b"next", replies
    # The lease has gone along.
    assert client.execute_command("PHEAN.DELETE", tube, lease) == 1
    assert client.execute_command("PHEAN.DELETE", tube, lease_of(replies[0])) == 1
    client.close()


def main():
    with tempfile.TemporaryDirectory(prefix="phean-cluster-") as folder:
        cluster = Cluster(Path(folder))
        try:
            cluster.start()
            for protocol in (2, 3):
                every_command(cluster, protocol)
                a_worker_follows_its_tube(cluster, protocol)
        finally:
            cluster.stop()
    print(f"redis-py's cluster client reaches every tube with every command{', by TLS' if TLS else ''}.")


main()
