//! What a transport promises, rule by rule, as tests for a transport of your own (feature `testing`).
//!
//! What: [`RULES`], and [`transport_conformance!`](crate::transport_conformance), which makes a test of each. Why: the layer
//! above forgives loss, but not bytes that changed, a topic that leaks, or a reader that stops the others. How it moves: you
//! say how members of a network are made, as a [`Network`]; each test makes its own, and sends what may be lost until it
//! has arrived.
//!
//! # For the author of a transport
//! Add `reliable-channel` with feature `testing` to your dev-dependencies, and in a test:
//!
//! ```
//! # #[cfg(not(test))] // a doc test is no place for tests: this shows that it compiles
//! # mod example {
//! use std::sync::Arc;
//! use reliable_channel::transport::conformance::Network;
//! use reliable_channel::transport::{MemoryNetwork, Transport, TransportError};
//! use reliable_channel::transport_conformance;
//!
//! struct MyNetwork(MemoryNetwork);
//!
//! #[async_trait::async_trait]
//! impl Network for MyNetwork {
//!     async fn member(&self) -> Result<Arc<dyn Transport>, TransportError> {
//!         Ok(Arc::new(self.0.member()))
//!     }
//! }
//!
//! mod my_transport {
//!     use super::*;
//!     transport_conformance!(MyNetwork(MemoryNetwork::new()));
//! }
//! # }
//! ```
//!
//! A rule about something that a transport need not have (addresses, an archive) passes where it has none, and says so. A
//! machine that cannot carry the network at all says why with [`Network::skipped`], and every test is a line `SKIPPED`.

mod rules;

use std::fmt;
use std::io::{self, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Transport, TransportError};

/// Where members meet.
#[async_trait]
pub trait Network: Send + Sync {
    /// A further member, who hears the others.
    ///
    /// # Errors
    /// The transport's own.
    async fn member(&self) -> Result<Arc<dyn Transport>, TransportError>;

    /// How long something that is sent again and again may take to arrive. Default 10 s.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// Why this machine cannot carry the network at all. Default: it can.
    fn skipped(&self) -> Option<String> {
        None
    }
}

/// One rule.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Rule {
    /// Its name, which says what must hold.
    pub name: &'static str,
    check: Check,
}

type Check = for<'a> fn(&'a dyn Network) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("name", &self.name).finish()
    }
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The transport keeps the rule.
    Kept,
    /// The transport has not what the rule is about.
    NotOffered,
}

impl Rule {
    /// Checks the rule on a network of no members yet, inside a tokio runtime.
    ///
    /// # Errors
    /// How the rule is broken.
    pub async fn check(&self, network: &dyn Network) -> Outcome {
        (self.check)(network).await
    }
}

/// What checking a rule ends with.
pub type Outcome = Result<Verdict, Broken>;

/// How a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(String);

impl Broken {
    fn new(how: impl Into<String>) -> Self {
        Self(how.into())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An error that the rule did not expect breaks it.
impl From<TransportError> for Broken {
    fn from(error: TransportError) -> Self {
        Self::new(format!("an error: {error}"))
    }
}

/// The list of rules, and the macro that makes a test of each: one list for both.
macro_rules! rules {
    ($d:tt $($name:ident,)*) => {
        /// Every rule.
        pub const RULES: &[Rule] = &[$(Rule {
            name: stringify!($name),
            check: |network| Box::pin(rules::$name(network)),
        },)*];

        /// Makes one `#[test]` of each rule of [`transport::conformance`](crate::transport::conformance). The argument is an
        /// expression that makes a new [`Network`](crate::transport::conformance::Network), evaluated once a test. Put it
        /// into a module of its own.
        #[macro_export]
        macro_rules! transport_conformance {
            ($d network:expr) => {
                $(#[test]
                fn $name() {
                    $d crate::transport::conformance::check(stringify!($name), || $d network);
                })*
            };
        }
    };
}

rules! {$
    what_is_published_arrives_unchanged,
    everybody_hears,
    another_topic_does_not_hear,
    topics_are_any_bytes,
    the_largest_message_arrives,
    what_is_too_large_is_refused_for_good,
    two_subscriptions_of_one_member_both_hear,
    a_dropped_subscription_can_be_made_again,
    an_answer_reaches_who_was_heard,
    who_does_not_read_stops_nobody,
    messages_of_many_tasks_stay_whole,
    what_was_hinted_is_fetched_or_unsupported,
}

/// Checks the rule of this name in a runtime of its own; what the tests made by
/// [`transport_conformance!`](crate::transport_conformance) do.
///
/// # Panics
/// When the rule is broken, or not known.
pub fn check<N: Network>(name: &str, network: impl FnOnce() -> N) {
    let rule = RULES.iter().find(|rule| rule.name == name).expect("a rule of this suite");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let said = runtime.block_on(async {
        let network = network();
        match network.skipped() {
            Some(why) => Ok(Some(format!("SKIPPED: {name}: {why}"))),
            None => rule.check(&network).await.map(|verdict| match verdict {
                Verdict::Kept => None,
                Verdict::NotOffered => Some(format!("not offered by this transport: {name}")),
            }),
        }
    });
    match said {
        Ok(None) => {}
        // Not `eprintln!`, which a test that passes keeps to itself.
        Ok(Some(line)) => drop(writeln!(io::stderr(), "{line}")),
        Err(broken) => panic!("{name} is broken: {broken}"),
    }
}
