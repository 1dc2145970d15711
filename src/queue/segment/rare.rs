//! What hardly any segment has: jobs with a timing of their own, and jobs with a history.

use super::super::blocks;
use super::packed::PackedTiming;
use super::slot_set::SlotSet;
use super::sparse::Sparse;
use crate::queue::job::History;

/// The timings of a segment's jobs that have one, and the histories of those that have one. A segment without any has
/// no memory for them.
#[derive(Clone, Default)]
pub(super) struct Rare(Option<Box<Kept>>);

#[derive(Clone)]
struct Kept {
    timings: Sparse<PackedTiming>,
    histories: Sparse<History>,
    /// The buried jobs, all of which have a timing.
    buried: SlotSet,
    _filling: [u64; 2],
}

const _: () = assert!(blocks::is_even::<Kept>());

impl Kept {
    fn is_empty(&self) -> bool {
        self.timings.slots.is_empty() && self.histories.slots.is_empty()
    }

    fn bytes(&self) -> usize {
        size_of::<Kept>() + self.timings.bytes() + self.histories.bytes()
    }
}

impl Rare {
    pub(super) const fn new() -> Rare {
        Rare(None)
    }

    /// The slots that have a timing.
    #[inline]
    pub(super) fn timed(&self) -> SlotSet {
        self.0.as_ref().map_or(SlotSet::EMPTY, |kept| kept.timings.slots)
    }

    /// The slots of the buried jobs.
    #[inline]
    pub(super) fn buried(&self) -> SlotSet {
        self.0.as_ref().map_or(SlotSet::EMPTY, |kept| kept.buried)
    }

    #[inline]
    pub(super) fn timing(&self, slot: usize) -> Option<PackedTiming> {
        self.0.as_ref()?.timings.get(slot)
    }

    #[inline]
    pub(super) fn history(&self, slot: usize) -> Option<History> {
        self.0.as_ref()?.histories.get(slot)
    }

    /// Whether nothing is kept of this slot.
    #[inline]
    pub(super) fn has_nothing_of(&self, slot: usize) -> bool {
        match &self.0 {
            None => true,
            Some(kept) => !kept.timings.slots.has(slot) && !kept.histories.slots.has(slot),
        }
    }

    /// Slots and timings, by slot.
    pub(super) fn timings(&self) -> impl Iterator<Item = (usize, &PackedTiming)> {
        self.0.iter().flat_map(|kept| kept.timings.iter())
    }

    /// Changes what is kept, and adds to `grown` by how many bytes the memory grew.
    fn change(&mut self, is_more: bool, grown: &mut isize, change: impl FnOnce(&mut Kept, &mut isize)) {
        if self.0.is_none() && is_more {
            let (timings, histories) = (Sparse::new(), Sparse::new());
            let buried = SlotSet::EMPTY;
            self.0 = Some(Box::new(Kept { timings, histories, buried, _filling: [0; 2] }));
            *grown += size_of::<Kept>() as isize;
        }
        let Some(kept) = &mut self.0 else { return };
        change(kept, grown);
        if kept.is_empty() {
            *grown -= kept.bytes() as isize;
            self.0 = None;
        }
    }

    /// Gives a slot a timing, or takes it away.
    #[inline(never)]
    pub(super) fn set_timing(
        &mut self,
        slot: usize,
        timing: Option<PackedTiming>,
        is_buried: bool,
        grown: &mut isize,
    ) {
        self.change(timing.is_some(), grown, |kept, grown| {
            kept.timings.set(slot, timing, grown);
            if is_buried { kept.buried.insert(slot) } else { kept.buried.remove(slot) }
        });
    }

    /// Gives a slot a history, or takes it away.
    #[inline(never)]
    pub(super) fn set_history(&mut self, slot: usize, history: Option<History>, grown: &mut isize) {
        self.change(history.is_some(), grown, |kept, grown| kept.histories.set(slot, history, grown));
    }

    /// Takes all that is kept of a slot away, and returns its timing.
    #[inline]
    pub(super) fn take(&mut self, slot: usize, grown: &mut isize) -> Option<PackedTiming> {
        if self.has_nothing_of(slot) { None } else { self.take_out(slot, grown) }
    }

    #[inline(never)]
    fn take_out(&mut self, slot: usize, grown: &mut isize) -> Option<PackedTiming> {
        let timing = self.timing(slot);
        self.change(false, grown, |kept, grown| {
            kept.timings.take(slot, grown);
            kept.histories.take(slot, grown);
            kept.buried.remove(slot);
        });
        timing
    }

    /// Takes away all that is kept of these slots.
    pub(super) fn forget(&mut self, slots: SlotSet) {
        self.change(false, &mut 0, |kept, _| {
            kept.timings.keep(kept.timings.slots.without(slots));
            kept.histories.keep(kept.histories.slots.without(slots));
            kept.buried = kept.buried.without(slots);
        });
    }

    /// What is kept as it stands once there are no slots but the `living`, of which all of it is.
    pub(super) fn among(&self, living: SlotSet) -> Rare {
        Rare(self.0.as_ref().map(|kept| {
            let (timings, histories) = (kept.timings.among(living), kept.histories.among(living));
            Box::new(Kept { timings, histories, buried: kept.buried.places_among(living), ..**kept })
        }))
    }

    /// The histories, by slot.
    pub(super) fn histories(&self) -> SlotSet {
        self.0.as_ref().map_or(SlotSet::EMPTY, |kept| kept.histories.slots)
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |kept| kept.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::job::Timing;

    #[test]
    fn what_is_kept_goes_with_the_last_that_has_it() {
        let mut rare = Rare::new();
        let mut grown = 0;
        let timing = PackedTiming::of(Timing { at: 5, delay_ms: 0 });
        rare.set_timing(3, None, false, &mut grown);
        assert_eq!((grown, rare.bytes()), (0, 0));
        rare.set_timing(3, Some(timing), true, &mut grown);
        rare.set_timing(4, Some(timing), false, &mut grown);
        rare.set_history(9, Some(History { kicks: 1, ..History::default() }), &mut grown);
        assert_eq!(grown as usize, rare.bytes());
        assert!(rare.buried().has(3) && !rare.buried().has(4) && rare.timed().has(4));
        assert_eq!((rare.timings().count(), rare.history(9).map(|history| history.kicks)), (2, Some(1)));
        let among = rare.among(SlotSet::EMPTY.with(3).with(4).with(9));
        assert!(among.buried().has(0) && among.timed().has(1) && among.history(2).is_some());
        assert_eq!(rare.take(3, &mut grown).map(|timing| timing.get().at), Some(5));
        assert!(!rare.buried().has(3) && rare.has_nothing_of(3));
        rare.forget(SlotSet::EMPTY.with(4));
        rare.set_history(9, None, &mut grown);
        assert_eq!(rare.bytes(), 0);
    }
}
