//! FLOOR 1. Events and snapshots as bytes: serde and bincode, behind a version byte.
//!
//! ```text
//! event      version:u8  at_ms:varint  change  change  ...
//! snapshot   first      = version:u8  jobs:varint  header  chunk  chunk  ...
//!            bodies       bodies       ...
//!            chunk  chunk  ...
//!            bodies       bodies       ...                   until all jobs are there
//! ```
//!
//! A snapshot is a row of pieces. A chunk is up to 128 jobs, column by column. Many stand in one piece, and the bodies
//! of each follow, one body after the other, as they lie in memory before and after: in a piece of their own, or in
//! several where they are neither short nor very long. Redis compresses each piece alone, and that takes the less time
//! for a byte, the shorter the text it has to look back on. Only where a chunk's bodies are short, they stand right
//! behind it. So a small tube is a single piece.
//!
//! A change, a header and a chunk are what bincode 2 makes of the types of [`queue`](crate::queue) in its standard
//! configuration (little endian, variable-length integers). When one of those types changes, its old form is
//! kept here under its version, so that every file that was ever written stays readable.
//!
//! Everything decoded may come from an enemy: lengths are checked against what is there, nothing is allocated
//! on a promise, and what the bytes mean is checked by [`Tube::verify`] and its like.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;

use bincode::config::{Configuration, standard};
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use serde::{Deserialize, Serialize};

use crate::queue::{Change, Chunk, Header, Invalid, Restore, Tube};

/// The version that is written.
pub const VERSION: u8 = 1;

/// Events that rewrite a tube, and the parts of its contents, are closed once they hold so many bytes.
const PART_BYTES: usize = 64 * 1024;

/// A piece of chunks is closed once it holds so many bytes, or many bodies wait to follow it that had to be copied.
const CHUNKS_BYTES: usize = 4 * 1024;

/// Bodies of no more bytes in all stand behind their chunk.
const SHORT_BYTES: usize = 1024;

/// Bodies of no more than [`PARTED_BYTES`] in all are pieces of so many. Redis then compresses 12,200 bytes in 70 % of
/// the time, to 108 % of the size.
const BODIES_PIECE_BYTES: usize = 4 * 1024;

/// Of more bytes bodies are one piece, which is not copied when it is loaded.
const PARTED_BYTES: usize = 24 * 1024;

/// Bytes that are no event or snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Corrupt {
    /// Written by a later version of phean.
    Version(u8),
    /// Cut off, or not what it should be.
    Bytes,
    /// Well formed, but impossible.
    Invalid(Invalid),
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Corrupt::Version(version) => write!(f, "format version {version} is newer than {VERSION}"),
            Corrupt::Bytes => write!(f, "the bytes are cut off or damaged"),
            Corrupt::Invalid(invalid) => invalid.fmt(f),
        }
    }
}

impl std::error::Error for Corrupt {}

impl From<Invalid> for Corrupt {
    fn from(invalid: Invalid) -> Corrupt {
        Corrupt::Invalid(invalid)
    }
}

const FORMAT: Configuration = standard();

/// Appends to a vector, which cannot fail. (As [`std::io::Write`] it could, for all that bincode knows.)
struct Appender<'a>(&'a mut Vec<u8>);

impl Writer for Appender<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn encode(value: &impl Serialize, out: &mut Vec<u8>) {
    // None of our types refuses to be serialized.
    let written = bincode::serde::encode_into_writer(value, Appender(out), FORMAT);
    debug_assert!(written.is_ok());
}

fn decode<'a, T: Deserialize<'a>>(bytes: &mut &'a [u8]) -> Result<T, Corrupt> {
    let (value, used) =
        bincode::serde::borrow_decode_from_slice(bytes, FORMAT).map_err(|_| Corrupt::Bytes)?;
    *bytes = bytes.get(used..).ok_or(Corrupt::Bytes)?;
    Ok(value)
}

fn check_version(bytes: &mut &[u8]) -> Result<(), Corrupt> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            *bytes = rest;
            Ok(())
        }
        Some((&version, _)) => Err(Corrupt::Version(version)),
        None => Err(Corrupt::Bytes),
    }
}

/// Starts an event at `at_ms` in the empty buffer `out`.
pub fn begin_event(at_ms: u64, out: &mut Vec<u8>) {
    out.push(VERSION);
    encode(&at_ms, out);
}

/// Appends a change to an event.
pub fn push_change(change: &Change<'_>, out: &mut Vec<u8>) {
    encode(change, out);
}

/// An event whose changes are still bytes: they are read one by one, so that a long event needs no memory of its
/// own.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// When it happened (Unix ms).
    pub at_ms: u64,
    changes: &'a [u8],
}

/// Reads an event. Its changes may still turn out to be corrupt.
pub fn read_event(mut bytes: &[u8]) -> Result<Event<'_>, Corrupt> {
    check_version(&mut bytes)?;
    let at_ms = decode(&mut bytes)?;
    Ok(Event { at_ms, changes: bytes })
}

impl<'a> Event<'a> {
    /// The changes, in order, at least one. After an error nothing follows.
    pub fn changes(&self) -> impl Iterator<Item = Result<Change<'a>, Corrupt>> + use<'a> {
        let mut left = Some(self.changes);
        std::iter::from_fn(move || {
            let mut bytes = left.take()?;
            let change = decode(&mut bytes);
            left = Some(bytes).filter(|bytes| change.is_ok() && !bytes.is_empty());
            Some(change)
        })
    }
}

/// Writes a tube as events that build it again from nothing, each about 64 KiB long.
pub fn rewrite_as_events(tube: &Tube, mut emit: impl FnMut(&[u8])) {
    let mut event = Vec::with_capacity(PART_BYTES);
    begin_event(0, &mut event);
    for job in tube.jobs() {
        push_change(&Change::Restore(job), &mut event);
        if event.len() >= PART_BYTES {
            emit(&event);
            event.clear();
            begin_event(0, &mut event);
        }
    }
    push_change(&Change::Head(*tube.header()), &mut event);
    emit(&event);
}

#[derive(Serialize, Deserialize)]
struct Head {
    jobs: u64,
    header: Header,
}

/// Writes a tube as a snapshot, piece by piece.
pub fn save_snapshot(tube: &Tube, mut emit: impl FnMut(&[u8])) {
    let mut chunks = Vec::new();
    let (mut long, mut copied) = (Vec::new(), 0);
    write_head(tube, &mut chunks);
    for (chunk, bodies) in tube.chunks() {
        if chunks.len() >= CHUNKS_BYTES || copied >= PART_BYTES {
            emit(&chunks);
            long.drain(..).for_each(|bodies: Cow<'_, [u8]>| emit_bodies(&bodies, &mut emit));
            chunks.clear();
            copied = 0;
        }
        encode(&chunk, &mut chunks);
        if bodies.len() <= SHORT_BYTES {
            chunks.extend_from_slice(&bodies);
        } else {
            copied += if matches!(bodies, Cow::Owned(_)) { bodies.len() } else { 0 };
            long.push(bodies);
        }
    }
    if !chunks.is_empty() {
        emit(&chunks);
        long.iter().for_each(|bodies| emit_bodies(bodies, &mut emit));
    }
}

/// Writes the bodies of a chunk that do not stand behind it.
fn emit_bodies(bodies: &[u8], emit: &mut impl FnMut(&[u8])) {
    let piece = if bodies.len() <= PARTED_BYTES { BODIES_PIECE_BYTES } else { bodies.len() };
    bodies.chunks(piece).for_each(emit);
}

fn write_head(tube: &Tube, bytes: &mut Vec<u8>) {
    bytes.push(VERSION);
    encode(&Head { jobs: tube.counts().all(), header: *tube.header() }, bytes);
}

/// Shows all that a tube holds, part by part, as bytes that are the same for equal tubes, however they lie in
/// memory. Nothing reads them again: they are what a digest is made of.
pub fn show_contents(tube: &Tube, mut emit: impl FnMut(&[u8])) {
    let mut bytes = Vec::with_capacity(PART_BYTES);
    write_head(tube, &mut bytes);
    for job in tube.jobs() {
        encode(&job, &mut bytes);
        if bytes.len() >= PART_BYTES {
            emit(&bytes);
            bytes.clear();
        }
    }
    emit(&bytes);
}

/// Reads a snapshot piece by piece.
pub struct Loader {
    jobs: Restore,
    header: Header,
    left: u64,
    /// A piece of chunks, of which those before `at` were read.
    chunks: Vec<u8>,
    at: usize,
    /// The last chunk that was read, if its bodies are still to come.
    waiting: Option<Waiting>,
}

/// A chunk whose bodies are still to come.
struct Waiting {
    chunk: Chunk<'static>,
    length: usize,
    /// Those of which the pieces came.
    bodies: Vec<u8>,
}

impl Waiting {
    /// Takes the next piece of the bodies. A piece that is all of them is not copied.
    fn take(&mut self, piece: Vec<u8>) -> Result<(), Corrupt> {
        let missing = self.length - self.bodies.len();
        let is_all = piece.len() == self.length;
        if piece.is_empty() || piece.len() > missing || (self.length > PARTED_BYTES && !is_all) {
            return Err(Corrupt::Bytes);
        }
        if is_all {
            self.bodies = piece;
        } else {
            self.bodies.reserve_exact(missing);
            self.bodies.extend_from_slice(&piece);
        }
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.bodies.len() == self.length
    }
}

impl Loader {
    /// Starts with the snapshot's first piece.
    pub fn new(mut piece: &[u8]) -> Result<Loader, Corrupt> {
        check_version(&mut piece)?;
        let Head { jobs, header } = decode(&mut piece)?;
        let (restore, chunks) = (Restore::default(), piece.to_vec());
        let mut loader = Loader { jobs: restore, header, left: jobs, chunks, at: 0, waiting: None };
        loader.read_chunks()?;
        Ok(loader)
    }

    /// Whether more pieces follow.
    pub fn wants_more(&self) -> bool {
        self.left > 0 || self.waiting.is_some()
    }

    /// Takes the next piece.
    pub fn piece(&mut self, piece: Vec<u8>) -> Result<(), Corrupt> {
        if let Some(waiting) = &mut self.waiting {
            waiting.take(piece)?;
            let Some(whole) = self.waiting.take_if(|waiting| waiting.is_whole()) else { return Ok(()) };
            self.jobs.add(&whole.chunk, whole.bodies)?;
        } else if piece.is_empty() {
            return Err(Corrupt::Bytes);
        } else {
            (self.chunks, self.at) = (piece, 0);
        }
        self.read_chunks()
    }

    /// Reads chunks until there is one whose bodies are still to come.
    fn read_chunks(&mut self) -> Result<(), Corrupt> {
        while let Some(mut bytes) = self.chunks.get(self.at..).filter(|bytes| !bytes.is_empty()) {
            let chunk: Chunk<'_> = decode(&mut bytes)?;
            self.left = self.left.checked_sub(chunk.jobs()).ok_or(Corrupt::Bytes)?;
            let length = chunk.body_bytes().ok_or(Corrupt::Bytes)?;
            if length > SHORT_BYTES {
                self.at = self.chunks.len() - bytes.len();
                self.waiting = Some(Waiting { chunk: chunk.into_owned(), length, bodies: Vec::new() });
                break;
            }
            let (bodies, rest) = bytes.split_at_checked(length).ok_or(Corrupt::Bytes)?;
            self.jobs.add(&chunk, bodies.to_vec())?;
            self.at = self.chunks.len() - rest.len();
        }
        Ok(())
    }

    /// The tube, once all pieces are there.
    pub fn finish(self) -> Result<Tube, Corrupt> {
        if self.wants_more() {
            return Err(Corrupt::Bytes);
        }
        Ok(self.jobs.finish(self.header)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUT: Change<'static> =
        Change::Put { id: 7, pri: 1024, delay_ms: 0, ttr_ms: 60_000, body: b"hello" };

    fn event() -> Vec<u8> {
        let mut event = Vec::new();
        begin_event(1_790_000_000_000, &mut event);
        push_change(&PUT, &mut event);
        push_change(&Change::Reserve { id: 7, n: 1_790_000_000_000, worker: 3, ttr_ms: 60_000 }, &mut event);
        event
    }

    fn decode_event(bytes: &[u8]) -> Result<(u64, Vec<Change<'_>>), Corrupt> {
        let event = read_event(bytes)?;
        Ok((event.at_ms, event.changes().collect::<Result<_, _>>()?))
    }

    #[test]
    fn an_event_comes_back_as_it_was() {
        let event = event();
        let (at_ms, changes) = decode_event(&event).unwrap();
        assert_eq!(at_ms, 1_790_000_000_000);
        assert_eq!(changes.len(), 2);
        assert_eq!(changes[0], PUT);
    }

    /// The bytes of version 1, written down: whoever changes them must change the version.
    #[test]
    fn version_1_is_written_so() {
        let mut event = Vec::new();
        begin_event(250, &mut event);
        push_change(&PUT, &mut event);
        push_change(&Change::Delete { id: 7 }, &mut event);
        let put = [0, 7, 251, 0, 4, 0, 251, 0x60, 0xea, 5, b'h', b'e', b'l', b'l', b'o'];
        let expected: Vec<u8> = [&[1, 250][..], &put, &[2, 7]].concat();
        assert_eq!(event, expected);
    }

    fn pieces_of(tube: &Tube) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        save_snapshot(tube, |piece| pieces.push(piece.to_vec()));
        pieces
    }

    fn load(pieces: &[Vec<u8>]) -> Result<Tube, Corrupt> {
        let mut loader = Loader::new(&pieces[0])?;
        for piece in &pieces[1..] {
            loader.piece(piece.clone())?;
        }
        loader.finish()
    }

    #[test]
    fn a_snapshot_of_version_1_is_written_so() {
        let mut tube = Tube::new(5);
        tube.apply(200, &PUT);
        tube.apply(201, &Change::Put { id: 9, pri: 3, delay_ms: 0, ttr_ms: 60_000, body: b"hi" });
        tube.apply(202, &Change::Reserve { id: 9, n: 8, worker: 4, ttr_ms: 6 });
        let head = [1, 2, 9, 0, 0, 0, 202, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        let ids = [2, 6, 1, 2, 1, 2];
        let created = [200, 1, 2, 0, 1];
        let pris = [2, 2, 251, 0, 4, 3];
        let (ttrs_ms, states) = ([0, 251, 0x60, 0xea], [1, 2, 0, 2]);
        let (few, lengths) = ([0, 1, 1, 8, 208, 202, 4, 6, 0], [1, 2, 5, 2]);
        let chunk = [&ids[..], &created, &pris, &ttrs_ms, &states, &few, &lengths].concat();
        assert_eq!(pieces_of(&tube), [[&head[..], &chunk, b"hellohi"].concat()]);
    }

    #[test]
    fn long_bodies_follow_the_piece_with_their_chunks() {
        let mut tube = Tube::new(5);
        let mut put = |id, body: &[u8]| {
            tube.apply(200, &Change::Put { id, pri: 3, delay_ms: 0, ttr_ms: 6, body });
        };
        put(1, &[b'a'; 12_000]);
        put(2, &[b'b'; 800]);
        put(3, &[b'c'; 12_100]);
        let pieces = pieces_of(&tube);
        let same = |same| vec![0, same];
        let chunk = |id: u8, bodies: &[u8], length: &[u8]| {
            let columns =
                [same(0), same(3), same(6), same(0), vec![0, 0, 0], vec![0], length.to_vec()].concat();
            [&[1, id - 1, 0, 1, 200][..], &columns, bodies].concat()
        };
        let head = &pieces[0][..17];
        let chunks = [
            chunk(1, &[], &[251, 0xe0, 0x2e]),
            chunk(2, &[b'b'; 800], &[251, 0x20, 0x03]),
            chunk(3, &[], &[251, 0x44, 0x2f]),
        ];
        assert!(pieces[0] == [head, &chunks.concat()].concat());
        let parts =
            [(b'a', 3_808), (b'c', 3_908)].map(|(byte, rest)| [4_096, 4_096, rest].map(|n| vec![byte; n]));
        let parts = parts.concat();
        assert!(pieces[1..] == parts);
        assert_same(&tube, &load(&pieces).unwrap());
        // In whatever pieces they come.
        let (first, third) = (parts[..3].concat(), parts[3..].concat());
        for cuts in [[0, 0], [1, 12_099], [11_999, 1]] {
            let [a, c] = [first.split_at(cuts[0]), third.split_at(cuts[1])];
            let cut = [a.0, a.1, c.0, c.1].into_iter().filter(|piece| !piece.is_empty());
            let cut: Vec<Vec<u8>> = [&pieces[0][..]].into_iter().chain(cut).map(<[u8]>::to_vec).collect();
            assert_same(&tube, &load(&cut).unwrap());
        }
    }

    #[test]
    fn very_long_bodies_are_one_piece() {
        for (length, parts) in [(24 * 1024, 6), (24 * 1024 + 1, 1), (10_000_000, 1)] {
            let mut tube = Tube::new(5);
            let body = vec![b'a'; length];
            tube.apply(200, &Change::Put { id: 1, pri: 3, delay_ms: 0, ttr_ms: 6, body: &body });
            let pieces = pieces_of(&tube);
            assert_eq!(pieces.len(), 1 + parts);
            assert!(pieces[1..].concat() == body);
            assert_same(&tube, &load(&pieces).unwrap());
        }
    }

    #[test]
    fn bodies_whose_pieces_do_not_make_them_up_are_corrupt() {
        let tube = tube_of(1, |_| 8_000);
        let pieces = pieces_of(&tube);
        assert_eq!(pieces.iter().map(Vec::len).skip(1).collect::<Vec<_>>(), [4_096, 3_904]);
        let with = |bodies: &[usize]| {
            let bodies = bodies.iter().map(|length| vec![b'x'; *length]);
            load(&[pieces[0].clone()].into_iter().chain(bodies).collect::<Vec<_>>())
        };
        for bodies in [&[8_000][..], &[4_096, 3_904], &[4_000, 1, 3_999]] {
            assert_same(&tube, &with(bodies).unwrap());
        }
        for bodies in [
            &[][..],
            &[4_096],
            &[4_096, 3_903],
            &[4_096, 3_905],
            &[8_001],
            &[0, 8_000],
            &[4_096, 0, 3_904],
            &[4_096, 8_000],
            &[8_000, 1],
        ] {
            assert_eq!(with(bodies).err(), Some(Corrupt::Bytes), "{bodies:?}");
        }
        // Nothing is kept for bodies that are long by their lengths only.
        let long = pieces_of(&tube_of(1, |_| 100_000));
        assert_eq!(load(&[long[0].clone(), vec![b'x'; 99_999], vec![b'x']]).err(), Some(Corrupt::Bytes));
    }

    /// Every byte of a snapshot of jobs in all states, set to whatever may make it lie: it is refused, or what it
    /// says holds together.
    #[test]
    fn a_snapshot_with_a_wrong_byte_is_corrupt_or_sound() {
        let (mut refused, mut loaded) = (0, 0);
        let (short, long) = (pieces_of(&tube(20)), pieces_of(&tube_of(4, |id| 300 + id as usize)));
        assert_eq!((short.len(), long.len()), (1, 2));
        for (pieces, piece) in [(&short, 0), (&long, 0), (&long, 1)] {
            for at in 0..pieces[piece].len() {
                for byte in [0, 1, 2, 3, 129, 251, 253, 255] {
                    let mut wrong = pieces.clone();
                    wrong[piece][at] = byte;
                    match load(&wrong) {
                        Ok(tube) => {
                            tube.check().unwrap();
                            assert_same(&tube, &load(&pieces_of(&tube)).unwrap());
                            loaded += 1;
                        }
                        Err(_) => refused += 1,
                    }
                }
            }
        }
        assert!(refused > 500 && loaded > 500, "{refused} refused, {loaded} loaded");
    }

    #[test]
    fn every_cut_of_an_event_is_corrupt_or_a_shorter_event() {
        let event = event();
        for end in 0..event.len() {
            if let Ok((_, changes)) = decode_event(&event[..end]) {
                assert_eq!(changes, [PUT]);
            }
        }
        assert_eq!(decode_event(&[2, 0]), Err(Corrupt::Version(2)));
        assert_eq!(decode_event(&[]), Err(Corrupt::Bytes));
        assert_eq!(decode_event(&[1, 0]), Err(Corrupt::Bytes));
    }

    fn tube(jobs: u64) -> Tube {
        tube_of(jobs, |id| (id % 300) as usize)
    }

    fn tube_of(jobs: u64, length: impl Fn(u64) -> usize) -> Tube {
        let mut tube = Tube::new(5);
        for id in 1..=jobs {
            let body = vec![b'x'; length(id)];
            tube.apply(id, &Change::Put { id, pri: 9, delay_ms: id % 3, ttr_ms: 60_000, body: &body });
        }
        for id in (1..=jobs).step_by(5) {
            tube.apply(jobs, &Change::Reserve { id, n: jobs, worker: 1, ttr_ms: 1_000 });
            if id % 10 == 1 {
                tube.apply(jobs, &Change::Bury { id, pri: 3 });
            }
        }
        tube
    }

    fn assert_same(a: &Tube, b: &Tube) {
        assert!(a.jobs().eq(b.jobs()));
        assert_eq!(a.header(), b.header());
        assert_eq!(a.counts(), b.counts());
        b.check().unwrap();
    }

    #[test]
    fn a_snapshot_comes_back_as_it_was() {
        for jobs in [0, 1, 2_000] {
            let tube = tube(jobs);
            let pieces = pieces_of(&tube);
            let mut loader = Loader::new(&pieces[0]).unwrap();
            for piece in &pieces[1..] {
                assert!(loader.wants_more());
                loader.piece(piece.clone()).unwrap();
            }
            assert!(!loader.wants_more());
            assert_same(&tube, &loader.finish().unwrap());
        }
    }

    #[test]
    fn a_rewritten_tube_comes_back_as_it_was() {
        for jobs in [0, 1, 2_000] {
            let tube = tube(jobs);
            let mut copy = Tube::new(77);
            rewrite_as_events(&tube, |event| {
                let (at_ms, changes) = decode_event(event).unwrap();
                copy.verify(at_ms, &changes).unwrap();
                for change in &changes {
                    copy.apply(at_ms, change);
                }
            });
            assert_same(&tube, &copy);
        }
    }

    #[test]
    fn a_snapshot_that_lies_about_its_jobs_is_corrupt() {
        let pieces = pieces_of(&tube(200));
        assert!(pieces.len() > 2);
        let mut loader = Loader::new(&pieces[0]).unwrap();
        for piece in &pieces[1..] {
            loader.piece(piece.clone()).unwrap();
        }
        assert_eq!(loader.piece(pieces[0].clone()), Err(Corrupt::Bytes));
        assert_eq!(loader.piece(Vec::new()), Err(Corrupt::Bytes));
        assert!(load(&pieces[..2]).is_err());
        assert!(Loader::new(&pieces[0]).unwrap().finish().is_err());
        assert!(Loader::new(&pieces[1]).is_err());
        assert!(load(&[&pieces[..], &[Vec::new()]].concat()).is_err());
        assert!(load(&[&pieces[..2], &pieces[1..]].concat()).is_err());
    }

    /// What a digest is made of: the head, and each job once, however many parts that is.
    #[test]
    fn contents_are_shown_once_in_parts() {
        for jobs in [0, 1, 300, 1_000] {
            let tube = tube_of(jobs, |_| 700);
            let (mut shown, mut longest) = (Vec::new(), 0);
            show_contents(&tube, |part| {
                shown.extend_from_slice(part);
                longest = longest.max(part.len());
            });
            assert!(longest < PART_BYTES + 1_000, "a part of {longest}");
            let mut left = &shown[..];
            check_version(&mut left).unwrap();
            let head: Head = decode(&mut left).unwrap();
            assert_eq!((head.jobs, head.header), (jobs, *tube.header()));
            for job in tube.jobs() {
                assert_eq!(decode::<crate::queue::Job<'_>>(&mut left), Ok(job));
            }
            assert!(left.is_empty());
        }
    }

    /// Chunks hold no more and no fewer jobs than the head says.
    #[test]
    fn a_snapshot_counts_its_jobs() {
        let mut pieces = pieces_of(&tube_of(3, |_| 2));
        assert_eq!((pieces.len(), pieces[0][1]), (1, 3));
        for (jobs, is_sound) in [(2, false), (3, true), (4, false)] {
            pieces[0][1] = jobs;
            let tube = Loader::new(&pieces[0]).and_then(Loader::finish);
            assert_eq!(tube.is_ok(), is_sound, "{jobs} jobs");
        }
    }
}
