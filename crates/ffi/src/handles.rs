//! The handles that a host holds, and what they stand for.
//!
//! What: [`Handles`], a table of slots; a handle is a slot's number, its generation and a mark, in the shape of a pointer.
//! Why not pointers: a host may call with a handle that it gave back, or with something that never was one, and that must
//! be an error. How it moves: a slot's generation grows each time that it is filled; a handle of an earlier one finds nothing.

use std::collections::VecDeque;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::warn;

use crate::sync::{Mutex, MutexGuard, lock};

const WIDE: bool = usize::BITS == 64;
const INDEX_BITS: u32 = if WIDE { 24 } else { 15 };
const GENERATION_BITS: u32 = if WIDE { 37 } else { 16 };
/// Bit 0: no object that a host has a pointer to lies at an odd address. Bit 62, where there is one: nor does any object
/// lie there, and collectors of garbage that see a handle among pointers take it for none of theirs.
#[allow(clippy::cast_possible_truncation, reason = "on 32 bits, bit 0 is what is left")]
const MARK: usize = ((1u64 << 62) | 1) as usize;
const LAST_GENERATION: usize = (1 << GENERATION_BITS) - 1;

/// What handles stand for.
#[derive(Debug)]
pub(crate) struct Handles<T> {
    slots: Mutex<Slots<T>>,
}

#[derive(Debug)]
struct Slots<T> {
    slots: Vec<Slot<T>>,
    /// Slots to fill again; who was emptied first is filled first, so that a generation lasts.
    free: VecDeque<usize>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: usize,
    value: Option<Arc<T>>,
}

impl<T> Handles<T> {
    pub(crate) fn new() -> Self {
        Self { slots: Mutex::new(Slots { slots: Vec::new(), free: VecDeque::new() }) }
    }

    /// A handle that no value had before; `None` when there is no room for more values at a time.
    pub(crate) fn insert(&self, value: Arc<T>) -> Option<usize> {
        let mut table = self.lock();
        let index = match table.free.pop_front() {
            Some(index) => index,
            None if table.slots.len() < 1 << INDEX_BITS => {
                table.slots.push(Slot { generation: 0, value: None });
                table.slots.len() - 1
            }
            None => return None,
        };
        let slot = table.slots.get_mut(index)?;
        slot.generation += 1;
        slot.value = Some(value);
        Some(MARK | slot.generation << (INDEX_BITS + 1) | index << 1)
    }

    /// What a handle stands for; `None` for one that was given back or never was.
    pub(crate) fn get(&self, handle: usize) -> Option<Held<T>> {
        let (index, generation) = parts(handle)?;
        let table = self.lock();
        table
            .slots
            .get(index)
            .filter(|slot| slot.generation == generation)?
            .value
            .clone()
            .map(|value| Held(Some(value)))
    }

    /// Gives a handle back. Of two that do it at the same time, one gets the value.
    pub(crate) fn remove(&self, handle: usize) -> Option<Arc<T>> {
        let (index, generation) = parts(handle)?;
        let mut table = self.lock();
        let value = table.slots.get_mut(index).filter(|slot| slot.generation == generation)?.value.take()?;
        // Beyond the last generation a handle would come again.
        if generation < LAST_GENERATION {
            table.free.push_back(index);
        }
        Some(value)
    }

    fn lock(&self) -> MutexGuard<'_, Slots<T>> {
        lock(&self.slots)
    }
}

/// A value in use. Another thread may give its handle back meanwhile, so that the value ends with this: a panic of its end
/// goes no further, for it must not reach the host.
#[derive(Debug, PartialEq)]
pub(crate) struct Held<T>(Option<Arc<T>>);

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().expect("only its end takes the value out")
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        if catch_unwind(AssertUnwindSafe(|| drop(value))).is_err() {
            warn!("a defect made the end of a manager panic");
        }
    }
}

/// Slot and generation of what looks like a handle.
fn parts(handle: usize) -> Option<(usize, usize)> {
    let is_marked = handle & MARK == MARK && handle as u64 >> 63 == 0;
    let index = handle >> 1 & ((1 << INDEX_BITS) - 1);
    let generation = handle >> (INDEX_BITS + 1) & LAST_GENERATION;
    (is_marked && generation > 0).then_some((index, generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_finds_its_value_until_it_is_given_back() {
        let table = Handles::new();
        let (a, b) = (table.insert(Arc::new('a')).unwrap(), table.insert(Arc::new('b')).unwrap());
        assert_eq!((table.get(a).as_deref(), table.get(b).as_deref()), (Some(&'a'), Some(&'b')));
        assert_eq!(table.remove(a).as_deref(), Some(&'a'));
        assert_eq!((table.get(a), table.remove(a)), (None, None));
        let c = table.insert(Arc::new('c')).unwrap();
        assert_ne!(a, c);
        assert_eq!((table.get(a), table.get(c).as_deref(), table.get(b).as_deref()), (None, Some(&'c'), Some(&'b')));
    }

    #[test]
    fn a_panic_of_a_value_that_ends_in_use_goes_no_further() {
        struct Ends;

        impl Drop for Ends {
            fn drop(&mut self) {
                panic!("a defect");
            }
        }

        let table = Handles::new();
        let handle = table.insert(Arc::new(Ends)).unwrap();
        let held = table.get(handle).unwrap();
        drop(table.remove(handle));
        drop(held);
    }

    #[test]
    fn what_is_no_handle_finds_nothing() {
        let table = Handles::new();
        let handle = table.insert(Arc::new(())).unwrap();
        assert!(handle % 2 == 1 && handle > 1 << 16);
        let on_the_heap = std::ptr::from_ref(Box::new(7).as_ref()) as usize;
        for foreign in [0, 1, 4, 4_096, MARK, usize::MAX, on_the_heap, handle ^ 1, handle + 2, handle ^ MARK] {
            assert_eq!(table.get(foreign), None, "{foreign:x}");
            assert_eq!(table.remove(foreign), None, "{foreign:x}");
        }
        for bit in 0..usize::BITS {
            assert_eq!(table.get(handle ^ 1 << bit), None, "bit {bit}");
        }
    }

    #[test]
    fn no_handle_comes_twice_and_a_slot_ends_with_its_generations() {
        let table = Handles::new();
        let first = table.insert(Arc::new(0)).unwrap();
        table.remove(first);
        table.lock().slots[0].generation = LAST_GENERATION - 1;
        let last = table.insert(Arc::new(1)).unwrap();
        assert!(last > first && last as u64 >> 63 == 0, "the last generation of the slot");
        table.remove(last);
        let next = table.insert(Arc::new(2)).unwrap();
        let slots = table.lock().slots.len();
        assert_eq!((slots, table.get(last), table.get(next).as_deref()), (2, None, Some(&2)));
    }
}
