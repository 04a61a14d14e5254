//! What is shown of a chat, as lines.
//!
//! What: [`Told`]. Why messages begin with `<`: whatever people call themselves, nothing they say looks like a tick or a
//! notice. How it moves: each event becomes at most one line; of own messages the beginnings are kept, for their ticks.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use reliable_channel::channel::Event;
use reliable_channel::reliable::{ChannelEvent, ReliableChannel, RequestId};
use reliable_channel::state::Body;

use crate::screen::{Screen, plain, shortened};

/// Own messages whose beginning is kept.
const MAX_KEPT: usize = 1_024;
/// Characters of it.
const BEGINNING: usize = 40;

pub(super) struct Told {
    screen: Screen,
    /// Beginnings of own messages, and whether somebody has them.
    said: BTreeMap<RequestId, Said>,
    order: VecDeque<RequestId>,
}

struct Said {
    beginning: String,
    is_open: bool,
}

impl Told {
    pub(super) fn new(screen: Screen) -> Self {
        Self { screen, said: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Shows somebody's message, and a remark.
    pub(super) fn message(&mut self, body: &Body, remark: &str) {
        let (sender, text) = (body.sender.to_string(), String::from_utf8_lossy(&body.content));
        self.screen.line(format_args!("<{}> {}{remark}", plain(&sender), plain(&text)));
    }

    /// Shows what is not a message.
    pub(super) fn notice(&mut self, what: fmt::Arguments<'_>) {
        self.screen.line(format_args!("* {}", plain(&what.to_string())));
    }

    /// Remembers what was said.
    pub(super) fn said(&mut self, request: RequestId, text: String) {
        self.order.push_back(request.clone());
        self.said.insert(request, Said { beginning: shortened(&text, BEGINNING), is_open: true });
        if self.order.len() > MAX_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.said.remove(&oldest);
        }
    }

    /// Whether something that was said is not known to have reached anybody, nor given up.
    pub(super) fn is_open(&self) -> bool {
        self.said.values().any(|said| said.is_open)
    }

    /// Shows what an event says to people.
    pub(super) fn event(&mut self, event: ChannelEvent, lobby: &ReliableChannel) {
        match event {
            ChannelEvent::Received(delivery) => {
                let remark = match (delivery.history, delivery.late) {
                    (true, _) => " (history)",
                    (false, true) => " (late)",
                    (false, false) => "",
                };
                self.message(&delivery.body, remark);
            }
            ChannelEvent::Sent { request } => self.tick("\u{2713}", &request, "", lobby),
            ChannelEvent::SendError { request, error, .. } => {
                self.tick("\u{2717}", &request, &format!(" ({error})"), lobby);
                self.close(&request);
            }
            ChannelEvent::Delivered { request, by, .. } => {
                self.tick("\u{2713}\u{2713}", &request, &format!(" ({by})"), lobby);
                self.close(&request);
            }
            ChannelEvent::DeliveryError { request, .. } => {
                self.tick("\u{2717}", &request, " (nobody answered)", lobby);
                self.close(&request);
            }
            ChannelEvent::Disconnected { error } => self.notice(format_args!("{error}; it is tried again")),
            ChannelEvent::Connected => self.notice(format_args!("the network is back")),
            ChannelEvent::Missed { events, lost } => {
                self.notice(format_args!("{events} events came too fast, and {lost} messages are not shown"));
            }
            ChannelEvent::PersistenceFailed(error) => self.notice(format_args!("not saved: {error}")),
            ChannelEvent::PersistenceRecovered => self.notice(format_args!("all is saved again")),
            ChannelEvent::Other(Event::HistoryGap { missing, .. }) => {
                self.notice(format_args!("{missing} messages are missing here; they are asked for"));
            }
            ChannelEvent::Other(Event::SharedIdentity { .. }) => {
                self.notice(format_args!("somebody else chats under your name; choose another with --name"));
            }
            _ => {}
        }
    }

    pub(super) fn flush(&mut self) {
        self.screen.flush();
    }

    pub(super) fn has_failed(&self) -> bool {
        self.screen.has_failed()
    }

    pub(super) fn end(self) -> anyhow::Result<()> {
        self.screen.end()
    }

    fn tick(&mut self, tick: &str, request: &RequestId, remark: &str, lobby: &ReliableChannel) {
        let beginning = match self.said.get(request) {
            Some(said) => said.beginning.clone(),
            None => earlier(request, lobby),
        };
        self.screen.line(format_args!("{tick} {beginning}{}", plain(remark)));
    }

    fn close(&mut self, request: &RequestId) {
        if let Some(said) = self.said.get_mut(request) {
            said.is_open = false;
        }
    }
}

/// The beginning of what was said in an earlier run.
fn earlier(request: &RequestId, lobby: &ReliableChannel) -> String {
    let history = lobby.history().unwrap_or_default();
    let found = history.iter().rev().find(|logged| logged.body.key.id == *request.message());
    found.map_or_else(
        || request.to_string(),
        |logged| shortened(&String::from_utf8_lossy(&logged.body.content), BEGINNING),
    )
}
