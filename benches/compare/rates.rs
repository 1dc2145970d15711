//! Rates: jobs put, and taken and finished, in pipelines, one by one, and in batches.

use crate::Plan;
use crate::client::{bulks, encode};
use crate::load::{BODY, Batches, Spent, clear, commands, drain, in_turns, one_by_one};
use crate::process::Server;
use crate::queue::{KEY, Queue, body};
use crate::table::{Goal, Table, in_turn};

/// Rows with a batch of 64 commands under way on each of four connections.
pub fn pipelined(table: &mut Table, plan: &Plan, redis: &Server, beanstalkd: Option<&Server>) {
    table.section("Pipelines of 64");
    let mut put: Vec<(Queue, Vec<(Spent, Spent)>)> = Vec::new();
    let mut work = Vec::new();
    let mut others = vec![(Queue::List, redis), (Queue::Stream, redis)];
    others.extend(beanstalkd.map(|server| (Queue::Beanstalkd, server)));
    // Short rounds, and more of them: the machine is as fast in one half of a round as in the other, at most times.
    let jobs = (plan.jobs / 4).next_multiple_of(256);
    for (other, server) in others {
        let rounds = in_turn(plan.rounds * 2, || {
            let few = if other == Queue::Beanstalkd { jobs / 2 } else { jobs };
            let phean = put_and_work(redis, Queue::Phean, jobs);
            let other = put_and_work(server, other, few.next_multiple_of(256));
            ((phean.0, other.0), (phean.1, other.1))
        });
        put.push((other, rounds.iter().map(|round| round.0).collect()));
        work.push((other, rounds.iter().map(|round| round.1).collect::<Vec<_>>()));
    }
    for (other, rounds) in put {
        match other {
            Queue::List => table.rates("PUT, RPUSH", &rounds, Goal::AtLeast(1.0)),
            Queue::Stream => table.rates("PUT, XADD", &rounds, Goal::None),
            _ => table.rates("PUT, beanstalkd's put", &rounds, Goal::AtLeast(8.0)),
        }
    }
    for (other, rounds) in work {
        match other {
            Queue::List => table.rates("RESERVE + DELETE, LMOVE + LREM", &rounds, Goal::AtLeast(1.1)),
            Queue::Stream => {
                table.rates("RESERVE + DELETE, XREADGROUP + XACK + XDEL", &rounds, Goal::AtLeast(2.2));
            }
            _ => table.rates("RESERVE + DELETE, beanstalkd's", &rounds, Goal::AtLeast(7.0)),
        }
    }
    if beanstalkd.is_none() {
        table.missing("beanstalkd", "is not installed");
    }
}

/// Jobs that are put, and then taken and finished, in pipelines.
pub fn put_and_work(server: &Server, queue: Queue, jobs: usize) -> (Spent, Spent) {
    queue.prepare(server);
    let put = Batches::puts(queue, BODY).run(server, jobs);
    let work = drain(server, queue, jobs);
    clear(server, queue, put.jobs - work.jobs);
    (put, work)
}

/// Each command after the reply to the one before.
pub fn unpipelined(table: &mut Table, plan: &Plan, server: &Server) {
    table.section("One by one");
    let jobs = plan.jobs / 32;
    let each = |queue: Queue| {
        let spent = each_command(server, queue, jobs);
        server.flush();
        spent
    };
    let rounds = in_turn(plan.rounds * 2 + 1, || (each(Queue::Phean), each(Queue::List)));
    for (n, name) in ["PUT, RPUSH", "RESERVE, LMOVE", "DELETE, LREM"].into_iter().enumerate() {
        let rounds: Vec<(Spent, Spent)> = rounds.iter().map(|(phean, list)| (phean[n], list[n])).collect();
        table.rates(name, &rounds, Goal::AtLeast(1.0));
    }
}

/// Puts that many jobs, takes them, and finishes them, each command after the reply to the one before.
pub fn each_command(server: &Server, queue: Queue, jobs: usize) -> [Spent; 3] {
    let put = one_by_one(server, &commands(jobs, |n, out| queue.put(KEY, &body(n, BODY), out)));
    let mut connection = server.connect();
    let takes = commands(jobs, |_, out| queue.take(0, out));
    let mut finishes = Vec::with_capacity(jobs);
    let take = Spent::on(server, jobs, || {
        for take in &takes {
            connection.send(take);
            let mut finish = Vec::new();
            queue.finish(0, connection.reply(), &mut finish);
            finishes.push(finish);
        }
    });
    // Over the same connection: beanstalkd gives a connection's jobs back when it closes.
    let finish = Spent::on(server, jobs, || {
        for finish in &finishes {
            connection.send(finish);
            connection.replies(1);
        }
    });
    [put, take, finish]
}

/// Commands for 100 jobs each, one under way on each connection, against commands for one job in pipelines of 64.
pub fn batched(table: &mut Table, plan: &Plan, server: &Server) {
    table.section("Batches of 100, against single commands in pipelines of 64");
    const COUNT: usize = 100;
    let jobs = plan.jobs.next_multiple_of(COUNT * 64);
    let puts: Vec<Vec<u8>> = (0..jobs / COUNT)
        .map(|batch| {
            let bodies: Vec<Vec<u8>> = (0..COUNT).map(|n| body(batch * COUNT + n, BODY)).collect();
            let mut words: Vec<&[u8]> = vec![b"PHEAN.MPUT", KEY.as_bytes(), b"100"];
            words.extend(bodies.iter().map(Vec::as_slice));
            let mut command = Vec::new();
            encode(&words, &mut command);
            command
        })
        .collect();
    let mut take = Vec::new();
    encode(&[b"PHEAN.RESERVE", KEY.as_bytes(), b"COUNT", b"100"], &mut take);
    let rounds = in_turn(plan.rounds, || {
        let put = Spent { jobs, ..in_turns(server, puts.iter().map(Vec::as_slice), |_| ()) };
        let mut replies: Vec<Vec<u8>> = Vec::new();
        let takes = (0..jobs / COUNT).map(|_| take.as_slice());
        let reserve = Spent { jobs, ..in_turns(server, takes, |reply| replies.push(reply.to_vec())) };
        let finish = |reply: &Vec<u8>| {
            let mut words: Vec<&[u8]> = vec![b"PHEAN.DELETE", KEY.as_bytes()];
            words.extend(bulks(reply).skip(1).step_by(4));
            let mut command = Vec::new();
            encode(&words, &mut command);
            command
        };
        let deletes: Vec<Vec<u8>> = replies.iter().map(finish).collect();
        let delete = Spent { jobs, ..in_turns(server, deletes.iter().map(Vec::as_slice), |_| ()) };
        server.flush();
        let batched = [put, together(reserve, delete)];
        let single = put_and_work(server, Queue::Phean, jobs);
        (batched, [single.0, single.1])
    });
    for (n, name) in ["MPUT, PUT", "RESERVE COUNT + DELETE of many, RESERVE + DELETE"].into_iter().enumerate()
    {
        let rounds: Vec<(Spent, Spent)> =
            rounds.iter().map(|(batched, single)| (batched[n], single[n])).collect();
        table.rates(name, &rounds, Goal::AtLeast(4.0));
    }
}

fn together(one: Spent, other: Spent) -> Spent {
    Spent { jobs: one.jobs, wall: one.wall + other.wall, cpu: one.cpu + other.cpu }
}
