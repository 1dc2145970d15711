//! Building a tube from a snapshot.

use super::check::Invalid;
use super::event::Change;
use super::jobs::Jobs;
use super::segment::{Chunk, Segment};
use super::tube::{Header, Tube};

/// A tube that is being built from a snapshot: first its jobs, in the order of their ids, then its header.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "the segments would be copied whenever there are more of them")]
pub struct Restore {
    // The orders are made once all of them are here.
    segments: Vec<Box<Segment>>,
    header: Header,
}

impl Restore {
    /// Adds jobs, with their bodies, after checking them.
    pub fn add(&mut self, chunk: &Chunk<'_>, bodies: Vec<u8>) -> Result<(), Invalid> {
        let (segment, burials) = Segment::of_chunk(chunk, bodies)?;
        if segment.base_id() <= self.header.last_id {
            return Err(Invalid::Id(segment.base_id()));
        }
        self.header.last_id = segment.last_id();
        self.header.burials = self.header.burials.max(burials);
        match self.segments.last_mut().filter(|last| last.can_absorb(&segment)) {
            Some(last) => last.absorb(&segment),
            None => self.segments.push(Box::new(segment)),
        }
        Ok(())
    }

    /// The tube, if this can be its header.
    pub fn finish(self, header: Header) -> Result<Tube, Invalid> {
        let mut tube = Tube { jobs: Jobs::of_segments(self.segments), header: self.header };
        tube.verify(0, &[Change::Head(header)])?;
        tube.apply(0, &Change::Head(header));
        Ok(tube)
    }
}
