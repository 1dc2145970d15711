#!/usr/bin/env python3
"""The tour through redis-py: every PHEAN command, the way a program would use it, and what it must answer.

    tests/clients/tour.py [PORT]     (or PORT=... in the environment; 6379)

It goes twice, in RESP2 and in RESP3, makes tubes of its own, tour:py...:*, and removes them at the end.
"""

import os
import sys
import threading
import time
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PORT = int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("PORT", 6379))

FOLLOW_UP = """
-- Finishes a job and puts its follow-up, only if the job is still ours.
if redis.call('PHEAN.TOUCH', KEYS[1], ARGV[1]) == 0 then
    return false
end
local id = redis.call('PHEAN.PUT', KEYS[2], ARGV[2])
redis.call('PHEAN.DELETE', KEYS[1], ARGV[1])
return id
"""


def connect(protocol):
    # A client that sends a command again because its reply was late puts a job twice, or reserves a second
    # one. So: no retries, and a read timeout above every TIMEOUT.
    return redis.Redis(
        port=PORT,
        protocol=protocol,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=30,
        single_connection_client=True,
    )


def eventually(condition):
    bound = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < bound, "what was waited for did not happen in 20 s"
        time.sleep(0.002)


def is_(got, wanted):
    assert got == wanted, f"{got!r} should have been {wanted!r}"


@contextmanager
def fails(message):
    """The block must raise an error reply that holds the message. redis-py cuts off a leading ERR."""
    try:
        yield
    except redis.ResponseError as error:
        assert message in str(error), f"{error} should have said {message!r}"
    else:
        raise AssertionError(f"should have failed with {message!r}")


class Lease:
    """What a reserve hands out."""

    def __init__(self, reply):
        # Later versions may append elements.
        self.tube, self.lease, self.body, self.attempt, ttr = reply[:5]
        self.id = int(self.lease.split(b"-")[0])
        self.ttr = float(ttr)


class Tour:
    def __init__(self, protocol):
        self.protocol = protocol
        self.con = connect(protocol)
        self.prefix = f"tour:py{protocol}:{os.getpid()}:"

    def __call__(self, *args):
        return self.con.execute_command(*args)

    def tube(self, name):
        return self.prefix + name

    def reserve(self, tube, *options):
        reply = self("PHEAN.RESERVE", tube, *options)
        assert reply is not None, f"{tube} should have had a job"
        return Lease(reply)

    def map(self, *args):
        """A map by name: a dict in RESP3, names and values in turn in RESP2."""
        reply = self(*args)
        if self.protocol == 3:
            assert isinstance(reply, dict), reply
        else:
            assert isinstance(reply, list), reply
            reply = dict(zip(reply[::2], reply[1::2], strict=True))
        return {name.decode(): value for name, value in reply.items()}

    def seconds(self, value):
        """A duration: a double in RESP3, in RESP2 a string with at most three decimals."""
        if self.protocol == 3:
            assert isinstance(value, float), value
        else:
            assert isinstance(value, bytes) and len((value + b".").split(b".")[1]) <= 3, value
        return float(value)

    def blocked(self, waiting_on, *args):
        """Sends a command that waits from a second connection; returns how to get its reply."""
        replies = []

        def work():
            with connect(self.protocol) as con:
                try:
                    replies.append(con.execute_command(*args))
                except redis.ResponseError as error:
                    replies.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        eventually(lambda: self.map("PHEAN.STATS", waiting_on)["current-waiting"] == 1)

        def join():
            thread.join(30)
            assert replies, "the waiting command should have answered"
            return replies[0]

        return join

    # The stations.

    def an_empty_tube(self):
        tube = self.tube("nobody")
        is_(self("PHEAN.RESERVE", tube), None)
        is_(self("PHEAN.RESERVE", tube, "COUNT", 3), None)
        is_(self("PHEAN.PEEK", tube, "READY"), None)
        is_(self("PHEAN.PEEK", tube, 1), None)
        is_(self("PHEAN.JOB", tube, 1), None)
        is_(self("PHEAN.CLAIMED", tube), [])
        is_(self("PHEAN.DELETE", tube, 1), 0)
        is_(self("PHEAN.KICK", tube, 1), 0)
        is_(self("PHEAN.CLEAR", tube), 0)
        is_(self("PHEAN.PAUSE", tube, 0), b"OK")
        stats = self.map("PHEAN.STATS", tube)
        is_([stats["current-jobs-ready"], stats["total-jobs"], stats["current-waiting"]], [0, 0, 0])
        is_(self.con.exists(tube), 0)

    def a_job_goes_through(self):
        tube = self.tube("through")
        body = bytes(range(256))
        id = self("PHEAN.PUT", tube, body)
        assert isinstance(id, int) and 0 < id < 2**53
        is_(self.con.type(tube), b"pheantube")
        job = self.reserve(tube)
        is_((job.tube, job.id, job.body, job.attempt), (tube.encode(), id, body, 1))
        is_(self.seconds(self("PHEAN.CLAIMED", tube)[0][1]) <= 60, True)
        is_(self("PHEAN.RESERVE", tube), None)
        is_(self("PHEAN.DELETE", tube, job.lease), 1)
        is_(self("PHEAN.DELETE", tube, job.lease), 0)
        assert self("PHEAN.PUT", tube, "") > id, "ids grow"
        is_(self.reserve(tube, "TTR", "2.5").ttr, 2.5)

    def the_most_urgent_goes_first(self):
        tube = self.tube("order")
        for body, pri in (("c", 9), ("d", 9), ("b", 2), ("a", 0)):
            self("PHEAN.PUT", tube, body, "PRI", pri)
        is_(self("PHEAN.PEEK", tube, "READY")[1], b"a")
        is_([self.reserve(tube).body for _ in range(4)], [b"a", b"b", b"c", b"d"])

    def a_delayed_job_waits(self):
        tube = self.tube("delay")
        start = time.monotonic()
        id = self("PHEAN.PUT", tube, "later", "DELAY", 0.2)
        is_(self("PHEAN.RESERVE", tube), None)
        is_(self("PHEAN.PEEK", tube, "DELAYED"), [id, b"later"])
        is_(self.map("PHEAN.JOB", tube, id)["state"], b"delayed")
        is_(self.reserve(tube, "TIMEOUT", 10).id, id)
        # The server's clock counts whole milliseconds.
        assert time.monotonic() - start >= 0.198

    def a_lease_ends(self):
        tube = self.tube("lease")
        self("PHEAN.PUT", tube, "slow", "TTR", 0.1)
        slow = self.reserve(tube)
        is_(slow.ttr, 0.1)
        next = self.reserve(tube, "TIMEOUT", 10, "TTR", 60)
        is_((next.id, next.attempt), (slow.id, 2))
        for command in ("TOUCH", "RELEASE", "BURY", "DELETE"):
            is_(self(f"PHEAN.{command}", tube, slow.lease), 0)
        is_(self.map("PHEAN.JOB", tube, next.lease)["timeouts"], 1)
        # Any connection may use the lease.
        with connect(self.protocol) as other:
            is_(other.execute_command("PHEAN.DELETE", tube, next.lease), 1)

    def touching_keeps_a_lease(self):
        tube = self.tube("touch")
        self("PHEAN.PUT", tube, "long", "TTR", 5)
        job = self.reserve(tube)
        is_(self("PHEAN.TOUCH", tube, job.lease, "FOR", 100), 1)
        left = self.seconds(self.map("PHEAN.JOB", tube, job.id)["time-left"])
        assert 90 < left <= 100, left
        is_(self("PHEAN.TOUCH", tube, job.lease), 1)
        left = self.seconds(self.map("PHEAN.JOB", tube, job.id)["time-left"])
        assert 0 < left <= 5, left

    def released_jobs_come_back(self):
        tube = self.tube("release")
        self("PHEAN.PUT", tube, "young", "PRI", 3)
        job = self.reserve(tube)
        is_(self("PHEAN.RELEASE", tube, job.lease), 1)
        is_(self("PHEAN.RELEASE", tube, job.lease), 0)
        job = self.reserve(tube)
        is_(job.attempt, 2)
        is_(self("PHEAN.RELEASE", tube, job.lease, "UNTRIED"), 1)
        job = self.reserve(tube)
        is_(job.attempt, 2)
        is_(self("PHEAN.RELEASE", tube, job.lease, "PRI", 8, "DELAY", 60), 1)
        facts = self.map("PHEAN.JOB", tube, job.id)
        is_((facts["state"], facts["pri"], facts["reserves"]), (b"delayed", 8, 3))

    def buried_jobs_wait_for_a_kick(self):
        tube = self.tube("bury")
        ids = self("PHEAN.MPUT", tube, 3, "a", "b", "c")
        for job in [Lease(reply) for reply in self("PHEAN.RESERVE", tube, "COUNT", 3)]:
            is_(self("PHEAN.BURY", tube, job.lease, "PRI", 1), 1)
        is_(self("PHEAN.PEEK", tube, "BURIED"), [ids[0], b"a"])
        is_(self("PHEAN.KICK", tube, 2), 2)
        job = self.reserve(tube)
        is_((job.id, job.attempt), (ids[0], 1))
        is_(self("PHEAN.KICKJOB", tube, ids[2], ids[0]), 1)
        is_(self("PHEAN.DELAY", tube, ids[1], 60), 1)
        is_(self("PHEAN.KICK", tube, 5), 1)
        is_(self("PHEAN.KICK", tube, 5), 0)

    def several_at_once(self):
        tube = self.tube("many")
        ids = self("PHEAN.MPUT", tube, 5, *"abcde", "PRI", 7, "TTR", 30)
        is_(ids, sorted(set(ids)))
        jobs = [Lease(reply) for reply in self("PHEAN.RESERVE", tube, "COUNT", 9)]
        is_([job.id for job in jobs], ids)
        is_(self("PHEAN.TOUCH", tube, *ids[:2]), 2)
        is_(self("PHEAN.DELETE", tube, *[job.lease for job in jobs], 2**53 - 1), 5)
        with fails("numjobs"):
            self("PHEAN.MPUT", tube, 0, "a")

    def several_tubes(self):
        images, emails = self.tube("two:images"), self.tube("two:emails")
        self("PHEAN.PUT", images, "common")
        self("PHEAN.PUT", emails, "urgent", "PRI", 1)
        job = Lease(self("PHEAN.MRESERVE", 2, images, emails))
        is_((job.tube, job.body), (emails.encode(), b"urgent"))
        self("PHEAN.PUT", emails, "less", "PRI", 2000)
        jobs = self("PHEAN.MRESERVE", 2, images, emails, "COUNT", 5)
        is_([Lease(reply).body for reply in jobs], [b"common", b"less"])
        is_(self("PHEAN.MRESERVE", 2, images, emails), None)

    def one_job_by_its_id(self):
        tube = self.tube("byid")
        ids = self("PHEAN.MPUT", tube, 2, "a", "b")
        job = Lease(self("PHEAN.RESERVEJOB", tube, ids[1], "TTR", 9))
        is_((job.id, job.body, job.ttr), (ids[1], b"b", 9.0))
        is_(self("PHEAN.RESERVEJOB", tube, ids[1]), None)
        is_(self("PHEAN.RESERVEJOB", tube, 2**53 - 1), None)

    def operators_change_their_minds(self):
        tube = self.tube("operator")
        ids = self("PHEAN.MPUT", tube, 2, "a", "b")
        is_(self("PHEAN.PRIORITIZE", tube, ids[1], 1), 1)
        is_(self("PHEAN.PRIORITIZE", tube, 2**53 - 1, 1), 0)
        is_(self("PHEAN.PEEK", tube, "ready"), [ids[1], b"b"])
        is_(self("PHEAN.DELAY", tube, ids[1], 60), 1)
        is_(self("PHEAN.PEEK", tube, "READY"), [ids[0], b"a"])
        is_(self("PHEAN.PAUSE", tube, 60), b"OK")
        is_(self("PHEAN.RESERVE", tube), None)
        waiting = self.blocked(tube, "PHEAN.RESERVE", tube, "TIMEOUT", 20)
        is_(self("PHEAN.PAUSE", tube, 0), b"OK")
        is_(Lease(waiting()).id, ids[0])
        is_(self("PHEAN.DELAY", tube, ids[0], 60), 0)
        is_(self("PHEAN.CLEAR", tube), 1)
        is_(self("PHEAN.CLEAR", tube, "RESERVED", "READY"), 1)

    def looking(self):
        tube = self.tube("look")
        before = time.time()
        id = self("PHEAN.PUT", tube, "hello", "PRI", 4, "TTR", 30)
        with connect(self.protocol) as worker:
            worker_id = worker.client_id()
            job = Lease(worker.execute_command("PHEAN.RESERVE", tube))
            facts = self.map("PHEAN.JOB", tube, id)
            is_((facts["id"], facts["tube"], facts["state"]), (id, tube.encode(), b"reserved"))
            is_((facts["pri"], facts["size"], facts["attempt"], facts["reserves"]), (4, 5, 1, 1))
            is_([facts[name] for name in ("timeouts", "releases", "buries", "kicks")], [0, 0, 0, 0])
            is_((self.seconds(facts["ttr"]), self.seconds(facts["delay"])), (30.0, 0.0))
            assert abs(float(facts["created"]) - before) < 10, facts
            assert 0 <= self.seconds(facts["age"]) < 10, facts
            assert 0 <= self.seconds(facts["held-for"]) < 10, facts
            assert 20 < self.seconds(facts["time-left"]) <= 30, facts
            is_(facts["worker"], worker_id)
            [[lease, left, held, claimed_by]] = self("PHEAN.CLAIMED", tube, "COUNT", 5, "OLDEST")
            is_((lease, claimed_by), (job.lease, worker_id))
            assert 20 < self.seconds(left) <= 30 and self.seconds(held) < 10
        is_(self("PHEAN.PEEK", tube, "RESERVED"), [id, b"hello"])
        is_(self("PHEAN.PEEK", tube, id), [id, b"hello"])

        more = self("PHEAN.MPUT", tube, 50, *range(50))
        found, cursor = {}, 0
        while True:
            cursor, jobs = self("PHEAN.SCAN", tube, cursor, "COUNT", 7)
            found.update({job[0]: (job[1], job[2]) for job in jobs})
            if int(cursor) == 0:
                break
        is_(found, {id: (b"reserved", 4)} | {each: (b"ready", 1024) for each in more})
        is_(self("PHEAN.SCAN", tube, 0, "STATE", "reserved", "COUNT", 1000)[1], [[id, b"reserved", 4]])

    def statistics(self):
        tube, other = self.tube("stats:a"), self.tube("stats:b")
        ids = self("PHEAN.MPUT", tube, 4, *"abcd")
        self("PHEAN.PUT", tube, "later", "DELAY", 60)
        self("PHEAN.PUT", other, "x")
        self("PHEAN.BURY", tube, self.reserve(tube).lease)
        self("PHEAN.DELETE", tube, self.reserve(tube).lease)
        self.reserve(tube)
        stats = self.map("PHEAN.STATS", tube)
        states = [stats[f"current-jobs-{state}"] for state in ("ready", "delayed", "reserved", "buried")]
        is_(states, [1, 1, 1, 1])
        is_((stats["total-jobs"], stats["current-waiting"]), (5, 0))
        is_((stats["cmd-delete"], stats["cmd-bury"], stats["job-timeouts"]), (1, 1, 0))
        assert stats["memory"] > 0 and 0 <= self.seconds(stats["oldest-ready-age"]) < 10, stats

        totals = self.map("PHEAN.STATS")
        assert totals["total-jobs"] >= 6 and totals["current-tubes"] >= 2, totals
        assert totals["current-jobs-ready"] >= 2 and self.seconds(totals["uptime"]) >= 0, totals
        is_(totals["max-job-size"], int(self.con.config_get("phean.max-job-size")["phean.max-job-size"]))
        is_(self.con.info("phean")["phean_apply_errors"], 0)

        pattern = self.tube("stats:*")
        is_(self("PHEAN.TUBES", "MATCH", pattern), [tube.encode(), other.encode()])
        is_(self("PHEAN.TUBES", "MATCH", pattern, "FROM", other, "COUNT", 5), [other.encode()])
        row = self("PHEAN.TUBES", "MATCH", pattern, "WITHSTATS")[0]
        is_(row[:6], [tube.encode(), 1, 1, 1, 1, 0])
        is_((self.seconds(row[6]) < 10, self.seconds(row[7])), (True, 0.0))
        assert ids[0] > 0

    def waiting_workers(self):
        tube = self.tube("wait")
        start = time.monotonic()
        is_(self("PHEAN.RESERVE", tube, "TIMEOUT", 0.15), None)
        assert time.monotonic() - start >= 0.148
        waiting = self.blocked(tube, "PHEAN.RESERVE", tube, "TIMEOUT", 20)
        id = self("PHEAN.PUT", tube, "at last")
        job = Lease(waiting())
        is_((job.id, job.body), (id, b"at last"))
        waiting = self.blocked(tube, "PHEAN.MRESERVE", 2, self.tube("wait:else"), tube, "TIMEOUT", 20)
        is_(self("PHEAN.RELEASE", tube, job.lease), 1)
        is_(Lease(waiting()).attempt, 2)

    def a_bound_reservation_ends_with_its_connection(self):
        tube = self.tube("bound")
        id = self("PHEAN.PUT", tube, "hello")
        with connect(self.protocol) as worker:
            job = Lease(worker.execute_command("PHEAN.RESERVE", tube, "BOUND"))
            is_(self("PHEAN.TOUCH", tube, job.lease), 1)
        again = self.reserve(tube, "TIMEOUT", 10)
        is_((again.id, again.attempt), (id, 2))
        is_(self("PHEAN.DELETE", tube, job.lease), 0)
        is_(self.map("PHEAN.JOB", tube, id)["timeouts"], 0)

    def transactions_and_scripts(self):
        tube, next = self.tube("{script}:a"), self.tube("{script}:b")
        with self.con.pipeline(transaction=True) as multi:
            multi.execute_command("PHEAN.PUT", tube, "one")
            multi.execute_command("PHEAN.RESERVE", tube)
            # Nothing waits inside MULTI.
            multi.execute_command("PHEAN.RESERVE", tube, "TIMEOUT", 20)
            id, reply, nothing = multi.execute()
        job = Lease(reply)
        is_((job.id, nothing), (id, None))
        follow_up = self.con.eval(FOLLOW_UP, 2, tube, next, job.lease, "two")
        is_(self("PHEAN.PEEK", next, follow_up), [follow_up, b"two"])
        is_(self.con.eval(FOLLOW_UP, 2, tube, next, job.lease, "three"), None)
        is_(self.map("PHEAN.STATS", next)["total-jobs"], 1)
        with fails("BOUND"):
            self.con.eval("return redis.call('PHEAN.RESERVE', KEYS[1], 'BOUND')", 1, next)

    def a_tube_is_a_key(self):
        tube, name, copy = self.tube("key"), self.tube("key:renamed"), self.tube("key:copy")
        id = self("PHEAN.PUT", tube, "hello")
        job = self.reserve(tube)
        self.con.rename(tube, name)
        is_(self("PHEAN.TOUCH", name, job.lease), 1)
        is_(self("PHEAN.TOUCH", tube, job.lease), 0)
        assert self.con.copy(name, copy)
        is_(self("PHEAN.PEEK", copy, id), [id, b"hello"])
        restored = self.con.dump(name)
        is_(self.con.delete(name), 1)
        is_(self("PHEAN.DELETE", name, job.lease), 0)
        self.con.restore(name, 0, restored)
        is_(self("PHEAN.DELETE", name, job.lease), 1)
        assert self.con.memory_usage(copy) > 0
        self.con.set(tube, "text")
        with fails("WRONGTYPE"):
            self("PHEAN.PUT", tube, "hello")

    def mistakes_are_told(self):
        tube = self.tube("mistakes")
        with fails("wrong number of arguments for 'phean.put' command"):
            self("PHEAN.PUT", tube)
        with fails("syntax error, unexpected 'FOO'"):
            self("PHEAN.PUT", tube, "body", "FOO")
        with fails("PRI must be an integer from 0 to 4294967295"):
            self("PHEAN.PUT", tube, "body", "PRI", 2**32)
        with fails("DELAY must be "):
            self("PHEAN.PUT", tube, "body", "DELAY", "soon")
        with fails("TTR must be "):
            self("PHEAN.PUT", tube, "body", "TTR", 0)
        with fails("invalid job id 'x'"):
            self("PHEAN.DELETE", tube, "x")
        limit = int(self.con.config_get("phean.max-job-size")["phean.max-job-size"])
        with fails(f"TOOBIG job body of {limit + 1} bytes exceeds phean.max-job-size ({limit})"):
            self("PHEAN.PUT", tube, "x" * (limit + 1))
        is_(self.con.exists(tube), 0)

    def settings_at_run_time(self):
        tube = self.tube("settings")
        self("PHEAN.PUT", tube, "before")
        self.con.config_set("phean.drain", "yes")
        try:
            with fails("DRAINING the server takes no new jobs"):
                self("PHEAN.PUT", tube, "after")
            is_(self.reserve(tube).body, b"before")
        finally:
            self.con.config_set("phean.drain", "no")
        self("PHEAN.PUT", tube, "after")

    def events_are_published(self):
        flags = self.con.config_get("notify-keyspace-events")["notify-keyspace-events"]
        if not {"K", "d"} <= set(flags):
            return
        tube = self.tube("events")
        with connect(self.protocol) as listener, listener.pubsub() as pubsub:
            pubsub.subscribe(f"__keyspace@0__:{tube}")
            is_(pubsub.get_message(timeout=20)["type"], "subscribe")
            self("PHEAN.PUT", tube, "hello")
            self("PHEAN.DELETE", tube, self.reserve(tube).lease)
            heard = [pubsub.get_message(timeout=20)["data"] for _ in range(3)]
            is_(heard, [b"put", b"reserve", b"delete"])

    STATIONS = (
        an_empty_tube,
        a_job_goes_through,
        the_most_urgent_goes_first,
        a_delayed_job_waits,
        a_lease_ends,
        touching_keeps_a_lease,
        released_jobs_come_back,
        buried_jobs_wait_for_a_kick,
        several_at_once,
        several_tubes,
        one_job_by_its_id,
        operators_change_their_minds,
        looking,
        statistics,
        waiting_workers,
        a_bound_reservation_ends_with_its_connection,
        transactions_and_scripts,
        a_tube_is_a_key,
        mistakes_are_told,
        settings_at_run_time,
        events_are_published,
    )

    def run(self):
        try:
            for station in self.STATIONS:
                try:
                    station(self)
                except Exception:
                    print(f"RESP{self.protocol}, {station.__name__}:", file=sys.stderr)
                    raise
        finally:
            keys = list(self.con.scan_iter(match=self.prefix + "*", count=1000))
            if keys:
                self.con.delete(*keys)
            self.con.close()
        print(f"The tour through redis-py, RESP{self.protocol}: {len(self.STATIONS)} stations were right.")


if __name__ == "__main__":
    for version in (2, 3):
        Tour(version).run()
