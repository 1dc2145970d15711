#!/usr/bin/env python3
"""README.md, word by word: its redis-cli sessions must answer what stands there, its workers in Python and (where php
has phpredis) in PHP and its Lua scripts must work, and redis-server must take its settings and those of
redis.conf.example.

    tests/clients/readme.py [PORT]            (6379)
    tests/clients/readme.py --write [PORT]    puts the server's own replies into README.md

The server must be new, as ids begin at 1 there; its data are gone at the end.
"""

import difflib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import redis

README = Path(__file__).parents[2] / "README.md"
EXAMPLE = README.with_name("redis.conf.example")
SERVER = os.environ.get("PHEAN_TEST_SERVER", "redis-server")
PROMPT = "127.0.0.1:6379> "
END = "--the end of this reply--"
LEASE = re.compile(r"\d+-\d{13,}")


class Cli:
    """One redis-cli, as a reader would use it."""

    def __init__(self, port):
        self.process = subprocess.Popen(
            ["redis-cli", "--no-raw", "-p", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, line):
        self.process.stdin.write(f'{line}\nECHO "{END}"\n')
        self.process.stdin.flush()
        reply = []
        while (got := self.process.stdout.readline()) != f'"{END}"\n':
            assert got, f"redis-cli ended at: {line}"
            reply.append(got)
        return "".join(reply)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def block(language):
    """Matches a block of code in a language; group 1 is the code."""
    return re.compile(rf"^```{language}\n(.*?)^```$", re.M | re.S)


def turns(session):
    """Splits a session into commands, each with the reply that follows it."""
    for turn in session.split(PROMPT)[1:]:
        command, _, reply = turn.partition("\n")
        yield command, reply


def alike(command, reply):
    """A reply without what differs from run to run: leases, times and clients."""
    reply = LEASE.sub("LEASE", reply)
    reply = re.sub(r'"\d+(\.\d+)?"', '"SECONDS"', reply)
    reply = re.sub(r"^\(\d+\.\d+s\)\n", "", reply, flags=re.M)
    if command.startswith("PHEAN.CLAIMED"):
        reply = re.sub(r"\(integer\) \d+", "(integer) CLIENT", reply)
    if command.startswith("ACL DRYRUN") and reply != "OK\n":
        reply = "refused, in the words of this version of Redis\n"
    return reply


class Sessions:
    """Runs the README's sessions, one after the other, in one redis-cli."""

    def __init__(self, port):
        self.cli = Cli(port)
        self.leases = {}
        self.count = 0
        self.wrong = 0

    def run(self, match):
        session = "".join(self.turn(*turn) for turn in turns(match[1]))
        return f"```console\n{session}```"

    def turn(self, command, wanted):
        sent = LEASE.sub(lambda lease: self.leases.get(lease[0], lease[0]), command)
        got = self.cli(sent)
        self.leases.update(zip(LEASE.findall(wanted), LEASE.findall(got)))
        self.count += 1
        a, b = alike(command, wanted), alike(command, got)
        if a != b:
            self.wrong += 1
            print(f"README.md: {command}", file=sys.stderr)
            sys.stderr.writelines(difflib.unified_diff(a.splitlines(True), b.splitlines(True), "README", "server"))
        return f"{PROMPT}{sent}\n{got}"


def eventually(condition, what):
    bound = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < bound, f"not in 30 s: {what}"
        time.sleep(0.01)


def run_worker(con, command, program, port):
    """The worker must finish three jobs, and end by itself when it is asked to."""
    assert program.count("6379") == 1
    # On a fresh tube, as its counters tell when the worker has done its work.
    con.delete("emails")

    def stat(name):
        facts = con.execute_command("PHEAN.STATS", "emails")
        facts = facts if isinstance(facts, dict) else dict(zip(facts[::2], facts[1::2]))
        return facts[name.encode()]

    con.execute_command("PHEAN.MPUT", "emails", 2, "one", "two")
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(program.replace("6379", str(port)))
        file.flush()
        worker = subprocess.Popen([command, file.name], stdout=subprocess.PIPE, text=True)
        try:
            eventually(lambda: stat("cmd-delete") == 2 and stat("current-waiting") == 1, "two jobs done")
            worker.send_signal(signal.SIGTERM)
            con.execute_command("PHEAN.PUT", "emails", "three")
            out, _ = worker.communicate(timeout=30)
        finally:
            worker.kill()
    assert (worker.returncode, stat("cmd-delete")) == (0, 3), out
    assert out.splitlines() == ["sending one", "sending two", "sending three"], out


def has_phpredis():
    code = 'exit(extension_loaded("redis") && extension_loaded("pcntl") ? 0 : 1);'
    return shutil.which("php") is not None and subprocess.run(["php", "-r", code]).returncode == 0


def run_follow_up(con, script):
    """The follow-up is put while the lease holds, and not again."""
    con.execute_command("PHEAN.PUT", "orders", "socks")
    lease = con.execute_command("PHEAN.RESERVE", "orders")[1]
    assert con.eval(script, 2, "orders", "parcels", lease, "pack socks") > 0
    assert con.eval(script, 2, "orders", "parcels", lease, "pack socks") is None
    assert con.execute_command("PHEAN.PEEK", "parcels", "READY")[1] == b"pack socks"
    assert con.execute_command("PHEAN.PEEK", "orders", "RESERVED") is None


def run_once(con, script):
    """A request that comes again gets the id of its job, and puts none; one that was refused can come again."""

    def put(request):
        return con.eval(script, 2, "once", f"once:{request}", "body", 60)

    con.config_set("phean.drain", "yes")
    try:
        put("a")
        raise AssertionError("a server that drains takes no jobs")
    except redis.ResponseError as error:
        assert "DRAINING" in str(error), error
    finally:
        con.config_set("phean.drain", "no")
    first = put("a")
    assert (put("a"), put("b")) == (first, first + 1)
    assert con.execute_command("PHEAN.PEEK", "once", first + 1) == [first + 1, b"body"]
    assert con.execute_command("PHEAN.PEEK", "once", first + 2) is None
    assert 0 < con.ttl("once:a") <= 60


def settings(con, text):
    """The blocks of redis.conf in a text. A block of text that begins a line with a setting's name is one, too."""
    names = {*con.config_get("*"), "loadmodule"}
    for code in block("conf").findall(text) + block("text").findall(text):
        if any(line.split()[:1] and line.split()[0] in names for line in code.splitlines()):
            yield code


def run_settings(con, conf):
    """A server of its own must start with them, and end as it is told. It listens to nothing but a socket in its
    folder."""
    [path] = [module["path"] for module in con.module_list() if module["name"] == "phean"]
    conf = re.sub("^loadmodule .*", lambda _: f'loadmodule "{path}"', conf, flags=re.M)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "redis.conf").write_text(conf)
        quiet = ["--port", "0", "--phean.port", "0"] if "loadmodule" in conf else ["--port", "0"]
        server = subprocess.Popen(
            [SERVER, f"{folder}/redis.conf", "--dir", folder, "--unixsocket", f"{folder}/socket", *quiet],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        log = []
        for line in server.stdout:
            log.append(line)
            if "eady to accept connections" in line:
                server.terminate()
        assert server.wait() == 0 and any("eady to accept" in line for line in log), conf + "".join(log)


def main():
    args = sys.argv[1:]
    write = "--write" in args
    port = int(next((arg for arg in args if arg.isdigit()), os.environ.get("PORT", 6379)))
    text = README.read_text()
    con = redis.Redis(port=port)
    assert con.dbsize() == 0 and con.info("phean")["phean_total_jobs"] == 0, "the server must be new"
    try:
        sessions = Sessions(port)
        written = block("console").sub(sessions.run, text)
        sessions.cli.close()
        if write:
            README.write_text(written)
        elif sessions.wrong:
            sys.exit(f"README.md: {sessions.wrong} of {sessions.count} replies are others now.")
        [python], [php] = block("python").findall(text), block("php").findall(text)
        [follow_up, once] = block("lua").findall(text)
        run_worker(con, sys.executable, python, port)
        if has_phpredis():
            run_worker(con, "php", f"<?php\n{php}", port)
        else:
            print("README.md: its PHP worker is left out, as php has no phpredis or no pcntl.")
        run_follow_up(con, follow_up)
        run_once(con, once)
        reader = redis.Redis(port=port, decode_responses=True)
        blocks = [*settings(reader, text), EXAMPLE.read_text()]
        assert len(blocks) > 2
        for conf in blocks:
            run_settings(reader, conf)
    finally:
        con.flushdb()
        con.acl_deluser("producer", "worker", "monitor", "operator")
    print(f"README.md: {sessions.count} replies, workers, scripts and {len(blocks)} blocks of settings were right.")


if __name__ == "__main__":
    main()
