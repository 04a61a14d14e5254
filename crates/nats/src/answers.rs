//! [`Answers`]: who waits for which answer of the server.
//!
//! What: numbers that go out with what is sent, and what came back under them. Why our own and not the client's requests:
//! what the stream answers to is also what tells receivers who sent something, so the subject must be ours. How it moves:
//! [`begin`](Answers::begin) gives a number and a place to wait; [`end`](Answers::end) takes an answer in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use tokio::sync::oneshot;

/// The number of what is not waited for.
pub(crate) const UNAWAITED: u64 = 0;

/// What the server said of something that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The stream keeps it, under this sequence.
    Kept(u64),
    /// The stream does not keep it.
    Refused {
        /// JetStream's number of the error.
        code: u64,
        /// What it says.
        why: String,
    },
    /// Nobody and no stream is there under its subject.
    Nobody,
}

impl Answer {
    /// Reads what JetStream answers. Anything else is none.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Raw {
            seq: Option<u64>,
            error: Option<Error>,
        }
        #[derive(Deserialize)]
        struct Error {
            #[serde(default)]
            err_code: u64,
            #[serde(default)]
            description: String,
        }
        match serde_json::from_slice(payload).ok()? {
            Raw { error: Some(error), .. } => Some(Self::Refused { code: error.err_code, why: error.description }),
            Raw { seq: Some(sequence), .. } if sequence > 0 => Some(Self::Kept(sequence)),
            Raw { .. } => None,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Answers {
    begun: AtomicU64,
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>,
}

impl Answers {
    /// A number, and where its answer comes. Given up by dropping it.
    pub(crate) fn begin(&self) -> Waiting<'_> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(number, sender);
        Waiting { number, receiver, all: self }
    }

    /// The answer to this number has come.
    pub(crate) fn end(&self, number: u64, answer: Answer) {
        if let Some(waiting) = self.lock().remove(&number) {
            // Who waited may have gone.
            let _ = waiting.send(answer);
        }
    }

    /// No answer comes any more: the connection is gone.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<Answer>>> {
        // Nothing under this lock panics halfway.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody waits for an answer.
pub(crate) struct Waiting<'a> {
    pub(crate) number: u64,
    receiver: oneshot::Receiver<Answer>,
    all: &'a Answers,
}

impl Waiting<'_> {
    /// The answer; `None` when the connection was lost before it came.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.all.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_jetstream_answers_is_read_and_anything_else_is_none() {
        assert_eq!(Answer::read(br#"{"stream":"rc","seq":7}"#), Some(Answer::Kept(7)));
        let full = br#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"rc","seq":0}"#;
        let why = "maximum messages exceeded".to_owned();
        assert_eq!(Answer::read(full), Some(Answer::Refused { code: 10_077, why }));
        for foreign in [&b""[..], b"{}", b"null", b"7", b"{\"seq\":-1}", b"{\"seq\":0}", b"\xff{"] {
            assert_eq!(Answer::read(foreign), None);
        }
    }

    #[tokio::test]
    async fn an_answer_finds_who_waits_and_nothing_is_left() {
        let answers = Answers::default();
        let (mut one, mut other) = (answers.begin(), answers.begin());
        answers.end(other.number, Answer::Nobody);
        answers.end(99, Answer::Nobody);
        assert_eq!(other.answer().await, Some(Answer::Nobody));
        answers.forget();
        assert_eq!(one.answer().await, None);
        drop((one, answers.begin()));
        assert!(answers.lock().is_empty());
    }
}
