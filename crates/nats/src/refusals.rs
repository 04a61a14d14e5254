//! [`Refusals`]: which subjects the server does not let this user use.
//!
//! Why a list and not the last one alone: many topics are subscribed to at once, and each asks for its own. How it moves: the
//! server's words go in with [`hear`](Refusals::hear), and a subscription takes out what concerns it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a user does with a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Subscribe,
    Publish,
}

/// Subjects of subscriptions that were refused, with the server's words. No more than topics were subscribed to over this connection.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<String, String>>);

impl Refusals {
    /// Takes the server's words in. Gives the subject, where a subscription to one was refused.
    pub(crate) fn hear<'a>(&self, why: &'a str) -> Option<&'a str> {
        let (act, subject) = read(why)?;
        if act == Act::Publish {
            return None;
        }
        self.lock().insert(subject.to_owned(), why.to_owned());
        Some(subject)
    }

    /// What was said of a subscription to this subject, which is forgotten.
    pub(crate) fn take(&self, subject: &str) -> Option<String> {
        self.lock().remove(subject)
    }

    /// Forgets all: another connection may be another user's.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        // Nothing under this lock panics halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the server's words are about this.
pub(crate) fn is_about(why: &str, act: Act, subject: &str) -> bool {
    read(why) == Some((act, subject))
}

/// What was refused, and the subject: `Permissions Violation for Subscription to "rc.1.a"`.
fn read(why: &str) -> Option<(Act, &str)> {
    let (what, rest) = why.split_once('"')?;
    let (subject, _) = rest.split_once('"')?;
    let what = what.to_ascii_lowercase();
    if what.contains("violation for subscription to") {
        Some((Act::Subscribe, subject))
    } else if what.contains("violation for publish to") {
        Some((Act::Publish, subject))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_one_subject_and_not_those_that_begin_like_it() {
        let refusals = Refusals::default();
        let longer = "nats: Permissions Violation for Subscription to \"rc.1.nrxweytzge\"";
        assert_eq!(refusals.hear(longer), Some("rc.1.nrxweytzge"));
        assert!(is_about(longer, Act::Subscribe, "rc.1.nrxweytzge"));
        assert!(
            !is_about(longer, Act::Subscribe, "rc.1.nrxweytz") && !is_about(longer, Act::Publish, "rc.1.nrxweytzge")
        );
        assert_eq!(refusals.take("rc.1.nrxweytz"), None);
        assert_eq!(refusals.hear("Permissions Violation for Subscription to \"rc.1.b\" (sid \"7\")"), Some("rc.1.b"));
        assert_eq!(refusals.take("rc.1.nrxweytzge").as_deref(), Some(longer));
        assert_eq!(refusals.take("rc.1.nrxweytzge"), None);
        for other in ["Permissions Violation for Publish to \"rc.1.c\"", "Maximum Payload Violation", "\"", ""] {
            assert_eq!(refusals.hear(other), None);
        }
        refusals.clear();
        assert_eq!(refusals.take("rc.1.b"), None);
    }
}
