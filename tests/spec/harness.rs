//! One channel under manual time, messages made by hand, and what came of them.
#![allow(dead_code, reason = "each section uses what it needs")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reliable_channel::channel::{
    Channel, ChannelError, Config, Context, Cursor, Deliveries, Event, Fate, Input, Join, Outcome, Received, Transmit,
    TransmitKind,
};
use reliable_channel::state::{ChannelData, Commit, Row, RowKey};
use reliable_channel::types::{
    ChannelId, FilterField, HistoryEntry, Lamport, Message, MessageId, ParticipantId, RunningTime, WallTime,
};
use tap::Tap as _;

/// Wall time of running time 0, in milliseconds.
pub const EPOCH: u64 = 1_700_000_000_000;

/// A channel that keeps what it saved, transmitted and told.
pub struct Peer {
    pub channel: Channel,
    /// Running time in milliseconds.
    pub now: u64,
    /// Wall time minus running time, in milliseconds.
    pub wall_offset: u64,
    pub entropy: u64,
    pub saved: ChannelData,
    /// Commits that were not empty.
    pub commits: Vec<Commit>,
    pub transmitted: Vec<Transmit>,
    pub archive: Vec<reliable_channel::channel::ForArchive>,
    pub events: Vec<Event>,
}

/// A founding participant (everything it misses counts) in channel "c" with default options.
pub fn peer(name: &str) -> Peer {
    peer_with(name, |_| {})
}

/// The same with options changed.
pub fn peer_with(name: &str, change: impl FnOnce(&mut Config)) -> Peer {
    // Waits stay as they are, and so do filters in small groups, but where a test is about that.
    let (fastest_t_min, few_error_rate) = (Duration::MAX, 0.01);
    let mut config = Config::default().tap_mut(|it| {
        it.join = Join::Backfill(u64::MAX);
        it.fastest_t_min = fastest_t_min;
        it.few_error_rate = few_error_rate;
        // What it says is the matter of section 13.
        it.catch_up = false;
    });
    change(&mut config);
    open(name, config, ChannelData::default(), 0, EPOCH)
}

fn open(name: &str, config: Config, data: ChannelData, now: u64, wall_offset: u64) -> Peer {
    let context = Context::new(WallTime::from_millis(wall_offset + now), RunningTime::from_millis(now), 0x5eed);
    let (channel, step) =
        Channel::restore(ChannelId::from("c"), ParticipantId::from(name), Arc::new(config), data.clone(), &context)
            .unwrap();
    let mut peer = Peer {
        channel,
        now,
        wall_offset,
        entropy: 1,
        saved: data,
        commits: Vec::new(),
        transmitted: Vec::new(),
        archive: Vec::new(),
        events: Vec::new(),
    };
    peer.apply(&step.save);
    peer.events = step.events;
    assert!(step.transmit.is_empty(), "restoring transmits nothing");
    peer
}

impl Peer {
    pub fn context(&mut self) -> Context {
        self.entropy = self.entropy.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Context::new(
            WallTime::from_millis(self.wall_offset + self.now),
            RunningTime::from_millis(self.now),
            self.entropy,
        )
    }

    /// Any input; the step is carried out.
    pub fn input(&mut self, input: Input) -> Result<Outcome, ChannelError> {
        let context = self.context();
        let step = self.channel.handle(&context, input);
        self.apply(&step.save);
        self.archive.extend(step.archive);
        self.transmitted.extend(step.transmit);
        self.events.extend(step.events);
        assert_eq!(self.saved, self.channel.data(), "what was saved is the state");
        step.outcome
    }

    pub fn send(&mut self, text: &str) -> Message {
        self.send_as(None, text)
    }

    pub fn send_as(&mut self, id: Option<&str>, text: &str) -> Message {
        let content = Bytes::copy_from_slice(text.as_bytes());
        let outcome = self.input(Input::Send { content, id: id.map(MessageId::from) });
        assert!(matches!(outcome, Ok(Outcome::Sent(_))), "{outcome:?}");
        let sent = self.transmitted.pop().unwrap();
        assert_eq!(sent.kind, TransmitKind::Content);
        sent.message
    }

    pub fn send_sync(&mut self) -> Message {
        self.input(Input::SendSync).unwrap();
        let sent = self.transmitted.pop().expect("there is something to say");
        assert_eq!(sent.kind, TransmitKind::Sync);
        sent.message
    }

    pub fn receive(&mut self, message: &Message) -> Received {
        match self.input(Input::Receive(message.clone())) {
            Ok(Outcome::Received(received)) => received,
            other => panic!("not received: {other:?}"),
        }
    }

    pub fn fate(&mut self, message: &Message) -> Fate {
        self.receive(message).fate
    }

    pub fn refuse(&mut self, message: &Message) -> ChannelError {
        self.input(Input::Receive(message.clone())).unwrap_err()
    }

    /// Lets running and wall time pass, waking the channel whenever it asks for it; returns what went out.
    pub fn run_for(&mut self, millis: u64) -> Vec<Transmit> {
        let end = self.now + millis;
        while let Some(due) = self.channel.poll_timeout().map(RunningTime::as_millis).filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.input(Input::Timeout).unwrap();
            let next = self.channel.poll_timeout().map(RunningTime::as_millis);
            assert!(next.is_none_or(|next| next > self.now), "after a timeout, the next lies later than now");
        }
        self.now = end;
        std::mem::take(&mut self.transmitted)
    }

    /// Time passes while nobody wakes the channel.
    pub fn sleep(&mut self, millis: u64) {
        self.now += millis;
    }

    /// Drops the channel and opens it again from what it saved.
    pub fn restart(&mut self) {
        self.restart_with(|_| {});
    }

    pub fn restart_with(&mut self, change: impl FnOnce(&mut Config)) {
        let mut config = (**self.channel.config()).clone();
        change(&mut config);
        let name = self.channel.participant().to_string();
        *self = open(&name, config, self.saved.clone(), self.now, self.wall_offset);
    }

    /// Deliveries after this number, which the last opening made.
    pub fn since(&self, number: u64) -> Deliveries {
        let incarnation = self.channel.cursor().incarnation;
        self.channel.deliveries_since(Cursor::new(incarnation, number)).unwrap()
    }

    pub fn log(&self) -> Vec<String> {
        self.channel.log().map(|logged| logged.body.key.id.to_string()).collect()
    }

    /// Takes the ids delivered since the last call, in the order told.
    pub fn delivered(&mut self) -> Vec<String> {
        let told = std::mem::take(&mut self.events);
        let (delivered, rest): (Vec<_>, Vec<_>) =
            told.into_iter().partition(|event| matches!(event, Event::MessageDelivered(_)));
        self.events = rest;
        delivered
            .into_iter()
            .map(|event| match event {
                Event::MessageDelivered(delivery) => delivery.body.key.id.to_string(),
                _ => unreachable!(),
            })
            .collect()
    }

    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn apply(&mut self, commit: &Commit) {
        use std::collections::BTreeMap;
        if commit.is_empty() {
            return;
        }
        self.commits.push(commit.clone());
        let mut rows: BTreeMap<RowKey, Row> =
            std::mem::take(&mut self.saved.rows).into_iter().map(|row| (row.key(), row)).collect();
        let mut hints: BTreeMap<_, _> = std::mem::take(&mut self.saved.hints).into_iter().collect();
        for key in &commit.history.delete {
            rows.remove(key);
            if key.place == reliable_channel::state::Place::Body {
                hints.remove(&key.id);
            }
        }
        rows.extend(commit.history.put.iter().map(|row| (row.key(), row.clone())));
        hints.extend(commit.hints.iter().cloned());
        self.saved.rows = rows.into_values().collect();
        self.saved.hints = hints.into_iter().collect();
        if commit.meta.is_some() {
            self.saved.meta.clone_from(&commit.meta);
        }
    }
}

/// A content message made by hand: Lamport time is `EPOCH + lamport`, content is the id.
pub fn message(sender: &str, id: &str, lamport: u64, depends_on: &[&str]) -> Message {
    Message::new(MessageId::from(id), ParticipantId::from(sender), ChannelId::from("c")).tap_mut(|it| {
        it.lamport = Some(Lamport(EPOCH + lamport));
        it.causal_history = depends_on.iter().map(|id| HistoryEntry::new(*id)).collect();
        it.content = Bytes::copy_from_slice(id.as_bytes());
    })
}

/// A sync message made by hand.
pub fn sync(sender: &str, lamport: u64, names: &[&str], asks_for: &[&str]) -> Message {
    message(sender, &format!("sync-{sender}-{lamport}"), lamport, names).tap_mut(|it| {
        it.content = Bytes::new();
        it.repair_request = asks_for.iter().map(|id| HistoryEntry::new(*id)).collect();
    })
}

/// The ids a message depends on.
pub fn history(message: &Message) -> Vec<String> {
    message.causal_history.iter().map(|entry| entry.id.to_string()).collect()
}

/// The ids a message asks for.
pub fn requests(message: &Message) -> Vec<String> {
    message.repair_request.iter().map(|entry| entry.id.to_string()).collect()
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A filter that holds these ids and nothing else, under this seed.
pub fn filter_of(ids: &[&str], seed: u64) -> FilterField {
    filter_with(ids, 0, seed)
}

/// A filter that holds this id among so many others that a hit is worth about one in a hundred.
pub fn weak_filter(id: &MessageId, seed: u64) -> FilterField {
    filter_with(&[id.as_str().unwrap()], 8, seed)
}

fn filter_with(ids: &[&str], others: u64, seed: u64) -> FilterField {
    use reliable_channel::filter::{IdHash, RollingFilter, RollingFilterConfig};
    let mut filter = RollingFilter::new(RollingFilterConfig::default());
    let insert = |filter: &mut RollingFilter, id: &str| {
        let id = MessageId::from(id);
        filter.insert(&id, IdHash::of(&id), RunningTime::from_millis(0));
    };
    ids.iter().for_each(|id| insert(&mut filter, id));
    filter.reseed(RunningTime::from_millis(0), seed.to_be_bytes());
    (0..others).for_each(|n| insert(&mut filter, &format!("other {seed} {n}")));
    filter.field()
}

/// The chance that this filter holds the id by accident; `None` where it does not hold it.
pub fn chance(filter: &FilterField, id: &MessageId) -> Option<f64> {
    use reliable_channel::filter::{IdHash, ReceivedFilter};
    ReceivedFilter::parse(filter, usize::MAX).unwrap().unwrap().chance(&IdHash::of(id))
}

/// A sync message made by hand that carries a filter.
pub fn filter_from(sender: &str, lamport: u64, filter: FilterField) -> Message {
    sync(sender, lamport, &[], &[]).tap_mut(|it| it.filter = filter)
}

impl Peer {
    /// As [`Peer::run_for`]; returns what went out, each with its running time.
    pub fn run_timed(&mut self, millis: u64) -> Vec<(u64, Transmit)> {
        let end = self.now + millis;
        let mut sent = Vec::new();
        while let Some(due) = self.channel.poll_timeout().map(|due| due.as_millis().max(self.now)) {
            if due > end {
                break;
            }
            let out = self.run_for(due - self.now);
            sent.extend(out.into_iter().map(|transmit| (due, transmit)));
        }
        self.now = end;
        sent
    }

    /// As [`Peer::run_timed`]; returns when messages of this kind went out.
    pub fn times_of(&mut self, kind: TransmitKind, millis: u64) -> Vec<u64> {
        self.run_timed(millis).into_iter().filter(|(_, sent)| sent.kind == kind).map(|(at, _)| at).collect()
    }

    /// Drops the channel and opens it again as a new process does, whose running time begins at 0.
    pub fn reboot(&mut self) {
        (self.wall_offset, self.now) = (self.wall_offset + self.now, 0);
        self.restart();
    }
}
impl Peer {
    /// Receives in order, checking what was saved against the state once, at the end: for thousands of messages.
    pub fn receive_all<'a>(&mut self, messages: impl IntoIterator<Item = &'a Message>) {
        use std::collections::BTreeMap;
        let mut rows: BTreeMap<RowKey, Row> =
            std::mem::take(&mut self.saved.rows).into_iter().map(|row| (row.key(), row)).collect();
        for message in messages {
            let context = self.context();
            let step = self.channel.handle(&context, Input::Receive(message.clone()));
            step.outcome.unwrap();
            self.transmitted.extend(step.transmit);
            self.events.extend(step.events);
            assert!(step.save.hints.is_empty());
            step.save.history.delete.iter().for_each(|key| drop(rows.remove(key)));
            rows.extend(step.save.history.put.into_iter().map(|row| (row.key(), row)));
            self.saved.meta = step.save.meta.or(self.saved.meta.take());
        }
        self.saved.rows = rows.into_values().collect();
        assert_eq!(self.saved, self.channel.data(), "what was saved is the state");
    }

    pub fn set_hint(&mut self, id: &str, hint: &'static [u8]) {
        self.input(Input::SetHint { id: MessageId::from(id), hint: Bytes::from_static(hint) }).unwrap();
    }

    /// The numbers of the deliveries told since the last call, with their ids; other events stay.
    pub fn numbered(&mut self) -> Vec<(u64, String)> {
        let (delivered, rest): (Vec<_>, Vec<_>) =
            self.take_events().into_iter().partition(|event| matches!(event, Event::MessageDelivered(_)));
        self.events = rest;
        delivered
            .into_iter()
            .filter_map(|event| match event {
                Event::MessageDelivered(delivery) => Some((delivery.number, delivery.body.key.id.to_string())),
                _ => None,
            })
            .collect()
    }

    /// The ids asked for, by T_req.
    pub fn asked(&self) -> Vec<String> {
        self.channel.requests().into_iter().map(|request| request.entry.id.to_string()).collect()
    }

    /// The ids parked, in log order.
    pub fn parked(&self) -> Vec<String> {
        self.channel.incoming().into_iter().map(|waiting| waiting.id.to_string()).collect()
    }

    /// Whether the next sync message's filter holds this id.
    pub fn summarises(&mut self, id: &str) -> bool {
        let sync = self.send_sync();
        holds(&sync, id)
    }

    /// The ids known by stubs, in log order.
    pub fn stubs(&self) -> Vec<String> {
        let stub = |row: &Row| match row {
            Row::Stub(stub) => Some(stub.key.id.to_string()),
            _ => None,
        };
        self.saved.rows.iter().filter_map(stub).collect()
    }
}

/// Whether a message's filter holds this id.
pub fn holds(message: &Message, id: &str) -> bool {
    use reliable_channel::filter::{IdHash, ReceivedFilter};
    let filter = ReceivedFilter::parse(&message.filter, usize::MAX).unwrap();
    filter.is_some_and(|filter| filter.chance(&IdHash::of(&MessageId::from(id))).is_some())
}

/// `m1` to `mN` of bob's, each depending on the one before.
pub fn chain(length: u64) -> Vec<Message> {
    (1..=length)
        .map(|n| {
            let before = format!("m{}", n - 1);
            let depends_on = [before.as_str()];
            message("bob", &format!("m{n}"), n, if n == 1 { &[] } else { &depends_on })
        })
        .collect()
}

/// The same ids, as owned strings.
pub fn ids<const N: usize>(ids: [&str; N]) -> Vec<String> {
    ids.map(str::to_owned).to_vec()
}

/// The fate of a message that waits, with what was never received.
pub fn parked_for(missing: &[&str]) -> Fate {
    Fate::Parked { missing: missing.iter().map(|id| MessageId::from(*id)).collect() }
}
/// Lets time pass by that the machine slept through or nobody asked about, then wakes the channel once.
pub fn wake(peer: &mut Peer) -> Vec<Transmit> {
    peer.input(Input::Timeout).unwrap();
    std::mem::take(&mut peer.transmitted)
}

/// T_req of a missing message in running milliseconds, if it is in the outgoing repair buffer.
pub fn t_req(peer: &Peer, id: &str) -> Option<u64> {
    let requests = peer.channel.requests();
    requests.iter().find(|request| request.entry.id == MessageId::from(id)).map(|request| request.due.as_millis())
}

/// T_resp of a message in running milliseconds, if it is in the incoming repair buffer.
pub fn t_resp(peer: &Peer, id: &str) -> Option<u64> {
    let responses = peer.channel.responses();
    responses.iter().find(|response| response.id == MessageId::from(id)).map(|response| response.due.as_millis())
}

/// The ids that wait for an answer.
pub fn answering(peer: &Peer) -> Vec<String> {
    peer.channel.responses().iter().map(|response| response.id.to_string()).collect()
}

/// The ids in the outgoing repair buffer, in id order.
pub fn missing(peer: &Peer) -> Vec<String> {
    let mut ids: Vec<_> = peer.channel.requests().iter().map(|request| request.entry.id.to_string()).collect();
    ids.sort();
    ids
}

/// The messages rebroadcast among these.
pub fn repairs(transmitted: &[Transmit]) -> Vec<String> {
    let repairs = transmitted.iter().filter(|transmit| transmit.kind == TransmitKind::Repair);
    repairs.map(|transmit| transmit.message.id.to_string()).collect()
}

/// SplitMix64: the same numbers for the same seed, everywhere.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
