//! With persistence: the append-only file with a replica, and saving and loading an RDB file.

use std::time::{Duration, Instant};

use crate::Plan;
use crate::growth::thousands;
use crate::load::{BODY, Batches, Spent, drain, redis};
use crate::process::Server;
use crate::queue::{KEY, Queue};
use crate::table::{Cost, Goal, Table, in_turn, median};

/// Puts with appendonly, appendfsync everysec, and one replica.
pub fn replicated(table: &mut Table, plan: &Plan) {
    table.section("With appendfsync everysec and one replica (CPU is the primary's, with its threads)");
    let aof = ["--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"];
    let unbounded = ["--client-output-buffer-limit", "replica 0 0 0", "--repl-diskless-sync-delay", "0"];
    let primary = Server::redis(&[&aof[..], &unbounded].concat());
    let replica = Server::redis(&["--replicaof", &format!("127.0.0.1 {}", primary.port())]);
    let in_step = || {
        let offset = |server: &Server, field: &str| server.info("replication", field);
        let deadline = Instant::now() + Duration::from_secs(60);
        while primary.info("replication", "connected_slaves") < 1.0
            || offset(&primary, "master_repl_offset") > offset(&replica, "slave_repl_offset")
        {
            assert!(Instant::now() < deadline, "the replica does not follow");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    while !redis(&replica).ask_text(&["INFO", "replication"]).contains("master_link_status:up") {
        std::thread::sleep(Duration::from_millis(10));
    }
    let jobs = plan.jobs / 2;
    let one = |queue: Queue| {
        let put = Batches::puts(queue, BODY).run(&primary, jobs);
        in_step();
        let work = drain(&primary, queue, jobs);
        primary.flush();
        in_step();
        (put, work)
    };
    let rounds = in_turn(plan.rounds + 3, || (one(Queue::Phean), one(Queue::List)));
    let puts: Vec<(Spent, Spent)> = rounds.iter().map(|(phean, list)| (phean.0, list.0)).collect();
    let work: Vec<(Spent, Spent)> = rounds.iter().map(|(phean, list)| (phean.1, list.1)).collect();
    table.rates("PUT, RPUSH", &puts, Goal::AtLeast(0.9));
    table.rates("RESERVE + DELETE, LMOVE + LREM", &work, Goal::None);
}

/// RDB files of many jobs, saved while others work, and loaded.
pub fn snapshots(table: &mut Table, plan: &Plan) {
    let count = thousands(plan.saved);
    table.section(&format!(
        "RDB file of {count} jobs of {BODY} bytes (ns for a job), saved while jobs come and go"
    ));
    let mut filled = [Queue::Phean, Queue::List, Queue::Stream].map(|queue| Filled::new(plan, queue));
    // What a child writes itself (its stack, the tables of Redis' compression) is there whatever the jobs do.
    let at_rest = filled.each_ref().map(|one| one.save(0).1);
    // Each in turn, time after time: what the machine's memory is like changes all of them alike.
    let batches = plan.saved / 50_000;
    let saves = in_turn(plan.rounds - 1, || filled.each_ref().map(|one| one.save(batches)));
    let sizes = filled.each_ref().map(|one| one.server.saved_bytes());
    filled.iter_mut().for_each(|one| one.server.stop());
    let loads = in_turn(plan.rounds.min(3), || filled.each_mut().map(Filled::load));
    let others = [(1, "list"), (2, "stream")];
    for (n, name) in others {
        let rounds: Vec<(Cost, Cost)> = saves.iter().map(|round| (round[0].0, round[n].0)).collect();
        table.costs_in_turn(&format!("save, {name}"), "ns", &rounds, Goal::AtMost(1.0));
    }
    for (n, name) in others {
        let rounds: Vec<(Cost, Cost)> = loads.iter().map(|round| (round[0], round[n])).collect();
        table.costs_in_turn(&format!("load, {name}"), "ns", &rounds, Goal::AtMost(1.0));
    }
    let memory = filled.each_ref().map(|one| one.memory / 1e6);
    let copied = [0, 1, 2].map(|n: usize| median(saves.iter().map(|round| round[n].1)) / 1e3);
    let bodies = (filled[0].jobs * BODY) as f64 / 1e6;
    let by_work = [0, 1, 2].map(|n: usize| (copied[n] - at_rest[n] / 1e3) / bodies);
    for (n, name) in others {
        let what = format!("copied on write by that work, for each MB of bodies, {name}");
        table.ratio(&what, "KB", by_work[0], by_work[n], Goal::AtMost(1.0));
    }
    for (n, name) in others {
        let what = format!("copied on write in all, {name}");
        table.ratio(&what, "MB", copied[0] / 1e3, copied[n] / 1e3, Goal::None);
    }
    table.ratio("memory, list", "MB", memory[0], memory[1], Goal::None);
    table.ratio("size of the file, list", "MB", sizes[0] / 1e6, sizes[1] / 1e6, Goal::None);
}

/// A server with many jobs.
struct Filled {
    server: Server,
    queue: Queue,
    jobs: usize,
    puts: Batches,
    memory: f64,
}

impl Filled {
    fn new(plan: &Plan, queue: Queue) -> Filled {
        let server = Server::redis(&[]);
        queue.prepare(&server);
        let memory = || server.info("memory", "used_memory");
        let (empty, puts) = (memory(), Batches::puts(queue, BODY));
        let jobs = puts.run(&server, plan.saved).jobs;
        Filled { memory: memory() - empty, server, queue, jobs, puts }
    }

    /// What a BGSAVE costs the child, and how many bytes were copied while so many batches of jobs came and went.
    fn save(&self, batches: usize) -> (Cost, f64) {
        let server = &self.server;
        let children =
            || server.info("cpu", "used_cpu_user_children") + server.info("cpu", "used_cpu_sys_children");
        let (before, start) = (children(), Instant::now());
        redis(server).ask(&["BGSAVE"]);
        // As much work for each kind of queue, so that what it makes the server copy can be compared.
        for _ in 0..batches {
            self.puts.run(server, 256);
            drain(server, self.queue, 256);
            std::thread::sleep(Duration::from_millis(5));
        }
        let is_saving = || server.info("persistence", "rdb_bgsave_in_progress") > 0.0;
        if batches > 0 && !is_saving() {
            eprintln!("  the save was over before the work was: what was copied is too little");
        }
        while is_saving() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let wall = start.elapsed().as_secs_f64();
        assert!(redis(server).ask_text(&["INFO", "persistence"]).contains("rdb_last_bgsave_status:ok"));
        let copied = server.info("persistence", "rdb_last_cow_size");
        (self.cost(children() - before, wall), copied)
    }

    /// What a start from the file costs.
    fn load(&mut self) -> Cost {
        let start = Instant::now();
        self.server.start();
        let (cpu, wall) = (self.server.cpu().as_secs_f64(), start.elapsed().as_secs_f64());
        let loaded = redis(&self.server).ask_text(&["EXISTS", KEY]);
        assert_eq!(loaded, ":1\r\n", "the queue was not loaded: {}", self.server.log());
        self.server.stop();
        self.cost(cpu, wall)
    }

    fn cost(&self, cpu: f64, wall: f64) -> Cost {
        let per_job = |seconds: f64| seconds * 1e9 / self.jobs as f64;
        (per_job(cpu), per_job(wall))
    }
}
