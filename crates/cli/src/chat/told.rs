//! What is shown of a chat, as lines.
//!
//! What: [`Told`]. Why messages begin with `<`, and files with `+`: whatever people call themselves, nothing they say looks like a tick or a
//! notice. How it moves: each event becomes at most one line; of own messages the beginnings are kept, for their ticks.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use reliable_channel::channel::Event;
use reliable_channel::reliable::{ChannelEvent, ReliableChannel, RequestId};
use reliable_channel::segment::Abandoned;

use super::file::Files;
use super::heard::{Heard, beginning};
use super::view::{given_up, hundredths, part};
use crate::screen::{Screen, plain, shortened};

/// Own messages whose beginning is kept.
const MAX_KEPT: usize = 1_024;
/// Characters of it.
const BEGINNING: usize = 40;
/// Parts of something of which it is told how far it has come, in steps of so many hundredths.
const LARGE: usize = 8;
const STEP: u8 = 25;
/// Things coming that are known at a time.
const MAX_COMING: usize = 64;

pub(super) struct Told {
    screen: Screen,
    /// Beginnings of own messages, and whether somebody has them.
    said: BTreeMap<RequestId, Said>,
    order: VecDeque<RequestId>,
    /// Hundredths of what is coming that were told, by the hash of the whole.
    coming: BTreeMap<[u8; 32], u8>,
}

struct Said {
    beginning: String,
    is_open: bool,
    /// Hundredths of it that were told to be sent.
    told: u8,
}

impl Told {
    pub(super) fn new(screen: Screen) -> Self {
        Self { screen, said: BTreeMap::new(), order: VecDeque::new(), coming: BTreeMap::new() }
    }

    /// Shows what somebody said, and a remark.
    pub(super) fn message(&mut self, heard: &Heard, remark: &str) {
        let file = if heard.is_file { "+ " } else { "" };
        self.screen.line(format_args!("{file}<{}> {}{remark}", plain(&heard.sender.to_string()), plain(&heard.text)));
    }

    /// Shows what is not a message.
    pub(super) fn notice(&mut self, what: fmt::Arguments<'_>) {
        self.screen.line(format_args!("* {}", plain(&what.to_string())));
    }

    /// Remembers what was said.
    pub(super) fn said(&mut self, request: RequestId, text: String) {
        self.order.push_back(request.clone());
        self.said.insert(request, Said { beginning: shortened(&text, BEGINNING), is_open: true, told: 0 });
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
    pub(super) fn event(&mut self, event: ChannelEvent, lobby: &ReliableChannel, files: &Files) {
        match event {
            ChannelEvent::Received(delivery) => {
                let remark = match (delivery.history, delivery.late) {
                    (true, _) => " (history)",
                    (false, true) => " (late)",
                    (false, false) => "",
                };
                self.message(&Heard::now(&delivery, files), remark);
            }
            ChannelEvent::Sending { request, sent, of } if of >= LARGE && sent < of => {
                let part = step(hundredths(sent, of));
                if let Some(said) = self.said.get_mut(&request)
                    && part > said.told
                {
                    said.told = part;
                    let beginning = said.beginning.clone();
                    self.notice(format_args!("{part} % sent of {beginning}"));
                }
            }
            ChannelEvent::Receiving { sender, progress } if progress.needed >= LARGE => {
                if self.coming.len() >= MAX_COMING {
                    self.coming.pop_first();
                }
                let told = self.coming.entry(progress.hash).or_default();
                if step(hundredths(progress.held, progress.needed)) > *told {
                    *told = step(hundredths(progress.held, progress.needed));
                    self.notice(format_args!("receiving from {sender}: {}", part(&progress)));
                }
            }
            ChannelEvent::Abandoned(Abandoned { sender, progress, .. }) => {
                self.coming.remove(&progress.hash);
                self.notice(format_args!("{}", given_up(&sender, &progress)));
            }
            ChannelEvent::SegmentRefused { sender, why, .. } => {
                self.notice(format_args!("a part of something from {sender} was refused: {why}"));
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
            ChannelEvent::ArchiveFailed(error) => self.notice(format_args!("the archive fails: {error}")),
            ChannelEvent::ArchiveRecovered => self.notice(format_args!("the archive works again")),
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

/// The step that so many hundredths have reached.
fn step(hundredths: u8) -> u8 {
    hundredths / STEP * STEP
}

/// The beginning of what was said in an earlier run.
fn earlier(request: &RequestId, lobby: &ReliableChannel) -> String {
    let mut log = lobby.entries().unwrap_or_default().into_iter().rev();
    let found = log.find(|entry| entry.key().id == *request.message());
    found.map_or_else(|| request.to_string(), |entry| shortened(&beginning(entry), BEGINNING))
}
