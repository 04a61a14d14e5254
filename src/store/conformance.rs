//! What a store promises, rule by rule, as tests for a store of your own (feature `testing`).
//!
//! What: [`RULES`], and [`persistence_conformance!`](crate::persistence_conformance), which makes a test of each. Why: a
//! store that breaks a rule loses messages on the day something else breaks, and not before. How it moves: you say how a
//! store is opened, as a [`Place`]; each test gets a place of its own, opens it, writes, opens it again, and looks.
//!
//! # For the author of a store
//! 1. Implement the five methods of [`Persistence`]; its page says what each must keep. The codec in
//!    [`snapshot`](crate::snapshot) makes keys and values of everything, if your database wants bytes.
//! 2. Add `reliable-channel` with feature `testing` to your dev-dependencies, and in a test:
//!
//! ```
//! # #[cfg(not(test))] // a doc test is no place for tests: this shows that it compiles
//! # mod example {
//! use std::sync::Arc;
//! use reliable_channel::persistence_conformance;
//! use reliable_channel::store::conformance::Place;
//! use reliable_channel::store::{MemoryPersistence, Persistence, PersistenceError};
//!
//! /// What outlives the store's handle: a directory, an address, a map. Dropped when the test ends.
//! struct MyPlace(MemoryPersistence);
//!
//! impl Place for MyPlace {
//!     fn open(&self) -> Result<Arc<dyn Persistence>, PersistenceError> {
//!         Ok(Arc::new(self.0.clone()))
//!     }
//! }
//!
//! mod my_store {
//!     use super::*;
//!     persistence_conformance!(MyPlace(MemoryPersistence::new()));
//! }
//! # }
//! ```
//!
//! 3. Rules come in groups, and a group runs when the store's [`Capabilities`] declare what it is about: [`Group::Core`]
//!    always. Declare more when you promise more, and give your `Place` what the rules then need; a store in files takes
//!    [`Directory`], which has all but [`Place::fail_writes`]. A rule of another group passes and says "not declared".
//! 4. `list_channels` may stay unsupported; where it is there, it must be right.

mod channels;
mod concurrency;
mod directory;
mod disk;
mod rows;
mod samples;

use std::fmt;
use std::io::{self, Write as _};
use std::pin::Pin;
use std::sync::Arc;

pub use self::directory::{Directory, Open};
use super::{Capabilities, Persistence, PersistenceError};

/// Where stores are opened, one after the other, on the same data.
pub trait Place: Send + Sync {
    /// Opens the store; what was saved through an earlier one is there.
    ///
    /// # Errors
    /// The store's own.
    fn open(&self) -> Result<Arc<dyn Persistence>, PersistenceError>;

    /// The place as a kill of the process at this moment would leave it, the store being open perhaps. Needed by
    /// [`Group::Durable`].
    fn crashed(&self) -> Option<Box<dyn Place>> {
        None
    }

    /// Flips a bit in the middle of every stored copy of these bytes, the store being closed. Returns whether there was
    /// one. Needed by [`Group::Checksummed`].
    fn damage(&self, bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }

    /// Takes the second half of the data away, the store being closed. Returns whether it did. Needed by
    /// [`Group::Checksummed`].
    fn cut(&self) -> bool {
        false
    }

    /// Makes all writes to the medium fail, or work again. Returns whether it can; without it, that a store works again
    /// after its medium did is not checked, which the test says on stderr.
    fn fail_writes(&self, fail: bool) -> bool {
        let _ = fail;
        false
    }
}

/// When a rule is for a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Group {
    /// Always.
    Core,
    /// It declares a [`durability`](Capabilities::durability).
    Durable,
    /// It declares [`exclusive`](Capabilities::exclusive).
    Exclusive,
    /// It declares [`checksummed`](Capabilities::checksummed).
    Checksummed,
    /// Always, where its [`Place`] can make writes fail.
    FailingMedium,
}

impl Group {
    fn is_declared(self, by: &Capabilities) -> bool {
        match self {
            Self::Core | Self::FailingMedium => true,
            Self::Durable => by.durability.is_some(),
            Self::Exclusive => by.exclusive,
            Self::Checksummed => by.checksummed,
        }
    }
}

/// One rule.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Rule {
    /// Its name, which says what must hold.
    pub name: &'static str,
    /// Which stores it is for.
    pub group: Group,
    check: Check,
}

type Check = for<'a> fn(&'a dyn Place) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("name", &self.name).field("group", &self.group).finish()
    }
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The store keeps the rule.
    Kept,
    /// The store does not declare what the rule is about.
    NotDeclared,
    /// The place cannot do what the rule takes: [`fail_writes`](Place::fail_writes).
    NotChecked,
}

impl Rule {
    /// Checks the rule on a place that has nothing in it yet.
    ///
    /// # Errors
    /// How the rule is broken.
    pub async fn check(&self, place: &dyn Place) -> Result<Verdict, Broken> {
        let declared = place.open()?.capabilities();
        if !self.group.is_declared(&declared) {
            return Ok(Verdict::NotDeclared);
        }
        if self.group == Group::FailingMedium && !can_fail(place) {
            return Ok(Verdict::NotChecked);
        }
        (self.check)(place).await.map(|()| Verdict::Kept)
    }
}

fn can_fail(place: &dyn Place) -> bool {
    let can = place.fail_writes(true);
    place.fail_writes(false);
    can
}

/// How a rule is broken.
#[derive(Debug)]
pub struct Broken(String);

impl Broken {
    fn new(how: impl Into<String>) -> Self {
        const SHOWN: usize = 4_000;
        let how = how.into();
        // Rows may be megabytes.
        let how = how.char_indices().nth(SHOWN).map_or(how.clone(), |(end, _)| format!("{} ...", &how[..end]));
        Self(how)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whatever a store or a task says that the rule did not expect breaks it.
impl<E: std::error::Error> From<E> for Broken {
    fn from(error: E) -> Self {
        Self::new(format!("{error:?}"))
    }
}

type Outcome = Result<(), Broken>;

/// Breaks the rule unless both are equal.
macro_rules! same {
    ($found:expr, $expected:expr $(, $($context:tt)+)?) => {{
        match (&$found, &$expected) { (found, expected) => if *found != *expected {
            let context: &[String] = &[$(format!(", {}", format_args!($($context)+)))?];
            let context = context.concat();
            let what = stringify!($found);
            return Err($crate::store::conformance::Broken::new(
                format!("{what}{context}: expected {expected:?}, found {found:?}"),
            ));
        }}
    }};
}

/// Breaks the rule unless this is true.
macro_rules! holds {
    ($condition:expr $(, $($context:tt)+)?) => {
        if !$condition {
            let context: &[String] = &[$(format!(": {}", format_args!($($context)+)))?];
            let context = context.concat();
            return Err($crate::store::conformance::Broken::new(
                format!("does not hold: {}{context}", stringify!($condition)),
            ));
        }
    };
}
use {holds, same};

/// The list of rules, and the macro that makes a test of each: one list for both.
macro_rules! rules {
    ($d:tt $($group:ident { $($module:ident::$name:ident,)* })*) => {
        /// Every rule.
        pub const RULES: &[Rule] = &[$($(Rule {
            name: stringify!($name),
            group: Group::$group,
            check: |place| Box::pin($module::$name(place)),
        },)*)*];

        /// Makes one `#[test]` of each rule of [`store::conformance`](crate::store::conformance). The argument is an
        /// expression that makes a new [`Place`](crate::store::conformance::Place), evaluated once a test. Put it into
        /// a module of its own.
        #[macro_export]
        macro_rules! persistence_conformance {
            ($d place:expr) => {
                $($(#[test]
                fn $name() {
                    $d crate::store::conformance::check(stringify!($name), &$d place);
                })*)*
            };
        }
    };
}

rules! {$
    Core {
        rows::unknown_channel_is_empty,
        rows::meta_comes_back_with_all_fields,
        rows::last_meta_wins,
        rows::every_kind_of_row_comes_back,
        rows::bodies_are_byte_identical,
        rows::rows_come_in_key_order,
        rows::ties_are_broken_by_id_bytes,
        rows::put_replaces,
        rows::one_kind_replaces_another,
        rows::delete,
        rows::put_wins_over_delete,
        rows::empty_update_changes_nothing,
        rows::rows_come_before_any_meta,
        rows::writes_repeated_change_nothing,
        rows::lamport_extremes,
        rows::merged_commits_are_as_one_after_the_other,
        rows::eviction_keeps_the_newest_whole,
        rows::a_large_meta_is_whole_or_refused,
        channels::one_id_in_two_channels,
        channels::channel_ids_are_any_bytes,
        channels::drop_takes_one_channel_whole,
        channels::dropped_channel_does_not_come_back,
        channels::list_names_the_live_ones,
        channels::hints_come_back,
        channels::hints_go_with_their_body,
        channels::a_reopened_store_has_it_all,
        concurrency::many_tasks_on_many_channels,
        concurrency::two_writers_on_one_channel,
        concurrency::loads_during_writes_see_whole_commits,
        concurrency::a_dropped_future_does_no_harm,
    }
    FailingMedium {
        disk::it_works_again_after_the_medium_did,
    }
    Durable {
        disk::a_crash_leaves_what_was_promised,
        disk::flush_ends_a_batch_window,
        disk::a_drop_survives_a_crash,
        disk::a_clean_end_loses_nothing,
    }
    Exclusive {
        disk::a_second_opener_is_locked_out,
    }
    Checksummed {
        disk::a_flipped_bit_is_damage,
        disk::a_cut_store_is_damage,
    }
}

/// Checks the rule of this name; what the tests made by [`persistence_conformance!`](crate::persistence_conformance) do.
///
/// # Panics
/// When the rule is broken, or not known.
pub fn check(name: &str, place: &dyn Place) {
    let rule = RULES.iter().find(|rule| rule.name == name).expect("a rule of this suite");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    match runtime.block_on(rule.check(place)) {
        Ok(Verdict::Kept) => {}
        Ok(Verdict::NotDeclared) => println!("{name} is for stores that declare more: {:?}", rule.group),
        Ok(Verdict::NotChecked) => {
            // Not `eprintln!`, which a test that passes keeps to itself.
            let _ = writeln!(io::stderr(), "not checked: {name}: this `Place` has no `fail_writes`");
        }
        Err(broken) => panic!("{name} is broken: {broken}"),
    }
}
