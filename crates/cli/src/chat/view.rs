//! What a screen shows of a chat: messages in the order that all share, gaps where they are, ticks, who is heard.
//!
//! Nothing here draws, reads or waits: events and times come in, and [`draw`](super::draw) looks at what is there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use reliable_channel::channel::Event;
use reliable_channel::reliable::{ChannelEvent, RequestId, RequestState};
use reliable_channel::segment::{Abandoned, Progress};
use reliable_channel::state::LogKey;
use reliable_channel::types::{Lamport, MessageId, ParticipantId};

use super::file::size;
use super::heard::Heard;
use super::times::Times;
use crate::screen::plain;

/// Items kept; the oldest go first.
const MAX_ITEMS: usize = 20_000;
/// Who was not heard for so long has left.
const STILL_THERE: Duration = Duration::from_secs(180);
/// What moved no more for so long is not shown as coming.
const STILL_COMING: Duration = Duration::from_secs(60);
/// So many things are shown as coming.
const MAX_COMING: usize = 64;

/// How far an own message has come. What is later here says more.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tick {
    /// Saved, and not yet on the network.
    Waiting,
    /// So many hundredths of it are on the network.
    Sending(u8),
    Sent,
    /// Given up, and why.
    Failed(String),
    Probably,
    /// Who has it.
    Delivered(Vec<String>),
}

impl Tick {
    pub(super) fn of(state: RequestState) -> Self {
        match state {
            RequestState::PossiblyDelivered { .. } => Self::Probably,
            RequestState::Delivered { by } => Self::Delivered(by.iter().map(name).collect()),
            RequestState::Failed => Self::Failed("nobody answered".to_owned()),
            _ => Self::Sent,
        }
    }

    /// Somebody has it, or nobody is waited for any more.
    fn is_final(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Delivered(_))
    }

    fn rank(&self) -> (u8, u8) {
        match self {
            Self::Waiting => (0, 0),
            Self::Sending(hundredths) => (1, *hundredths),
            Self::Sent => (2, 0),
            Self::Failed(_) => (3, 0),
            Self::Probably => (4, 0),
            Self::Delivered(_) => (5, 0),
        }
    }
}

/// One thing that is shown, on one line or more.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shown {
    Message {
        /// When it was said.
        at: String,
        sender: String,
        text: String,
        is_file: bool,
        /// Of own ones.
        tick: Option<Tick>,
        /// It came after others that follow it.
        late: bool,
    },
    /// So many messages are missing here.
    Gap { missing: u64, after: Option<LogKey> },
    /// What is no message.
    Notice(String),
}

/// Where something is shown: a gap before a message, a notice after it.
type Place = (LogKey, u8);
const BEFORE: u8 = 0;
const AT: u8 = 1;
const AFTER: u8 = 2;

/// Something large of which a part is here.
#[derive(Debug)]
struct Coming {
    progress: Progress,
    seen: Duration,
}

#[derive(Debug)]
pub(super) struct View {
    times: Times,
    pub(super) me: String,
    pub(super) channel: String,
    items: Vec<(Place, Shown)>,
    /// Where own messages are.
    own: HashMap<MessageId, LogKey>,
    /// What came of own messages before they were shown.
    early: HashMap<MessageId, Tick>,
    /// What was said now, and nobody is known to have.
    open: BTreeSet<MessageId>,
    heard: BTreeMap<String, Duration>,
    coming: BTreeMap<(String, [u8; 32]), Coming>,
    /// What is wrong with network or store, if anything is.
    pub(super) trouble: BTreeMap<&'static str, String>,
    /// Messages that are asked for.
    pub(super) missing: usize,
    /// The last item on the screen, and how many of its lines are hidden; none while the newest is followed.
    pub(super) bottom: Option<(usize, usize)>,
}

/// How much of something has come, in words.
pub(super) fn part(progress: &Progress) -> String {
    let part = hundredths(progress.held, progress.needed);
    progress.length.map_or_else(|| format!("{part} %"), |bytes| format!("{part} % of {}", size(bytes)))
}

/// That something never came whole.
pub(super) fn given_up(sender: &ParticipantId, progress: &Progress) -> String {
    format!("something from {sender} never came whole, {} of it did", part(progress))
}

pub(super) fn hundredths(some: usize, of: usize) -> u8 {
    u8::try_from(some.saturating_mul(100) / of.max(1)).unwrap_or(100).min(100)
}

fn name(participant: &ParticipantId) -> String {
    plain(&participant.to_string())
}

impl View {
    pub(super) fn new(me: &ParticipantId, channel: &str, times: Times) -> Self {
        Self {
            times,
            me: name(me),
            channel: plain(channel),
            items: Vec::new(),
            own: HashMap::new(),
            early: HashMap::new(),
            open: BTreeSet::new(),
            heard: BTreeMap::new(),
            coming: BTreeMap::new(),
            trouble: BTreeMap::new(),
            missing: 0,
            bottom: None,
        }
    }

    pub(super) fn items(&self) -> impl DoubleEndedIterator<Item = &Shown> + ExactSizeIterator {
        self.items.iter().map(|(_, shown)| shown)
    }

    pub(super) fn item(&self, index: usize) -> &Shown {
        &self.items[index].1
    }

    /// Whether something that was said now is not known to have reached anybody, nor given up.
    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Who was heard lately, and how long ago.
    pub(super) fn heard(&self, now: Duration) -> impl Iterator<Item = (&str, Duration)> {
        let ago = move |at: &Duration| now.saturating_sub(*at);
        self.heard.iter().map(move |(who, at)| (who.as_str(), ago(at))).filter(|(_, ago)| *ago < STILL_THERE)
    }

    /// What is on its way here, and how much of it has come, in words.
    pub(super) fn coming(&self, now: Duration) -> impl Iterator<Item = String> {
        let moves = move |coming: &Coming| now.saturating_sub(coming.seen) < STILL_COMING;
        let coming = self.coming.iter().filter(move |(_, coming)| moves(coming));
        coming.map(|((who, _), coming)| format!("receiving from {who}: {}", part(&coming.progress)))
    }

    /// Shows what was said at its place, what is one's own with its tick.
    pub(super) fn message(&mut self, heard: Heard, tick: Option<Tick>) {
        let place = (heard.key.clone(), AT);
        if self.items.binary_search_by(|(at, _)| at.cmp(&place)).is_ok() {
            return;
        }
        let id = &heard.key.id;
        let said_now = tick == Some(Tick::Waiting);
        let tick = tick.map(|tick| self.early.remove(id).filter(|early| early.rank() > tick.rank()).unwrap_or(tick));
        if let Some(tick) = &tick {
            self.own.insert(id.clone(), heard.key.clone());
            if said_now && !tick.is_final() {
                self.open.insert(id.clone());
            }
        }
        self.fill_gaps(&heard.key);
        let text: Vec<String> = heard.text.lines().map(plain).collect();
        let (at, sender) = (self.times.of(heard.key.lamport), name(&heard.sender));
        let Heard { is_file, late, .. } = heard;
        self.insert(place, Shown::Message { at, sender, text: text.join("\n"), is_file, tick, late });
    }

    /// Shows what came now, at this running time; its payload had so many bytes.
    pub(super) fn received(&mut self, heard: Heard, bytes: usize, now: Duration) {
        self.hear(&heard.sender, now);
        let sender = name(&heard.sender);
        let is_whole = |coming: &Coming| coming.progress.length == Some(bytes as u64);
        self.coming.retain(|(who, _), coming| *who != sender || !is_whole(coming));
        self.message(heard, None);
    }

    /// Shows what is no message below everything that is shown.
    pub(super) fn notice(&mut self, what: &str) {
        let nothing = LogKey::first_at(Lamport(0));
        let last = self.items.last().map_or(nothing, |((key, _), _)| key.clone());
        self.insert((last, AFTER), Shown::Notice(plain(what)));
    }

    /// Takes in what happened at this running time.
    pub(super) fn event(&mut self, event: ChannelEvent, now: Duration) {
        match event {
            ChannelEvent::Sending { request, sent, of } => self.tick(&request, Tick::Sending(hundredths(sent, of))),
            ChannelEvent::Receiving { sender, progress } => {
                self.hear(&sender, now);
                if self.coming.len() < MAX_COMING {
                    self.coming.insert((name(&sender), progress.hash), Coming { progress, seen: now });
                }
            }
            ChannelEvent::Abandoned(Abandoned { sender, progress, .. }) => {
                self.coming.remove(&(name(&sender), progress.hash));
                self.notice(&given_up(&sender, &progress));
            }
            ChannelEvent::SegmentRefused { sender, why, .. } => {
                self.trouble.insert("refused", format!("a part of something from {}: {why}", name(&sender)));
            }
            ChannelEvent::Sent { request } => self.tick(&request, Tick::Sent),
            ChannelEvent::SendError { request, error, .. } => {
                self.tick(&request, Tick::Failed(plain(&error.to_string())))
            }
            ChannelEvent::Delivered { request, by, .. } => {
                self.hear(&by, now);
                self.tick(&request, Tick::Delivered(vec![name(&by)]));
            }
            ChannelEvent::DeliveryError { request, .. } => {
                self.tick(&request, Tick::Failed("nobody answered".to_owned()));
            }
            ChannelEvent::Disconnected { error } => {
                self.trouble.insert("network", format!("{}; it is tried again", plain(&error.to_string())));
            }
            ChannelEvent::Connected => drop(self.trouble.remove("network")),
            ChannelEvent::Missed { lost, .. } if lost > 0 => {
                self.notice(&format!("{lost} messages came too fast, and are not shown"));
            }
            ChannelEvent::PersistenceFailed(error) => drop(self.trouble.insert("not saved", plain(&error.to_string()))),
            ChannelEvent::PersistenceRecovered => drop(self.trouble.remove("not saved")),
            ChannelEvent::ArchiveFailed(error) => drop(self.trouble.insert("archive", plain(&error.to_string()))),
            ChannelEvent::ArchiveRecovered => drop(self.trouble.remove("archive")),
            ChannelEvent::Other(event) => self.other(event, now),
            _ => {}
        }
    }

    fn other(&mut self, event: Event, now: Duration) {
        match event {
            Event::SyncReceived { sender } => self.hear(&sender, now),
            Event::MessagePossiblyAcknowledged { id, .. } => self.tick(&RequestId::new(id), Tick::Probably),
            Event::HistoryGap { missing, after, before } => {
                self.insert((before, BEFORE), Shown::Gap { missing, after })
            }
            Event::SharedIdentity { .. } => {
                self.notice("somebody else chats under your name; choose another with --name");
            }
            _ => {}
        }
    }

    fn hear(&mut self, who: &ParticipantId, now: Duration) {
        let who = name(who);
        if who != self.me {
            self.heard.insert(who, now);
        }
    }

    /// Says how far an own message has come. It never goes back, and who has it adds up.
    fn tick(&mut self, request: &RequestId, new: Tick) {
        let id = request.message();
        if new.is_final() {
            self.open.remove(id);
        }
        let place = self.own.get(id).map(|key| (key.clone(), AT));
        let found = place.and_then(|place| self.items.binary_search_by(|(at, _)| at.cmp(&place)).ok());
        let Some(index) = found else {
            if self.early.len() < MAX_ITEMS {
                self.early.insert(id.clone(), new);
            }
            return;
        };
        let Shown::Message { tick: Some(tick), .. } = &mut self.items[index].1 else { return };
        match (&mut *tick, new) {
            (Tick::Delivered(all), Tick::Delivered(more)) => {
                all.extend(more);
                all.sort();
                all.dedup();
            }
            (old, new) if new.rank() > old.rank() => *tick = new,
            _ => {}
        }
    }

    /// A message has come whose place is within gaps.
    fn fill_gaps(&mut self, key: &LogKey) {
        let mut closed = Vec::new();
        // A gap lies above what it begins after, and below what it stands before.
        let from = self.items.partition_point(|((at, _), _)| at <= key);
        for (index, ((before, _), shown)) in self.items.iter_mut().enumerate().skip(from) {
            if let Shown::Gap { missing, after } = shown
                && key < &*before
                && after.as_ref().is_none_or(|after| after < key)
            {
                *missing = missing.saturating_sub(1);
                closed.extend((*missing == 0).then_some(index));
            }
        }
        closed.into_iter().rev().for_each(|index| self.remove(index));
    }

    fn insert(&mut self, place: Place, shown: Shown) {
        let index = self.items.partition_point(|(at, _)| *at <= place);
        self.items.insert(index, (place, shown));
        if let Some((bottom, _)) = &mut self.bottom
            && index <= *bottom
        {
            *bottom += 1;
        }
        if self.items.len() > MAX_ITEMS {
            self.remove(0);
        }
    }

    fn remove(&mut self, index: usize) {
        let ((key, _), shown) = self.items.remove(index);
        if matches!(shown, Shown::Message { .. }) {
            self.own.remove(&key.id);
        }
        if let Some((bottom, hidden)) = &mut self.bottom
            && index <= *bottom
        {
            if index == *bottom {
                *hidden = 0;
            }
            *bottom = bottom.saturating_sub(1);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use reliable_channel::segment::{Fate, Options, Reassembly, split};

    use super::super::times::tests::first_day;
    use super::*;

    /// What somebody said.
    pub(in crate::chat) fn heard(time: u64, id: &str, sender: &str, text: &str) -> Heard {
        let key = LogKey { lamport: Lamport(time), id: id.into() };
        Heard { key, sender: sender.into(), text: text.to_owned(), is_file: false, late: false }
    }

    /// So many segments of a payload have come, of 72 if it has 5 MB.
    fn progress(bytes: usize, segments: usize) -> Progress {
        let contents = split(&vec![7; bytes].into(), &Options::of_room(70_000)).unwrap();
        let mut reassembly = Reassembly::default();
        let taken = contents.iter().take(segments).map(|content| reassembly.take(&"bob".into(), content, ()).fate);
        let Some(Fate::Kept(progress)) = taken.last() else { panic!("not a part") };
        progress
    }

    fn view() -> View {
        View::new(&"alice".into(), "lobby", first_day())
    }

    fn texts(view: &View) -> Vec<String> {
        let text = |shown: &Shown| match shown {
            Shown::Message { sender, text, .. } => format!("{sender}: {text}"),
            Shown::Gap { missing, .. } => format!("{missing} missing"),
            Shown::Notice(text) => text.clone(),
        };
        view.items().map(text).collect()
    }

    fn tick_of(view: &View, index: usize) -> &Tick {
        let Shown::Message { tick: Some(tick), .. } = view.item(index) else { panic!("no tick") };
        tick
    }

    #[test]
    fn messages_stand_in_the_order_that_all_share_and_once() {
        let mut view = view();
        for (time, id) in [(5, "e"), (1, "a"), (3, "c"), (5, "e")] {
            view.message(heard(time, id, "bob", id), None);
        }
        assert_eq!(texts(&view), ["bob: a", "bob: c", "bob: e"]);
    }

    #[test]
    fn a_gap_stands_where_it_is_and_closes_as_messages_come() {
        let mut view = view();
        view.message(heard(1, "a", "bob", "a"), None);
        let gap = Event::HistoryGap {
            missing: 2,
            after: Some(LogKey { lamport: Lamport(1), id: "a".into() }),
            before: LogKey { lamport: Lamport(9), id: "z".into() },
        };
        view.event(ChannelEvent::Other(gap), Duration::ZERO);
        view.message(heard(9, "z", "bob", "z"), None);
        assert_eq!(texts(&view), ["bob: a", "2 missing", "bob: z"]);
        view.message(heard(10, "next", "bob", "next"), None);
        view.message(heard(4, "m", "bob", "m"), None);
        assert_eq!(texts(&view), ["bob: a", "bob: m", "1 missing", "bob: z", "bob: next"]);
        view.message(heard(5, "n", "bob", "n"), None);
        assert_eq!(texts(&view), ["bob: a", "bob: m", "bob: n", "bob: z", "bob: next"]);
    }

    #[test]
    fn the_message_after_a_gap_that_closed_still_has_its_tick() {
        let mut view = view();
        let own = heard(9, "own", "alice", "hi");
        let gap = Event::HistoryGap { missing: 1, after: None, before: own.key.clone() };
        view.message(own, Some(Tick::Waiting));
        view.event(ChannelEvent::Other(gap), Duration::ZERO);
        view.message(heard(4, "m", "bob", "m"), None);
        view.event(ChannelEvent::Sent { request: RequestId::new("own") }, Duration::ZERO);
        assert_eq!(*tick_of(&view, 1), Tick::Sent);
    }

    #[test]
    fn a_tick_never_goes_back_and_names_all_who_have_it() {
        let mut view = view();
        let request = RequestId::new("m");
        // Told before the message could be shown.
        view.event(ChannelEvent::Sent { request: request.clone() }, Duration::ZERO);
        view.message(heard(1, "m", "alice", "hi"), Some(Tick::Waiting));
        assert_eq!(*tick_of(&view, 0), Tick::Sent);
        assert!(view.is_open());
        view.event(ChannelEvent::DeliveryError { request: request.clone(), possibly: false }, Duration::ZERO);
        assert_eq!(*tick_of(&view, 0), Tick::Failed("nobody answered".to_owned()));
        assert!(!view.is_open());
        for by in ["carol", "bob", "carol"] {
            let by = by.into();
            view.event(ChannelEvent::Delivered { request: request.clone(), by, after_error: true }, Duration::ZERO);
        }
        view.event(ChannelEvent::Sent { request }, Duration::ZERO);
        assert_eq!(*tick_of(&view, 0), Tick::Delivered(vec!["bob".to_owned(), "carol".to_owned()]));
    }

    #[test]
    fn what_is_large_shows_how_far_it_is_on_its_way_out_and_in() {
        let mut view = view();
        let request = RequestId::new("own");
        view.message(heard(1, "own", "alice", "a.jpg, 5.0 MB"), Some(Tick::Waiting));
        for sent in [10, 40] {
            view.event(ChannelEvent::Sending { request: request.clone(), sent, of: 80 }, Duration::ZERO);
        }
        assert_eq!(*tick_of(&view, 0), Tick::Sending(50));
        view.event(ChannelEvent::Sent { request }, Duration::ZERO);
        assert_eq!(*tick_of(&view, 0), Tick::Sent);

        view.event(ChannelEvent::Receiving { sender: "bob".into(), progress: progress(5_000_000, 20) }, Duration::ZERO);
        let shown = |view: &View, now| view.coming(Duration::from_secs(now)).collect::<Vec<_>>();
        assert_eq!(shown(&view, 59), ["receiving from bob: 27 % of 5.0 MB"]);
        assert!(shown(&view, 60).is_empty(), "nothing moves any more");
        view.received(heard(2, "x", "bob", "meanwhile"), 9, Duration::ZERO);
        assert_eq!(shown(&view, 1).len(), 1);
        view.received(heard(3, "y", "bob", "b.jpg, 5.0 MB"), 5_000_000, Duration::ZERO);
        assert!(shown(&view, 1).is_empty());
    }

    #[test]
    fn who_was_heard_lately_is_there_and_nobody_hears_himself() {
        let mut view = view();
        let at = Duration::from_secs;
        view.event(ChannelEvent::Other(Event::SyncReceived { sender: "bob".into() }), at(10));
        view.event(ChannelEvent::Other(Event::SyncReceived { sender: "alice".into() }), at(20));
        assert_eq!(view.heard(at(30)).collect::<Vec<_>>(), [("bob", at(20))]);
        assert_eq!(view.heard(at(190)).count(), 0);
    }

    #[test]
    fn nothing_that_people_say_moves_the_cursor() {
        let mut view = view();
        view.message(heard(1, "m", "b\u{1b}b", "a\u{1b}[31m\nb\u{202e}c"), None);
        assert_eq!(texts(&view), ["0x621b62: a [31m\nb c"]);
    }

    #[test]
    fn the_oldest_go_first_and_what_is_looked_at_stays_at_the_bottom() {
        let mut view = view();
        for time in 0..MAX_ITEMS as u64 {
            view.message(heard(time, "m", "bob", "m"), None);
        }
        view.bottom = Some((100, 0));
        view.message(heard(MAX_ITEMS as u64, "m", "bob", "new"), None);
        assert_eq!((view.items().len(), view.bottom), (MAX_ITEMS, Some((99, 0))));
        view.event(
            ChannelEvent::Other(Event::HistoryGap {
                missing: 1,
                after: None,
                before: LogKey { lamport: Lamport(2), id: "m".into() },
            }),
            Duration::ZERO,
        );
        assert_eq!(view.bottom, Some((99, 0)), "one above it went and one came");
    }
}
