//! [`Shared`]: what all parts of a member use, and what it makes of what arrives.
//!
//! How it moves: the client's events come to [`on`](Shared::on); messages of a topic to [`take_in`](Shared::take_in); what is
//! for this member alone, answers among it, to [`take_personal`](Shared::take_personal).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use async_nats::jetstream::ErrorCode;
use async_nats::{Client, Event, Message, StatusCode};
use reliable_channel::transport::{Incoming, Subscribers, Topic};
use tokio::sync::{Notify, watch};

use crate::answers::{Answer, Answers};
use crate::missed::Missed;
use crate::options::History;
use crate::refusals::{Act, Refusals, is_about};
use crate::status::{ConnectionStatus, HistoryStatus, Status};
use crate::stream::{self, Found};
use crate::subject::{Names, Personal};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) names: Names,
    /// The servers, to be shown.
    pub(crate) url: String,
    pub(crate) history: Option<History>,
    pub(crate) subscribers: Subscribers,
    pub(crate) answers: Answers,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) max_bytes: watch::Sender<usize>,
    /// There is a new connection, or the stream is gone: it is looked for at once.
    pub(crate) anew: Notify,
    /// The stream did not answer: it is looked for after a while.
    pub(crate) silent: Notify,
    /// The stream has answered since it was silent.
    pub(crate) has_answered: AtomicBool,
    /// The stream answers, and takes nothing.
    refuses: AtomicBool,
    found: Mutex<Option<Found>>,
    /// The newest sequence of the stream that is known.
    position: AtomicU64,
    pub(crate) missed: Missed,
    pub(crate) refusals: Refusals,
    foreign: AtomicU64,
    max_message: usize,
}

impl Shared {
    pub(crate) fn new(names: Names, url: String, history: Option<History>, max_message: usize) -> Self {
        let state = if history.is_some() { HistoryStatus::Unknown } else { HistoryStatus::Off };
        let status = watch::Sender::new(Status { history: state, ..Status::default() });
        Self {
            names,
            url,
            history,
            subscribers: Subscribers::default(),
            answers: Answers::default(),
            status,
            max_bytes: watch::Sender::new(max_message),
            anew: Notify::new(),
            silent: Notify::new(),
            has_answered: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
            found: Mutex::new(None),
            position: AtomicU64::new(0),
            missed: Missed::default(),
            refusals: Refusals::default(),
            foreign: AtomicU64::new(0),
            max_message,
        }
    }

    /// Takes an event of the client in.
    pub(crate) fn on(&self, event: Event) {
        match event {
            Event::Connected => {
                self.refusals.clear();
                self.status.send_modify(|status| {
                    status.connection = ConnectionStatus::Up;
                    status.refused = None;
                });
                self.anew.notify_one();
            }
            Event::Disconnected | Event::Closed => {
                self.missed.lost(self.position.load(Ordering::Relaxed));
                self.connection(ConnectionStatus::Down(format!("the connection to {} is lost", self.url)));
                self.answers.forget();
                self.subscribers.end();
            }
            Event::ClientError(error) => {
                let why = format!("{} cannot be reached: {error}", self.url);
                self.status.send_if_modified(|status| match &mut status.connection {
                    ConnectionStatus::Down(before) if *before != why => {
                        *before = why;
                        true
                    }
                    _ => false,
                });
            }
            Event::ServerError(error) => self.refused(&error.to_string()),
            Event::SlowConsumer(_) => self.status.send_modify(|status| status.overflows += 1),
            Event::LameDuckMode | Event::Draining => {}
        }
    }

    /// Takes in what the server says that it does not do.
    fn refused(&self, why: &str) {
        self.status.send_modify(|status| status.refused = Some(why.to_owned()));
        // Whoever reads there hears nothing any more, and is told when it asks again.
        if let Some(token) = self.refusals.hear(why).and_then(|subject| self.names.token(subject)) {
            self.subscribers.end_topic(&token);
        }
    }

    /// The server has done this just now.
    pub(crate) fn done(&self, act: Act, subject: &str) {
        let is_over = |status: &Status| status.refused.as_deref().is_some_and(|why| is_about(why, act, subject));
        if is_over(&self.status.borrow()) {
            self.status.send_modify(|status| status.refused = None);
        }
    }

    /// There is, or is no, connection.
    pub(crate) fn connection(&self, state: ConnectionStatus) {
        self.status.send_modify(|status| status.connection = state);
    }

    /// Reads what the server that is connected now allows.
    pub(crate) fn measure(&self, client: &Client) {
        let Some(info) = client.try_server_info() else { return };
        let max = info.max_payload.min(self.max_message);
        self.max_bytes.send_if_modified(|bytes| std::mem::replace(bytes, max) != max);
    }

    /// Takes in what came under a topic.
    pub(crate) fn take_in(&self, topic: &Topic, message: Message) {
        let sender = message.reply.and_then(|answers| self.names.sender(&answers));
        let mut incoming = Incoming::new(message.payload);
        match sender {
            Some(sender) => incoming = incoming.sent_by(sender),
            None => {
                let foreign = self.foreign.fetch_add(1, Ordering::Relaxed) + 1;
                if foreign.is_power_of_two() {
                    self.status.send_modify(|status| status.foreign = foreign);
                }
            }
        }
        self.subscribers.hand_in(topic, &incoming);
    }

    /// Takes in what came to this member alone.
    pub(crate) fn take_personal(&self, message: Message) {
        match self.names.read(&message.subject) {
            Some(Personal::Answer(number)) => {
                let answer = match message.status {
                    Some(StatusCode::NO_RESPONDERS) => Some(Answer::Nobody),
                    _ => Answer::read(&message.payload),
                };
                if let Some(answer) = answer {
                    self.heard(&answer);
                    self.answers.end(number, answer);
                }
            }
            Some(Personal::Message(topic)) => self.take_in(&topic, message),
            None => {}
        }
    }

    /// What an answer says of the stream.
    fn heard(&self, answer: &Answer) {
        match answer {
            Answer::Kept(sequence) => {
                self.position.fetch_max(*sequence, Ordering::Relaxed);
                self.has_answered.store(true, Ordering::Relaxed);
                // What a stream is that keeps all the time is known.
                if self.refuses.swap(false, Ordering::Relaxed) || !self.keeps() {
                    self.kept();
                }
            }
            Answer::Refused { code, why } => {
                self.refuses.store(true, Ordering::Relaxed);
                if let Some(history) = &self.history {
                    self.failing(stream::advice(ErrorCode(*code), why, &history.stream, history.replicas));
                }
            }
            Answer::Nobody => {}
        }
    }

    /// The stream is there.
    pub(crate) fn found(&self, found: Found) {
        // Lower than before where the stream was made anew.
        self.position.store(found.last, Ordering::Relaxed);
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        if !self.refuses.load(Ordering::Relaxed) {
            self.kept();
        }
    }

    /// Whether single messages are read from any server that has them; `None` while no stream was found.
    pub(crate) fn is_direct(&self) -> Option<bool> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|found| found.is_direct)
    }

    fn kept(&self) {
        let differs = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone().and_then(|found| found.differs);
        self.history(HistoryStatus::Kept { differs });
    }

    /// The stream keeps nothing, and what can be done.
    pub(crate) fn failing(&self, why: String) {
        self.history(HistoryStatus::Failing(why));
    }

    fn history(&self, state: HistoryStatus) {
        self.status.send_if_modified(|status| {
            let is_new = status.history != state;
            status.history = state;
            is_new
        });
    }

    /// Whether the stream gives what is sent a place.
    pub(crate) fn keeps(&self) -> bool {
        self.status.borrow().keeps()
    }
}
