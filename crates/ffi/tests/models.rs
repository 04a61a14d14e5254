//! The table of handles and the two queues of events under every order of their threads' steps, by the model checker loom.
//!
//! Their files are built here a second time, with loom's locks. A scene that does not hold ends the program with the
//! order of steps that broke it.

#![allow(clippy::unwrap_used, dead_code, unused_imports)]

mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap()
    }

    /// Time does not pass here.
    pub(crate) fn wait_within<'a, T>(
        changed: &Condvar,
        mut guard: MutexGuard<'a, T>,
        _: std::time::Duration,
        mut quiet: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while quiet(&mut guard) {
            guard = changed.wait(guard).unwrap();
        }
        guard
    }
}

#[path = "../src/events.rs"]
mod events;
#[path = "../src/handles.rs"]
mod handles;
#[path = "../src/rc/polled.rs"]
mod polled;
#[path = "../src/queue.rs"]
mod queue;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use events::Events;
use handles::Handles;
use loom::thread;
use polled::{Asked, Polled, Signal};
use queue::Next;

fn main() {
    let scenes: [(&str, fn()); 8] = [
        ("of_two_who_give_a_handle_back_one_gets_the_value", of_two_who_give_a_handle_back_one_gets_the_value),
        ("a_handle_never_finds_a_later_value", a_handle_never_finds_a_later_value),
        ("handles_made_at_the_same_time_differ", handles_made_at_the_same_time_differ),
        ("every_event_is_told_once_and_each_pushers_in_order", every_event_is_told_once_and_each_pushers_in_order),
        (
            "after_closing_nothing_is_told_and_nobody_is_being_called",
            after_closing_nothing_is_told_and_nobody_is_being_called,
        ),
        ("after_a_change_the_one_before_is_not_called", after_a_change_the_one_before_is_not_called),
        ("whoever_asks_gets_each_event_once_and_then_the_end", whoever_asks_gets_each_event_once_and_then_the_end),
        ("the_signal_is_set_while_something_waits", the_signal_is_set_while_something_waits),
    ];
    for (name, scene) in scenes {
        scene();
        println!("{} holds", name.replace('_', " "));
    }
}

/// Every order in which at most so many threads are interrupted in the middle.
fn every_order(interruptions: usize, scene: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(interruptions);
    model.check(scene);
}

fn of_two_who_give_a_handle_back_one_gets_the_value() {
    every_order(3, || {
        let table = Arc::new(Handles::new());
        let handle = table.insert(Arc::new(1)).unwrap();
        let other = {
            let table = table.clone();
            thread::spawn(move || usize::from(table.remove(handle).is_some()))
        };
        let here = usize::from(table.remove(handle).is_some());
        assert_eq!(here + other.join().unwrap(), 1);
        assert_eq!(table.get(handle), None);
    });
}

fn a_handle_never_finds_a_later_value() {
    every_order(3, || {
        let table = Arc::new(Handles::new());
        let old = table.insert(Arc::new("old")).unwrap();
        let changing = {
            let table = table.clone();
            thread::spawn(move || {
                table.remove(old);
                table.insert(Arc::new("new")).unwrap()
            })
        };
        let found = table.get(old);
        assert!(found.is_none_or(|value| *value == "old"));
        let new = changing.join().unwrap();
        assert_ne!(old, new);
        assert_eq!((table.get(old), table.get(new).as_deref()), (None, Some(&"new")));
    });
}

fn handles_made_at_the_same_time_differ() {
    every_order(3, || {
        let table = Arc::new(Handles::new());
        let free = table.insert(Arc::new(0)).unwrap();
        table.remove(free);
        let other = {
            let table = table.clone();
            thread::spawn(move || table.insert(Arc::new(1)).unwrap())
        };
        let here = table.insert(Arc::new(2)).unwrap();
        let other = other.join().unwrap();
        assert!(here != other && here != free && other != free);
        assert_eq!((table.get(other).as_deref(), table.get(here).as_deref()), (Some(&1), Some(&2)));
    });
}

/// A queue, and what was heard of it.
#[derive(Clone)]
struct Scene {
    events: Arc<Events<usize, usize>>,
    heard: Arc<std::sync::Mutex<Vec<(usize, usize)>>>,
    inside: Arc<AtomicUsize>,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { events: Arc::new(Events::new()), heard: Arc::default(), inside: Arc::default() };
        scene.events.hear(Some(1), true);
        scene
    }

    /// Pushes, and empties the queue where that is asked for, on another thread in the library and on this one here.
    fn push(&self, event: usize) {
        if self.events.push(event, 1) {
            self.events.empty(|hearer, next| {
                let Next::Event(event) = next else { panic!("few events, and {next:?}") };
                assert_eq!(self.inside.fetch_add(1, Ordering::SeqCst), 0, "one call at a time");
                self.heard.lock().unwrap().push((*hearer, event));
                thread::yield_now();
                self.inside.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }

    /// A thread that pushes two events.
    fn pushing_beside(&self) -> thread::JoinHandle<()> {
        let scene = self.clone();
        thread::spawn(move || {
            scene.push(10);
            scene.push(11);
        })
    }

    fn heard(&self) -> Vec<(usize, usize)> {
        self.heard.lock().unwrap().clone()
    }
}

fn every_event_is_told_once_and_each_pushers_in_order() {
    every_order(3, || {
        let scene = Scene::new();
        let other = scene.pushing_beside();
        scene.push(20);
        other.join().unwrap();
        let heard: Vec<usize> = scene.heard().into_iter().map(|(_, event)| event).collect();
        let of = |tens: usize| heard.iter().copied().filter(|event| event / 10 == tens).collect::<Vec<_>>();
        assert_eq!((of(1), of(2)), (vec![10, 11], vec![20]));
    });
}

fn after_closing_nothing_is_told_and_nobody_is_being_called() {
    every_order(3, || {
        let scene = Scene::new();
        let other = scene.pushing_beside();
        scene.events.close(true);
        let (heard, inside) = (scene.heard(), scene.inside.load(Ordering::SeqCst));
        assert_eq!(inside, 0, "a call is in progress after closing");
        other.join().unwrap();
        assert_eq!(scene.heard(), heard, "told after closing");
    });
}

fn after_a_change_the_one_before_is_not_called() {
    every_order(3, || {
        let scene = Scene::new();
        let other = scene.pushing_beside();
        scene.events.hear(Some(2), true);
        let of_the_first = |scene: &Scene| scene.heard().iter().filter(|(hearer, _)| *hearer == 1).count();
        let before = of_the_first(&scene);
        other.join().unwrap();
        assert_eq!(of_the_first(&scene), before);
        assert_eq!(scene.heard().len(), 2, "none is lost");
    });
}

/// Whether an event loop would be woken.
#[derive(Clone, Default)]
struct Woken(Arc<std::sync::atomic::AtomicBool>);

impl Signal for Woken {
    fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
        thread::yield_now();
    }

    fn clear(&self) {
        thread::yield_now();
        self.0.store(false, Ordering::SeqCst);
    }
}

fn whoever_asks_gets_each_event_once_and_then_the_end() {
    every_order(3, || {
        let queue = Arc::new(Polled::<usize, Woken>::new());
        let asking = {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut got = Vec::new();
                while let Asked::Event(event) = queue.next_within(std::time::Duration::MAX) {
                    got.push(event);
                }
                got
            })
        };
        queue.push(1, 1);
        queue.push(2, 1);
        let mut got: Vec<usize> = match queue.try_next() {
            Asked::Event(event) => vec![event],
            _ => Vec::new(),
        };
        queue.close();
        got.extend(asking.join().unwrap());
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        assert_eq!(queue.next(), Asked::Ended);
    });
}

fn the_signal_is_set_while_something_waits() {
    every_order(3, || {
        let queue = Arc::new(Polled::<usize, Woken>::new());
        let woken = queue.signal(|| Ok::<_, ()>(Woken::default()), Woken::clone).unwrap();
        let pushing = {
            let queue = queue.clone();
            thread::spawn(move || {
                queue.push(1, 1);
                queue.push(2, 1);
            })
        };
        let taken = (0..2).filter(|_| matches!(queue.try_next(), Asked::Event(_))).count();
        pushing.join().unwrap();
        assert_eq!(woken.0.load(Ordering::SeqCst), taken < 2, "{taken} taken of two");
    });
}
