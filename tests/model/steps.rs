//! Random requests. A request names its job by a pick, which becomes a real id or lease only when the request
//! is made; so every sequence makes sense, and a shorter one does too.

use phean::queue::decide::{Release, Retry, Worker};
use phean::queue::{DURATION_MAX_MS, State};
use proptest::prelude::*;
use proptest::sample::subsequence;

/// Which job a request is about.
#[derive(Clone, Copy, Debug)]
pub struct Pick {
    pub aim: Aim,
    pub index: u16,
}

#[derive(Clone, Copy, Debug)]
pub enum Aim {
    /// This very id.
    Exactly(u64),
    /// An id that was never given.
    Absent,
    /// Any job, by its id.
    Any,
    /// A job in this state, by its id, or any if there is none.
    In(State),
    /// A reserved job, by its lease.
    Leased,
    /// A lease of the past, maybe still good.
    OnceLeased,
}

impl Pick {
    pub fn exactly(id: u64) -> Pick {
        Pick { aim: Aim::Exactly(id), index: 0 }
    }
}

/// How a tube is replaced by a copy of itself.
#[derive(Clone, Copy, Debug)]
pub enum Copying {
    Snapshot,
    Rewrite,
    Clone,
}

#[derive(Clone, Debug)]
pub enum Step {
    Clock { forward_ms: i64 },
    Put { gap: u64, pri: u32, delay_ms: u64, ttr_ms: u64, len: usize },
    Reserve { worker: Worker },
    ReserveJob { pick: Pick, worker: Worker },
    Delete { pick: Pick },
    Release { pick: Pick, release: Release },
    Lose { pick: Pick },
    Undeliver { pick: Pick },
    Bury { pick: Pick, pri: Option<u32> },
    Touch { pick: Pick, for_ms: Option<u64> },
    Kick { count: usize },
    KickJob { pick: Pick },
    Prioritize { pick: Pick, pri: u32 },
    Delay { pick: Pick, delay_ms: u64 },
    Pause { for_ms: u64 },
    Tick { slice: usize },
    Clear { states: Vec<State> },
    Remove { linger_ms: u64 },
    Copy { of_primary: bool, how: Copying },
    Bulk(Bulk),
}

impl Step {
    /// The same request about another job.
    pub fn on(&self, pick: Pick) -> Step {
        let mut step = self.clone();
        match &mut step {
            Step::ReserveJob { pick: p, .. }
            | Step::Delete { pick: p }
            | Step::Release { pick: p, .. }
            | Step::Lose { pick: p }
            | Step::Undeliver { pick: p }
            | Step::Bury { pick: p, .. }
            | Step::Touch { pick: p, .. }
            | Step::KickJob { pick: p }
            | Step::Prioritize { pick: p, .. }
            | Step::Delay { pick: p, .. } => *p = pick,
            _ => {}
        }
        step
    }
}

/// Many requests in one event.
#[derive(Clone, Debug)]
pub enum Bulk {
    Put {
        count: usize,
        gap: u64,
        pris: u32,
        delay_ms: u64,
        len: usize,
    },
    Reserve {
        count: usize,
        worker: Worker,
    },
    /// A request about the jobs from some quarter on, but for `keep` out of `of`.
    Every {
        of: usize,
        keep: usize,
        from: u8,
        step: Box<Step>,
    },
}

pub fn retries() -> impl Strategy<Value = Retry> {
    let count = prop_oneof![3 => Just(None), 2 => (0u32..4).prop_map(Some)];
    let interval_ms = prop_oneof![2 => Just(0u64), 1 => 1..5_000u64];
    (count, interval_ms).prop_map(|(count, interval_ms)| Retry { count, interval_ms })
}

fn pris() -> impl Strategy<Value = u32> {
    prop_oneof![4 => Just(1024), 4 => 0..3u32, 1 => Just(1023), 1 => Just(u32::MAX), 1 => any::<u32>()]
}

fn durations() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 1..4_000u64, 1 => Just(60_000u64), 1 => Just(DURATION_MAX_MS)]
}

/// Durations, and often 0.
fn delays() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0u64), 1 => durations()]
}

/// Ids of one tube are a part of the server's.
fn gaps() -> impl Strategy<Value = u64> {
    prop_oneof![12 => Just(1u64), 6 => 1..40u64, 1 => Just(1u64 << 33)]
}

fn lens() -> impl Strategy<Value = usize> {
    prop_oneof![
        2 => Just(0usize),
        2 => Just(1usize),
        12 => 2..200usize,
        2 => 200..4_000usize,
        1 => 8_100..8_300usize,
        1 => Just(9_000usize),
        1 => Just(70_000usize),
    ]
}

fn workers() -> impl Strategy<Value = Worker> {
    (0..5u64, proptest::option::weighted(0.3, durations()))
        .prop_map(|(client, ttr_ms)| Worker { client, ttr_ms })
}

/// Mostly jobs that are in `state`, as most requests are refused in all others.
fn picks(state: State) -> impl Strategy<Value = Pick> {
    let aim = prop_oneof![
        8 => Just(Aim::In(state)),
        2 => Just(Aim::Any),
        3 => Just(Aim::Leased),
        2 => Just(Aim::OnceLeased),
        1 => Just(Aim::Absent),
    ];
    (aim, any::<u16>()).prop_map(|(aim, index)| Pick { aim, index })
}

fn held() -> impl Strategy<Value = Pick> {
    picks(State::Reserved)
}

fn releases() -> impl Strategy<Value = Release> {
    (proptest::option::of(pris()), proptest::option::of(delays()), any::<bool>())
        .prop_map(|(pri, delay_ms, untried)| Release { pri, delay_ms, untried })
}

fn clock() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => 0..3_000i64,
        2 => -3_000..0i64,
        1 => Just(-86_400_000i64),
        1 => 86_400_000..90_000_000i64,
        // Further than a job's 32 bits reach from its segment's first.
        1 => Just(1i64 << 33),
        1 => Just(DURATION_MAX_MS as i64),
    ]
    .prop_map(|forward_ms| Step::Clock { forward_ms })
}

fn clears() -> impl Strategy<Value = Step> {
    subsequence(State::ALL.to_vec(), 1..=4).prop_map(|states| Step::Clear { states })
}

fn copies() -> impl Strategy<Value = Step> {
    let how = prop_oneof![Just(Copying::Snapshot), Just(Copying::Rewrite), Just(Copying::Clone)];
    (any::<bool>(), how).prop_map(|(of_primary, how)| Step::Copy { of_primary, how })
}

/// A request about one job in a state that it is meant for.
fn about_one_job() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (picks(State::Delayed), workers()).prop_map(|(pick, worker)| Step::ReserveJob { pick, worker }),
        2 => (picks(State::Buried), workers()).prop_map(|(pick, worker)| Step::ReserveJob { pick, worker }),
        4 => held().prop_map(|pick| Step::Delete { pick }),
        2 => picks(State::Ready).prop_map(|pick| Step::Delete { pick }),
        6 => (held(), releases()).prop_map(|(pick, release)| Step::Release { pick, release }),
        2 => held().prop_map(|pick| Step::Lose { pick }),
        2 => held().prop_map(|pick| Step::Undeliver { pick }),
        5 => (held(), proptest::option::of(pris())).prop_map(|(pick, pri)| Step::Bury { pick, pri }),
        3 => (held(), proptest::option::of(delays())).prop_map(|(pick, for_ms)| Step::Touch { pick, for_ms }),
        2 => picks(State::Buried).prop_map(|pick| Step::KickJob { pick }),
        1 => picks(State::Delayed).prop_map(|pick| Step::KickJob { pick }),
        3 => (picks(State::Ready), pris()).prop_map(|(pick, pri)| Step::Prioritize { pick, pri }),
        2 => (picks(State::Ready), delays()).prop_map(|(pick, delay_ms)| Step::Delay { pick, delay_ms }),
    ]
}

fn puts() -> impl Strategy<Value = Step> {
    (gaps(), pris(), delays(), durations(), lens()).prop_map(|(gap, pri, delay_ms, ttr_ms, len)| Step::Put {
        gap,
        pri,
        delay_ms,
        ttr_ms,
        len,
    })
}

/// One request.
pub fn requests() -> impl Strategy<Value = Step> {
    prop_oneof![
        14 => puts(),
        14 => workers().prop_map(|worker| Step::Reserve { worker }),
        28 => about_one_job(),
        2 => (0..6usize).prop_map(|count| Step::Kick { count }),
        2 => delays().prop_map(|for_ms| Step::Pause { for_ms }),
        8 => prop_oneof![1..4usize, Just(1_000)].prop_map(|slice| Step::Tick { slice }),
        1 => clears(),
        1 => prop_oneof![Just(0u64), 0..4_000u64].prop_map(|linger_ms| Step::Remove { linger_ms }),
        9 => clock(),
        3 => copies(),
    ]
}

fn bulk_puts(count: std::ops::Range<usize>) -> impl Strategy<Value = Step> {
    let pris = prop_oneof![2 => Just(1u32), 1 => Just(2u32), 1 => Just(3_000u32)];
    let delay_ms = prop_oneof![2 => Just(0u64), 1 => 1..3_000u64];
    let len = prop_oneof![2 => Just(0usize), 4 => 1..200usize, 1 => 500..9_000usize];
    let gap = prop_oneof![3 => Just(1u64), 2 => 2..30u64, 1 => Just(1u64 << 26)];
    (count, gap, pris, delay_ms, len)
        .prop_map(|(count, gap, pris, delay_ms, len)| Bulk::Put { count, gap, pris, delay_ms, len })
        .prop_map(Step::Bulk)
}

/// Requests about many jobs at a time: segments fill, most of their jobs go, they are packed and merged.
pub fn bulks() -> impl Strategy<Value = Step> {
    let thinning = (2..12usize, 1..3usize, 0..4u8, Just(Step::Delete { pick: Pick::exactly(0) }));
    let turning = (1..6usize, 0..2usize, 0..4u8, about_one_job());
    let every = prop_oneof![2 => thinning, 3 => turning];
    prop_oneof![
        4 => bulk_puts(50..500),
        4 => (50..400usize, workers()).prop_map(|(count, worker)| Step::Bulk(Bulk::Reserve { count, worker })),
        8 => every.prop_map(|(of, keep, from, step)| {
            Step::Bulk(Bulk::Every { of, keep: keep.min(of - 1), from, step: Box::new(step) })
        }),
        2 => (1..400usize).prop_map(|count| Step::Kick { count }),
        2 => (1..400usize).prop_map(|slice| Step::Tick { slice }),
        1 => clears(),
        3 => clock(),
        1 => copies(),
        3 => requests(),
    ]
}

/// A big tube to begin with.
pub fn beginnings() -> impl Strategy<Value = Step> {
    bulk_puts(800..2_500)
}
