//! What is to be freed bit by bit: freeing an index of hundreds of thousands of tubes takes tenths of a second.

/// Things of which there may be very many, to be freed at leisure. They can be of any kind, but cannot go to another
/// thread: names are shared within this one.
#[derive(Default)]
pub struct Garbage(Vec<Box<dyn Iterator<Item = ()>>>);

impl Garbage {
    /// Adds a collection. O(1).
    pub fn add<T>(&mut self, collection: impl IntoIterator<Item = T> + 'static) {
        let mut items = collection.into_iter();
        // The few that most databases have are not worth a box.
        if items.size_hint().0 > 0 {
            self.0.push(Box::new(std::iter::from_fn(move || items.next().map(drop))));
        }
    }

    /// Frees so many things. O(`count`).
    pub fn free(&mut self, count: usize) {
        let mut left = count;
        while let Some(items) = self.0.last_mut() {
            left -= items.take(left).count();
            if left == 0 {
                return;
            }
            self.0.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn garbage_goes_bit_by_bit() {
        let thing = Rc::new(());
        let mut garbage = Garbage::default();
        garbage.add(vec![Rc::clone(&thing); 10]);
        garbage.add(Vec::<u8>::new());
        garbage.add((0..10).map(|n| (n, Rc::clone(&thing))).collect::<BTreeMap<_, _>>());
        for left in [15, 10, 5, 0, 0] {
            garbage.free(5);
            assert_eq!(Rc::strong_count(&thing) - 1, left);
        }
        assert!(garbage.0.is_empty());
    }
}
