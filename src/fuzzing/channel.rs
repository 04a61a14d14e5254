//! Channel operations: one channel under any sequence of inputs, hostile messages, restarts and crashes.
//!
//! Input: two bytes of options ([`options`]), the dialect among them, then six for each operation ([`Op`]). Ids are few, so that messages
//! meet, repeat and contradict one another. How it moves: an operation becomes inputs or a passing of time; after
//! each step, [`watch::Watch`] holds the step and the channel against what was promised.

mod archive;
mod messages;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;

use crate::channel::{Channel, Config, Context, FilterEvidence, Input, Join, Outcome};
use crate::types::{ChannelId, Dialect, Limits, Message, MessageId, ParticipantId, RunningTime, WallTime};
use watch::Watch;

/// Wall time at the start, in milliseconds.
const EPOCH: u64 = 1_700_000_000_000;
/// Operations taken from one input.
const MAX_OPS: usize = 200;
/// Timeouts while time passes in one operation.
const MAX_WAKES: usize = 40;
/// Timeouts until a channel that hears nothing must have come to rest.
const WAKES_TO_REST: usize = 1_500;
/// The channel under test.
const CHANNEL: &str = "c";
/// Its participant.
const OWN: &str = "alice";

/// One operation; what the parts mean depends on `what`.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Op {
    what: u8,
    who: u8,
    id: u8,
    names: u8,
    time: u8,
    extra: u8,
}

impl Op {
    fn bit(self, bit: u8) -> bool {
        self.extra >> bit & 1 == 1
    }
}

/// The body of the target `channel`.
pub fn channel(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(bits) = input.arbitrary::<u16>() else { return };
    let mut run = Run::new(options(bits));
    for _ in 0..MAX_OPS {
        if input.is_empty() {
            break;
        }
        // Integers read zeros where the input ends, so this never fails.
        let Ok(op) = input.arbitrary::<Op>() else { break };
        run.perform(op);
    }
    if bits & 1 << 12 != 0 {
        run.rest();
    }
}

/// Short times, so that little virtual time shows everything; each bit brings one option to its edge.
fn options(bits: u16) -> Config {
    let bit = |bit: u16| bits >> bit & 1 == 1;
    // Two values of eight, so that inputs found before there were dialects mostly mean what they meant.
    let dialect = match bits >> 13 {
        3 => Dialect::JsWaku,
        7 => Dialect::NimSds,
        _ => Dialect::Lip109,
    };
    let mut config = Config {
        dialect,
        confirm_deliveries: bit(0),
        join: match bits >> 1 & 3 {
            0 => Join::FromNow,
            1 => Join::Backfill(2),
            _ => Join::Backfill(u64::MAX),
        },
        max_transmit_bytes: bit(4).then_some(400),
        authenticated_senders: true,
        max_log_age: bit(5).then_some(Duration::from_secs(60)),
        max_body_age: (bit(5) && bit(6)).then_some(Duration::from_secs(40)),
        response_groups: if bit(6) { 3 } else { 1 },
        filter_evidence: if bit(7) { FilterEvidence::Hits(1) } else { FilterEvidence::Chance(1e-6) },
        max_message_history: if bit(8) { 2 } else { 1_000 },
        max_log_bytes: if bit(9) { 700 } else { 8 << 20 },
        repair_bytes_per_second: if bit(10) { 100 } else { 1 << 20 },
        max_clock_drift: Duration::from_secs(if bit(11) { 10 } else { 24 * 60 * 60 }),
        resend_interval: Duration::from_secs(1),
        max_resend_interval: Duration::from_secs(4),
        max_resend_attempts: 2,
        acknowledgement_window: Duration::from_secs(30),
        acknowledgement_delay: (Duration::from_millis(100), Duration::from_millis(400)),
        sync_interval: Duration::from_secs(5),
        max_sync_interval: Duration::from_secs(20),
        t_min: Duration::from_secs(1),
        t_max: Duration::from_secs(4),
        lost_timeout: Duration::from_secs(20),
        ..Config::default()
    };
    if bit(3) {
        config.max_causal_heads = 2;
        config.limits = Limits {
            max_id_bytes: 64,
            max_causal_entries: 12,
            max_filter_bytes: 64,
            // Room for a filter of the peers.
            max_message_bytes: if dialect == Dialect::Lip109 { 1_200 } else { 32 << 10 },
            max_content_bytes: 500,
            max_hint_bytes: 16,
            max_signature_bytes: 64,
            max_requests_per_message: 3,
            max_parked: 3,
            max_parked_bytes: 1_000,
            max_outgoing: 2,
            max_outgoing_bytes: 1_000,
            max_repair_entries: 4,
            max_repair_entries_per_message: 2,
            max_unconfirmed_bytes: 1_000,
            max_marks: 3,
        };
    }
    config
}

/// A channel, its time, and what it was seen to do.
struct Run {
    channel: Channel,
    wall: u64,
    running: u64,
    entropy: u64,
    watch: Watch,
    /// Messages received and transmitted so far, to come again.
    heard: Vec<Message>,
    transmitted: Vec<Message>,
    archive: archive::Archive,
    /// The next step is made but not carried out: a crash.
    crash: bool,
}

impl Run {
    fn new(config: Config) -> Self {
        let context =
            Context { wall: WallTime::from_millis(EPOCH), running: RunningTime::from_millis(0), entropy: 0x5eed };
        let channel = Channel::new(CHANNEL, OWN, Arc::new(config), &context).expect("the options are valid");
        Self {
            channel,
            wall: EPOCH,
            running: 0,
            entropy: 1,
            watch: Watch::default(),
            heard: Vec::new(),
            transmitted: Vec::new(),
            archive: archive::Archive::default(),
            crash: false,
        }
    }

    fn perform(&mut self, op: Op) {
        let content = || Bytes::from(vec![b'x'; if op.bit(1) { 300 } else { 1 + usize::from(op.time % 8) }]);
        let named = || messages::named(op).map(|entry| entry.id).collect();
        match op.what % 16 {
            0..=2 => self.receive(messages::content(op, self.wall, &self.channel)),
            3 => self.receive(messages::sync(op, self.wall, &self.channel)),
            4 => self.receive(messages::odd(op, self.wall, &self.channel)),
            5 => self.input(Input::Relay(messages::content(op, self.wall, &self.channel))),
            6 => self.again(op, |run| &run.transmitted),
            7 => self.again(op, |run| &run.heard),
            8 if op.bit(2) => self.input(Input::SendEphemeral { content: content() }),
            8 if op.bit(3) => {
                self.input(Input::Send { content: Bytes::from(vec![0; 501 * usize::from(op.id % 2)]), id: None })
            }
            8 => self.input(Input::Send { content: content(), id: op.bit(0).then(|| messages::id(op.id)) }),
            9 if op.bit(7) => self.archive(op),
            9 if op.bit(2) => {
                let name = |n: u8| messages::sender(n);
                let members = (0..op.names % 4).map(name).collect();
                self.input(Input::SetMembers { epoch: u64::from(op.extra), members });
            }
            9 if op.bit(6) => {
                let id = if op.bit(0) { messages::id(op.id) } else { self.any_logged(op.id) };
                self.input(Input::Erase(id));
            }
            9 => self.input(Input::SendSync),
            10 => self.input(Input::DependenciesMet(named())),
            11 => {
                let id = if op.bit(0) { messages::id(op.id) } else { self.any_logged(op.id) };
                self.input(Input::SetHint { id, hint: Bytes::from(vec![op.names; usize::from(op.time % 20)]) });
            }
            12 => self.input(Input::DeliveriesTold(u64::from(op.time))),
            13 => {
                let (log_bytes, parked_bytes) = (usize::from(op.time) * 16, usize::from(op.extra) * 16);
                self.input(Input::Shrink { log_bytes, parked_bytes });
            }
            14 => self.pass(op),
            _ if op.bit(0) => self.crash = true,
            _ => self.restart(op.bit(1)),
        }
    }

    fn any_logged(&self, at: u8) -> MessageId {
        let count = self.channel.stats().log_len.max(1);
        let logged = self.channel.log().nth(usize::from(at) % count);
        logged.map_or_else(|| messages::id(at), |logged| logged.body.key.id.clone())
    }

    fn receive(&mut self, message: Message) {
        if self.heard.len() < MAX_OPS {
            self.heard.push(message.clone());
        }
        self.input(Input::Receive(message));
    }

    /// A message once more, as it was or with another's state attached.
    fn again(&mut self, op: Op, list: fn(&Self) -> &Vec<Message>) {
        let list = list(self);
        if list.is_empty() {
            return;
        }
        let mut message = list[usize::from(op.id) % list.len()].clone();
        if op.bit(0) {
            message.filter = messages::filter(op, &self.channel);
        }
        if op.bit(1) {
            message.content = Bytes::from_static(b"forged");
        }
        self.input(Input::Receive(message));
    }

    /// Time passes, with or without anybody waking the channel; clocks may jump.
    fn pass(&mut self, op: Op) {
        const WAITS: [u64; 12] = [0, 1, 60, 500, 1_000, 3_000, 10_000, 25_000, 60_000, 600_000, 3_600_000, 90_000_000];
        match op.who % 8 {
            6 => self.wall = self.wall.saturating_add(u64::from(op.names) * 3_600_000),
            7 => self.wall = self.wall.saturating_sub(u64::from(op.names) * 3_600_000),
            _ => {}
        }
        let wait = WAITS[usize::from(op.time) % WAITS.len()];
        let end = self.running.saturating_add(wait);
        if op.bit(0) {
            for _ in 0..MAX_WAKES {
                if !self.wake(end) {
                    break;
                }
            }
        }
        self.wait_until(end);
        self.input(Input::Timeout);
    }

    fn wait_until(&mut self, running: u64) {
        let passed = running.saturating_sub(self.running);
        self.wall = self.wall.saturating_add(passed);
        self.running = self.running.max(running);
    }

    /// Goes to the next timeout if it comes until `end`.
    fn wake(&mut self, end: u64) -> bool {
        let due = self.channel.poll_timeout().map(RunningTime::as_millis);
        assert!(due.is_some() || !self.has_sync(), "a channel keeps its sync schedule");
        let Some(due) = due.filter(|due| *due <= end) else { return false };
        self.wait_until(due);
        self.input(Input::Timeout);
        true
    }

    fn has_sync(&self) -> bool {
        self.channel.config().dialect.has_sync()
    }

    fn context(&mut self) -> Context {
        self.entropy = self.entropy.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Context {
            wall: WallTime::from_millis(self.wall),
            running: RunningTime::from_millis(self.running),
            entropy: self.entropy,
        }
    }

    fn input(&mut self, input: Input) {
        let context = self.context();
        let before = self.channel.stats();
        let mut step = self.channel.handle(&context, input.clone());
        if std::mem::take(&mut self.crash) {
            return self.restart(true);
        }
        let sent = step.transmit.iter().map(|transmit| transmit.message.clone());
        self.transmitted.extend(sent.take(MAX_OPS.saturating_sub(self.transmitted.len())));
        if let Ok(Outcome::Sent(id)) = &step.outcome {
            assert_eq!(step.transmit.len(), 1, "what is sent is transmitted");
            assert_eq!(step.transmit[0].message.id, *id);
        }
        self.archive.asked(std::mem::take(&mut step.archive));
        self.watch.step(&self.channel, &context, &input, &before, step);
    }

    /// The process ends and starts again; running time starts anew with it.
    fn restart(&mut self, anew: bool) {
        if anew {
            self.running = u64::from(!self.running.is_multiple_of(7)) * 1_000;
        }
        let context = self.context();
        let config = self.channel.config().clone();
        let (id, own) = (ChannelId::from(CHANNEL), ParticipantId::from(OWN));
        let data = self.watch.saved();
        let (channel, step) = Channel::restore(id, own, config, data, &context).expect("the options are valid");
        self.watch.restored(&channel, step);
        self.channel = channel;
        self.archive.restart();
    }

    /// Nothing is heard any more: whatever waits is given up in the end, and only sync messages go out.
    fn rest(&mut self) {
        self.crash = false;
        let end = self.running.saturating_add(10 * 60_000);
        let mut wakes = 0;
        while self.wake(end) {
            wakes += 1;
            assert!(wakes < WAKES_TO_REST, "{wakes} timeouts and no rest");
        }
        // Without sync messages nobody is asked, and nothing is lost before somebody was.
        if self.channel.config().max_transmit_bytes.is_none() && self.has_sync() {
            assert!(self.channel.incoming().is_empty(), "waits for ever: {:?}", self.channel.incoming());
            assert!(self.channel.requests().is_empty(), "asks for ever: {:?}", self.channel.requests());
        }
        assert!(self.channel.responses().is_empty(), "still to answer: {:?}", self.channel.responses());
        assert_eq!(self.channel.stats().outgoing_len, 0, "resends for ever");
    }
}
