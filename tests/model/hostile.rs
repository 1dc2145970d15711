//! Events and snapshots that nobody honest has written. They are refused, or leave a tube that holds together:
//! it passes `check`, its snapshot loads again, and every request put to it can still be decided, passes the
//! check that replicas make, and leaves a tube that holds together.

use phean::codec::{self, Loader};
use phean::queue::decide::{self, Release, Retry, Worker};
use phean::queue::{
    Change, DURATION_MAX_MS, Handle, Header, History, ID_MAX, Job, Order, Reservation, State, States,
    TIME_MAX_MS, Then, Timing, Totals, Tube, Why,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::cases;
use crate::rules;
use crate::steps::{Step, requests};
use crate::world::{START_MS, World, assert_same, rewritten, saved_and_loaded};

/// The largest number that fits in six bytes.
pub const U48_MAX: u64 = (1 << 48) - 1;

// ---- What must hold of a tube, wherever it came from

/// Makes a change that was just decided.
fn make(tube: &mut Tube, now_ms: u64, change: &Change<'_>) {
    tube.verify(now_ms, &[*change]).unwrap_or_else(|e| panic!("{change:?} was decided, but {e}"));
    tube.apply(now_ms, change);
    tube.check().unwrap_or_else(|e| panic!("{change:?}: {e}"));
}

fn make_all_due(tube: &mut Tube, now_ms: u64, retry: Retry) {
    for _ in 0..=tube.counts().all() {
        let Some(change) = decide::due(tube, now_ms, retry) else { return };
        make(tube, now_ms, &change);
    }
    assert_eq!(decide::due(tube, now_ms, retry), None, "ticks never end");
}

/// Puts every kind of request to the tube.
fn go_on(mut tube: Tube, now_ms: u64) {
    tube.check().unwrap();
    assert_same(&tube, &saved_and_loaded(&tube));
    assert_same(&tube, &rewritten(&tube));
    let worker = Worker { client: 3, ttr_ms: None };
    let retry = Retry { count: Some(1), interval_ms: 5 };
    make_all_due(&mut tube, now_ms, retry);
    if tube.is_paused(now_ms) {
        make(&mut tube, now_ms, &Change::Pause { for_ms: 0 });
    }
    for round in 0..2 {
        while let Some(change) = decide::reserve(&tube, now_ms, worker) {
            make(&mut tube, now_ms, &change);
        }
        for id in tube.ordered(Order::Held, 100) {
            let handle = Handle::id(id);
            let release = Release { untried: id % 2 == 0, ..Release::default() };
            let change = match id % 5 + round {
                0 | 1 => decide::release(&tube, handle, now_ms, release, retry),
                2 => decide::undeliver(&tube, handle, now_ms),
                3 => decide::touch(&tube, handle, now_ms, None),
                4 => decide::lose(&tube, handle, now_ms, retry),
                _ => decide::bury(&tube, handle, now_ms, None),
            };
            make(&mut tube, now_ms, &change.expect("a reserved job obeys"));
        }
        let order = decide::kickable(&tube);
        while let Some(change) = decide::kick(&tube, order) {
            make(&mut tube, now_ms, &change);
        }
    }
    make_all_due(&mut tube, TIME_MAX_MS, Retry::default());
    assert_same(&tube, &saved_and_loaded(&tube));
    make(&mut tube, now_ms, &Change::Clear { states: states(&State::ALL) });
    assert!(tube.is_idle() || tube.is_paused(TIME_MAX_MS));
}

/// Does what a replica does with an event from anywhere. Returns whether it was accepted.
fn accept(tube: &mut Tube, at_ms: u64, changes: &[Change<'_>]) -> bool {
    let verdict = tube.verify(at_ms, changes);
    let mut after = tube.clone();
    let is_possible = at_ms <= TIME_MAX_MS
        && changes.iter().enumerate().all(|(i, change)| {
            let is_possible = rules::is_possible(&after, change)
                && (!matches!(change, Change::Remove) || i + 1 == changes.len());
            if is_possible {
                after.apply(at_ms, change);
                after.check().unwrap_or_else(|e| panic!("{change:?}: {e}"));
            }
            is_possible
        });
    assert_eq!(verdict.is_ok(), is_possible, "{changes:?} at {at_ms}: {verdict:?}");
    if is_possible {
        *tube = after;
    }
    is_possible
}

/// Aims most changes that name a small id at a job that is there, or at the next free id.
fn aim(tube: &Tube, change: &mut Change<'_>) {
    let ids: Vec<u64> = tube.jobs().map(|job| job.id).collect();
    let last_id = tube.header().last_id;
    match change {
        Change::Put { id, .. } | Change::Restore(Job { id, .. }) if *id < 40 && *id % 8 != 0 => {
            *id += last_id;
        }
        Change::Reserve { id, .. }
        | Change::Delete { id }
        | Change::Return { id, .. }
        | Change::Bury { id, .. }
        | Change::Touch { id, .. }
        | Change::Kick { id }
        | Change::Promote { id }
        | Change::Prioritize { id, .. }
        | Change::Delay { id, .. }
            if *id < 40 && *id % 8 != 0 && !ids.is_empty() =>
        {
            *id = ids[*id as usize % ids.len()];
        }
        Change::Head(header) if header.last_id < 40 && header.last_id % 8 != 0 => {
            header.last_id += last_id;
        }
        _ => {}
    }
}

// ---- Numbers, and what is made of them

fn states(states: &[State]) -> States {
    states.iter().fold(States::NONE, |set, state| set.with(*state))
}

/// A set of states as only bytes can say it.
pub fn states_of_byte(byte: u8) -> States {
    let mut event = Vec::new();
    codec::begin_event(0, &mut event);
    codec::push_change(&Change::Clear { states: States::NONE }, &mut event);
    *event.last_mut().unwrap() = byte;
    match crate::decode_event(&event).unwrap().1[..] {
        [Change::Clear { states }] => states,
        _ => panic!("a clear is written differently now"),
    }
}

fn edges() -> impl Strategy<Value = u64> {
    let edges = [
        0,
        1 << 32,
        ID_MAX,
        TIME_MAX_MS,
        DURATION_MAX_MS,
        TIME_MAX_MS + DURATION_MAX_MS,
        U48_MAX / 2,
        U48_MAX,
        u64::MAX,
    ];
    (select(edges.to_vec()), 0..3u64).prop_map(|(edge, over)| edge.wrapping_add(over).wrapping_sub(1))
}

/// Mostly small numbers, which a small tube's ids are among.
fn ids() -> impl Strategy<Value = u64> {
    prop_oneof![20 => 0..40u64, 2 => edges(), 1 => any::<u64>()]
}

fn times() -> impl Strategy<Value = u64> {
    prop_oneof![6 => START_MS..START_MS + 9_000, 4 => Just(0u64), 3 => edges(), 1 => any::<u64>()]
}

/// The limits of times and numbers that are accepted, mostly.
fn durations() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 1..9_000u64, 4 => Just(DURATION_MAX_MS), 2 => Just(0u64), 1 => edges()]
}

fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..9u64, 2 => Just(U48_MAX / 2), 2 => Just(U48_MAX), 1 => edges()]
}

fn counts() -> impl Strategy<Value = u32> {
    prop_oneof![0..3u32, Just(u32::MAX)]
}

fn totals() -> impl Strategy<Value = Totals> {
    prop_oneof![0..9u64, Just(u64::MAX)].prop_map(|n| Totals {
        puts: n,
        reserves: n,
        deletes: n,
        releases: n,
        buries: n,
        kicks: n,
        touches: n,
        timeouts: n,
        pauses: n,
        cleared: n,
    })
}

fn headers() -> impl Strategy<Value = Header> {
    let pause = prop_oneof![3 => Just((0, 0)), 2 => (times(), durations())];
    (prop_oneof![3 => ids(), 1 => Just(ID_MAX)], numbers(), pause, times(), totals()).prop_map(
        |(last_id, burials, (paused_until_ms, pause_ms), used_at_ms, totals)| Header {
            last_id,
            burials,
            paused_until_ms,
            pause_ms,
            used_at_ms,
            totals,
        },
    )
}

fn bodies() -> impl Strategy<Value = &'static [u8]> {
    select(vec![&b""[..], b"x", b"hello", &[7; 300], &[8; 9_000]])
}

fn histories() -> impl Strategy<Value = History> {
    (numbers(), counts(), counts()).prop_map(|(last_n, a, b)| History {
        last_n,
        attempts: a,
        reserves: b,
        timeouts: a,
        releases: b,
        buries: a,
        kicks: b,
    })
}

fn reservations() -> impl Strategy<Value = Reservation> {
    (numbers(), times(), times(), numbers(), durations()).prop_map(
        |(n, deadline_ms, reserved_at_ms, worker, ttr_ms)| Reservation {
            n,
            deadline_ms,
            reserved_at_ms,
            worker,
            ttr_ms,
        },
    )
}

/// Jobs that mostly do not contradict themselves.
fn jobs() -> impl Strategy<Value = Job<'static>> {
    let at = prop_oneof![times(), numbers()];
    let rest = (reservations(), histories(), bodies(), proptest::bool::weighted(0.05));
    (ids(), any::<u32>(), times(), durations(), select(State::ALL.to_vec()), at, durations(), rest).prop_map(
        |(id, pri, created_ms, ttr_ms, state, at, delay_ms, (reservation, history, body, is_mad))| {
            let is_held = (state == State::Reserved) != is_mad;
            Job {
                id,
                pri,
                created_ms,
                ttr_ms,
                state,
                timing: Timing { at: if is_held { 0 } else { at }, delay_ms },
                reservation: is_held.then_some(reservation),
                history,
                body,
            }
        },
    )
}

fn changes() -> impl Strategy<Value = Change<'static>> {
    let why = select(vec![Why::Released, Why::Untried, Why::TimedOut, Why::Lost, Why::Undelivered]);
    let then = prop_oneof![
        2 => Just(Then::Ready),
        2 => durations().prop_map(|delay_ms| Then::Delayed { delay_ms }),
        2 => Just(Then::Buried),
    ];
    let pri = any::<u32>;
    prop_oneof![
        4 => (ids(), pri(), durations(), durations(), bodies())
            .prop_map(|(id, pri, delay_ms, ttr_ms, body)| Change::Put { id, pri, delay_ms, ttr_ms, body }),
        6 => (ids(), prop_oneof![times(), numbers()], numbers(), durations())
            .prop_map(|(id, n, worker, ttr_ms)| Change::Reserve { id, n, worker, ttr_ms }),
        1 => ids().prop_map(|id| Change::Delete { id }),
        5 => (ids(), why, then, pri()).prop_map(|(id, why, then, pri)| Change::Return { id, why, then, pri }),
        4 => (ids(), pri()).prop_map(|(id, pri)| Change::Bury { id, pri }),
        3 => (ids(), durations()).prop_map(|(id, for_ms)| Change::Touch { id, for_ms }),
        3 => ids().prop_map(|id| Change::Kick { id }),
        2 => ids().prop_map(|id| Change::Promote { id }),
        2 => (ids(), pri()).prop_map(|(id, pri)| Change::Prioritize { id, pri }),
        3 => (ids(), durations()).prop_map(|(id, delay_ms)| Change::Delay { id, delay_ms }),
        2 => durations().prop_map(|for_ms| Change::Pause { for_ms }),
        1 => Just(Change::Resume),
        1 => (0..20u8).prop_map(|byte| Change::Clear { states: states_of_byte(byte) }),
        8 => jobs().prop_map(Change::Restore),
        3 => headers().prop_map(Change::Head),
        1 => Just(Change::Remove),
    ]
}

/// A small tube with a history, and the last event that made it.
fn tube_of(steps: &[Step]) -> (Tube, Vec<u8>) {
    let mut world = World::new(Retry::default());
    let mut event = Vec::new();
    for step in steps {
        if let Some(last) = world.step_alone(step) {
            event = last.to_vec();
        }
    }
    (world.tube, event)
}

// ---- Damage

#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Cut(Index),
    Repeat(Index, Index),
}

fn damages() -> impl Strategy<Value = Damage> {
    // The first bytes of longer numbers, and small ones.
    let byte = || prop_oneof![0..5u8, 250..=255u8, any::<u8>()];
    prop_oneof![
        4 => (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        4 => (any::<Index>(), byte()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        2 => (any::<Index>(), byte()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        2 => any::<Index>().prop_map(Damage::Remove),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Repeat(from, to)),
    ]
}

/// Damages the bytes; most of it hits the front, as bodies may hold anything.
fn damage(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let place = |index: &Index| {
        let at = index.index(bytes.len());
        if at.is_multiple_of(2) { at } else { at % 64 % bytes.len() }
    };
    match damage {
        Damage::Flip(at, bit) => {
            let at = place(at);
            bytes[at] ^= 1 << bit;
        }
        Damage::Set(at, byte) => {
            let at = place(at);
            bytes[at] = *byte;
        }
        Damage::Insert(at, byte) => bytes.insert(place(at), *byte),
        Damage::Remove(at) => {
            bytes.remove(place(at));
        }
        Damage::Cut(at) => bytes.truncate(place(at)),
        Damage::Repeat(from, to) => {
            let (from, to) = (place(from), place(to));
            let part = bytes[from.min(to)..from.max(to)].to_vec();
            bytes.splice(to..to, part);
        }
    }
}

/// Damage done to the pieces of a snapshot as a whole.
#[derive(Clone, Debug)]
enum Disorder {
    None,
    Drop(Index),
    Twice(Index),
    Swap(Index, Index),
}

fn disorders() -> impl Strategy<Value = Disorder> {
    prop_oneof![
        6 => Just(Disorder::None),
        1 => any::<Index>().prop_map(Disorder::Drop),
        1 => any::<Index>().prop_map(Disorder::Twice),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Disorder::Swap(a, b)),
    ]
}

fn load(pieces: &[Vec<u8>]) -> Option<Tube> {
    let mut loader = Loader::new(pieces.first()?).ok()?;
    for piece in &pieces[1..] {
        loader.piece(piece.clone()).ok()?;
    }
    loader.finish().ok()
}

proptest! {
    #![proptest_config(cases(200))]

    /// Events of arbitrary changes, one after the other, to a tube of a few jobs.
    #[test]
    fn impossible_changes_are_refused(
        steps in vec(requests(), 0..25),
        events in vec((times(), vec(changes(), 1..5)), 1..12),
    ) {
        let (mut tube, _) = tube_of(&steps);
        for (at_ms, mut changes) in events {
            changes.iter_mut().for_each(|change| aim(&tube, change));
            accept(&mut tube, at_ms, &changes);
        }
        go_on(tube, START_MS);
    }

    #[test]
    fn damaged_events_are_refused_or_harmless(
        steps in vec(requests(), 1..25),
        all in any::<bool>(),
        damages in vec(damages(), 1..5),
    ) {
        let (tube, mut event) = tube_of(&steps);
        let mut tube = if all {
            // The whole tube, written as events.
            event.clear();
            codec::rewrite_as_events(&tube, |e| event = e.to_vec());
            Tube::default()
        } else {
            tube
        };
        damages.iter().for_each(|d| damage(&mut event, d));
        if let Ok((at_ms, changes)) = crate::decode_event(&event) {
            prop_assert!(!changes.is_empty());
            if accept(&mut tube, at_ms, &changes) {
                go_on(tube, START_MS);
            }
        }
    }

    #[test]
    fn random_bytes_are_no_event_or_a_harmless_one(bytes in vec(any::<u8>(), 0..80), versioned in any::<bool>()) {
        let mut event = if versioned { vec![codec::VERSION] } else { Vec::new() };
        event.extend(bytes);
        if let Ok((at_ms, changes)) = crate::decode_event(&event) {
            accept(&mut Tube::default(), at_ms, &changes);
        }
    }

    #[test]
    fn damaged_snapshots_are_refused_or_load_as_a_sound_tube(
        steps in vec(requests(), 1..40),
        damages in vec((any::<Index>(), damages()), 0..4),
        disorder in disorders(),
    ) {
        let (tube, _) = tube_of(&steps);
        let mut pieces = Vec::new();
        codec::save_snapshot(&tube, |piece| pieces.push(piece.to_vec()));
        for (piece, d) in &damages {
            damage(&mut *piece.get_mut(&mut pieces), d);
        }
        match &disorder {
            Disorder::None => {}
            Disorder::Drop(at) => {
                pieces.remove(at.index(pieces.len()));
            }
            Disorder::Twice(at) => pieces.push(at.get(&pieces).clone()),
            Disorder::Swap(a, b) => {
                let (a, b) = (a.index(pieces.len()), b.index(pieces.len()));
                pieces.swap(a, b);
            }
        }
        if let Some(tube) = load(&pieces) {
            go_on(tube, START_MS);
        }
    }
}
