#!/usr/bin/env python3
"""The life of a job through greenstalk, with the behaviours that its users rely on.

    greenstalk_life.py PORT
"""

import sys
import threading
import time
from contextlib import contextmanager

import greenstalk

ADDRESS = ("127.0.0.1", int(sys.argv[1]))


def connect(tube, watch=None, **settings):
    return greenstalk.Client(ADDRESS, use=tube, watch=watch or tube, **settings)


@contextmanager
def fails(error):
    try:
        yield
    except error:
        return
    raise AssertionError(f"{error.__name__} was expected")


def is_(left, right):
    assert left == right, f"{left!r} is not {right!r}"


def basic_usage(tube):
    with connect(tube) as c:
        id = c.put("héllo")
        is_(c.using(), tube)
        is_(c.watching(), [tube])
        assert tube in c.tubes()
        job = c.reserve()
        is_((job.id, job.body), (id, "héllo"))
        c.delete(job)
        with fails(greenstalk.NotFoundError):
            c.delete(job)
        with fails(greenstalk.TimedOutError):
            c.reserve(timeout=0)


def bytes_and_sizes(tube):
    with connect(tube, encoding=None) as c:
        body = bytes(range(256)) + b"\r\nquit\r\n"
        c.put(body)
        job = c.reserve()
        is_(job.body, body)
        c.delete(job)
        c.put(b"")
        c.delete(c.reserve())
        limit = c.stats()["max-job-size"]
        c.put(bytes(limit))
        c.delete(c.reserve())
        with fails(greenstalk.JobTooBigError):
            c.put(bytes(limit + 1))
        is_(c.stats_tube(tube)["current-jobs-ready"], 0)


def priorities_and_delays(tube):
    with connect(tube) as c:
        c.put("second", priority=10)
        c.put("first", priority=1)
        c.put("third", priority=10)
        with connect(tube) as other:
            is_([other.reserve(timeout=0).body for _ in range(3)], ["first", "second", "third"])
        # The other connection is closed, so all come back.
        is_([c.reserve(timeout=5).body for _ in range(3)], ["first", "second", "third"])
        later = c.put("later", delay=1)
        is_(c.peek_delayed().id, later)
        with fails(greenstalk.TimedOutError):
            c.reserve(timeout=0)
        start = time.monotonic()
        is_(c.reserve(timeout=10).id, later)
        assert 0.8 < time.monotonic() - start < 9


def waiting(tube):
    with connect(tube) as c, connect(tube) as worker:
        got = []
        thread = threading.Thread(target=lambda: got.append(worker.reserve(timeout=20)))
        thread.start()
        bound = time.monotonic() + 20
        while c.stats_tube(tube)["current-waiting"] == 0:
            assert time.monotonic() < bound
        id = c.put("at last")
        thread.join()
        is_(got[0].id, id)
        # Who does not hold it can do nothing with it.
        for refused in (c.delete, c.bury, c.release, c.touch):
            with fails(greenstalk.NotFoundError):
                refused(got[0])
        worker.delete(got[0])
        start = time.monotonic()
        with fails(greenstalk.TimedOutError):
            worker.reserve(timeout=1)
        assert 0.95 < time.monotonic() - start < 10


def deadlines(tube):
    with connect(tube) as c:
        id = c.put("slow", ttr=1)
        job = c.reserve()
        with fails(greenstalk.DeadlineSoonError):
            c.reserve(timeout=0)
        # Its time runs out while nobody does anything; then it can be taken again.
        bound = time.monotonic() + 20
        while c.stats_job(id)["state"] != "ready":
            assert time.monotonic() < bound
        with fails(greenstalk.NotFoundError):
            c.touch(job)
        again = c.reserve(timeout=5)
        is_((again.id, c.stats_job(again)["timeouts"]), (id, 1))
        c.touch(again)
        c.release(again)
        with connect(tube) as other:
            long = c.put("long", ttr=2, priority=1)
            is_(other.reserve().id, long)
            is_(other.reserve_job(id).id, id)
            # While it waits, the margin of its soonest job arrives.
            start = time.monotonic()
            other.release(other.peek(id), delay=60)
            with fails(greenstalk.DeadlineSoonError):
                other.reserve(timeout=60)
            assert time.monotonic() - start < 30


def burying_and_kicking(tube):
    with connect(tube) as c:
        ids = [c.put(body) for body in "abc"]
        for _ in ids:
            c.bury(c.reserve())
        is_(c.peek_buried().body, "a")
        is_(c.kick(2), 2)
        c.kick_job(ids[2])
        with fails(greenstalk.NotFoundError):
            c.kick_job(ids[2])
        is_(c.kick(10), 0)
        with fails(greenstalk.NotFoundError):
            c.peek_buried()
        facts = c.stats_job(ids[0])
        is_((facts["buries"], facts["kicks"], facts["state"], facts["tube"]), (1, 1, "ready", tube))
        delayed = c.put("d", delay=1000)
        is_(c.kick(1), 1)
        is_(c.stats_job(delayed)["state"], "ready")


def releasing(tube):
    with connect(tube) as c:
        id = c.put("again", priority=5)
        c.release(c.reserve(), priority=7)
        is_((c.stats_job(id)["pri"], c.stats_job(id)["releases"]), (7, 1))
        c.release(c.reserve(), delay=1000)
        facts = c.stats_job(id)
        is_((facts["state"], facts["delay"]), ("delayed", 1000))
        assert 990 < facts["time-left"] <= 1000
        is_(c.reserve_job(id).body, "again")


def tubes_watched(tube):
    with connect(tube, watch=[tube + ".1", tube + ".2"]) as c:
        # The default tube was ignored, so the last one took its place.
        is_(c.watching(), [tube + ".2", tube + ".1"])
        is_(c.watch("default"), 3)
        is_(c.ignore(tube + ".1"), 2)
        is_(c.ignore("default"), 1)
        with fails(greenstalk.NotIgnoredError):
            c.ignore(tube + ".2")
        c.use(tube + ".2")
        is_(c.reserve_job(c.put("x")).body, "x")
        with fails(greenstalk.BadFormatError):
            c.use("-x")


def pausing(tube):
    with connect(tube) as c:
        id = c.put("x")
        c.pause_tube(tube, 1)
        is_(c.stats_tube(tube)["pause"], 1)
        is_(c.peek_ready().id, id)
        with fails(greenstalk.TimedOutError):
            c.reserve(timeout=0)
        is_(c.reserve(timeout=10).id, id)
        is_(c.stats_tube(tube)["pause-time-left"], 0)
        with fails(greenstalk.NotFoundError):
            c.pause_tube(tube + ".none", 1)


def statistics(tube):
    with connect(tube) as c:
        c.put("x", priority=1)
        c.put("y", delay=1000)
        c.reserve()
        facts = c.stats_tube(tube)
        is_(facts["name"], tube)
        states = [facts[f"current-jobs-{state}"] for state in ("urgent", "ready", "reserved", "delayed", "buried")]
        is_(states, [0, 0, 1, 1, 0])
        is_((facts["total-jobs"], facts["current-using"], facts["current-watching"]), (2, 1, 1))
        totals = c.stats()
        assert totals["current-connections"] >= 1 and totals["cmd-put"] >= 2
        is_(totals["version"], "1.13")


for test in (
    basic_usage, bytes_and_sizes, priorities_and_delays, waiting, deadlines, burying_and_kicking, releasing,
    tubes_watched, pausing, statistics,
):
    test("greenstalk." + test.__name__.replace("_", "-"))
print(f"greenstalk {greenstalk.__version__}: the life of a job, as it must be")
