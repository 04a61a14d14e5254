//! The lossy conversation: 200 messages each way, one transmission in five lost, or three in ten, until both have
//! everything.
//!
//! At one in five the application on js's side sends nothing again until then, which is the worst it can do. From then on,
//! and at three in ten from the start, it does what js-waku's SDK does every thirty seconds about what nobody acknowledged.
//! Ours sends again what it is told has failed. It ends when both know that the other has everything.
//!
//! What is held against us: a delivery that is missing, doubled, or before one it depends on without saying so; an error; a
//! dependency given up; logs that differ; at the end, a message of ours that was never told to be acknowledged. What both
//! ends are compared by: the whole log as a list of ids, in each end's own order, which must be ours, (Lamport time, id): all
//! ids are lower-case hex of one length, where js's comparison by locale agrees with bytes. And for each message the
//! content, sender and Lamport time that either end delivered against what was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use reliable_channel::types::{Limits, Message};
use reliable_channel::wire;
use serde_json::{Value, json};

use crate::common::lines::Program;
use crate::js::{JS, LIP109, NOW, driver, member};
use crate::network::{Network, Side};

const MESSAGES: usize = 200;
const TICK_MS: u64 = 250;
/// When the conversation must have come to its end, at the latest.
const PATIENCE_MS: u64 = 2 * 60 * 60 * 1_000;

#[test]
fn nothing_is_lost_in_seeds_0_to_4() {
    conversations(0..5, JS, 20);
}

#[test]
fn nothing_is_lost_in_seeds_5_to_9() {
    conversations(5..10, JS, 20);
}

/// The default dialect has no filter that js could read, and reads none of js's: answers alone acknowledge.
#[test]
fn nothing_is_lost_in_the_default_dialect() {
    conversations(10..12, LIP109, 20);
}

#[test]
fn everything_is_acknowledged_at_a_loss_of_30_percent_in_seeds_20_to_24() {
    conversations(20..25, JS, 30);
}

#[test]
fn everything_is_acknowledged_at_a_loss_of_30_percent_in_seeds_25_to_29() {
    conversations(25..30, JS, 30);
}

fn conversations(seeds: Range<u64>, dialect: &'static str, loss: u64) {
    for seed in seeds {
        let Some(js) = driver(&[]) else { return };
        conversation(seed, dialect, loss, js);
    }
}

/// With every second seed our side is killed half-way and started again from its store.
fn conversation(seed: u64, dialect: &'static str, loss: u64, js: Program) {
    let dir = tempfile::tempdir().unwrap();
    let data = ["--data", dir.path().to_str().unwrap()];
    let store: &[&str] = if seed.is_multiple_of(2) { &data } else { &[] };
    let mut talk = Talk::new(seed, dialect, Network::new(seed, loss), member("rust", dialect, NOW, store), js);
    let mut restart = !store.is_empty();
    while !talk.is_over() {
        talk.tick();
        if restart && talk.said[&Side::Ours] == MESSAGES / 2 {
            restart = false;
            talk.ours.kill();
            talk.ours = member("rust", dialect, talk.now, store);
        }
        assert!(talk.now < NOW + PATIENCE_MS, "seed {seed}: {:#?}\n{:#?}", talk.ours.state(), talk.js.state());
    }
    talk.compare();
    println!(
        "seed {seed}, {dialect}: {} s, {} transmissions, {} dropped; js delivered {} twice and {} out of order",
        (talk.now - NOW) / 1_000,
        talk.network.sent,
        talk.network.dropped,
        talk.js_twice,
        talk.js_early
    );
}

struct Talk {
    seed: u64,
    dialect: &'static str,
    /// js's application does from the start what js-waku's SDK does.
    js_retries: bool,
    now: u64,
    ours: Program,
    js: Program,
    network: Network,
    /// Messages each side has sent.
    said: BTreeMap<Side, usize>,
    /// Every content message as it first went out.
    sent: BTreeMap<String, Message>,
    /// What each side has delivered of the other's.
    delivered: BTreeMap<Side, BTreeSet<String>>,
    /// Our messages that are known to have arrived, and those that we gave up.
    acknowledged: BTreeSet<String>,
    failed: BTreeSet<String>,
    js_twice: usize,
    js_early: usize,
}

impl Talk {
    fn new(seed: u64, dialect: &'static str, network: Network, ours: Program, js: Program) -> Self {
        Self {
            seed,
            dialect,
            js_retries: network.loss > 20,
            now: NOW,
            ours,
            js,
            network,
            said: [(Side::Ours, 0), (Side::Js, 0)].into(),
            sent: BTreeMap::new(),
            delivered: [(Side::Ours, BTreeSet::new()), (Side::Js, BTreeSet::new())].into(),
            acknowledged: BTreeSet::new(),
            failed: BTreeSet::new(),
            js_twice: 0,
            js_early: 0,
        }
    }

    /// A quarter of a second. js sweeps every five seconds and syncs every thirty, as its SDK makes it do.
    fn tick(&mut self) {
        self.now += TICK_MS;
        for side in [Side::Ours, Side::Js] {
            self.command(side, json!({"cmd": "clock", "ms": self.now}));
        }
        while let Some((to, hex)) = self.network.arrived(self.now) {
            self.command(to, json!({"cmd": "receive", "hex": hex}));
        }
        for side in [Side::Ours, Side::Js] {
            if self.said[&side] < MESSAGES && self.network.happens(25) {
                let number = self.said[&side];
                self.said.insert(side, number + 1);
                self.command(side, json!({"cmd": "send", "text": format!("{side:?} {number} of seed {}", self.seed)}));
            }
        }
        let passed = self.now - NOW;
        for (side, every_ms, cmd) in
            [(Side::Ours, 1_000, "sweep"), (Side::Js, 5_000, "sweep"), (Side::Js, 30_000, "sync")]
        {
            if passed.is_multiple_of(every_ms) {
                self.command(side, json!({"cmd": cmd}));
            }
        }
        // js asks once for what it misses: what we have given up it gets when our application wants it sent again.
        for id in std::mem::take(&mut self.failed) {
            if !self.acknowledged.contains(&id) {
                self.command(Side::Ours, json!({"cmd": "resend", "id": id}));
            }
        }
        if passed.is_multiple_of(30_000) && (self.js_retries || self.is_delivered()) {
            for id in self.js.state()["outgoing"].as_array().unwrap() {
                self.command(Side::Js, json!({"cmd": "retry", "id": id}));
            }
        }
    }

    fn command(&mut self, side: Side, command: Value) {
        let program = match side {
            Side::Ours => &mut self.ours,
            Side::Js => &mut self.js,
        };
        for told in program.ask(command) {
            self.hear(side, &told);
        }
    }

    fn hear(&mut self, side: Side, told: &Value) {
        match told["ev"].as_str().unwrap() {
            "out" => self.transmit(side, told["kind"] == "content", told["hex"].as_str().unwrap()),
            "delivered" => self.deliver(side, told),
            "acked" if side == Side::Ours => drop(self.acknowledged.insert(told["id"].as_str().unwrap().to_owned())),
            "failed" if side == Side::Ours => drop(self.failed.insert(told["id"].as_str().unwrap().to_owned())),
            "error" | "lost" | "too_old" | "id_conflict" | "limit" | "state_mended" | "other" => {
                panic!("seed {}: {side:?} says {told}", self.seed)
            }
            _ => {}
        }
    }

    fn transmit(&mut self, side: Side, first: bool, hex: &str) {
        if first {
            let bytes = Bytes::from(hex::decode(hex).unwrap());
            let (message, _) = wire::decode(&bytes, &Limits::default()).unwrap();
            self.sent.insert(message.id.to_string(), message);
        }
        self.network.transmit(self.now, side, hex);
    }

    fn deliver(&mut self, side: Side, told: &Value) {
        let id = told["id"].as_str().unwrap();
        let sent = &self.sent[id];
        assert_eq!(
            (told["hex"].as_str(), told["sender"].as_str(), told["lamport"].as_u64()),
            (Some(hex::encode(&sent.content).as_str()), sent.sender.as_str(), sent.lamport.map(|lamport| lamport.0)),
        );
        let delivered = &self.delivered[&side];
        let own = |id: &str| (self.sent[id].sender.as_str() == Some("js")) == (side == Side::Js);
        // js answers late, or never. What has waited for long enough goes ahead, and says what it misses.
        let said = |id: &str| told["missing"].as_array().is_some_and(|missing| missing.contains(&json!(id)));
        let mut needs = sent.causal_history.iter().map(|entry| entry.id.to_string());
        let early = needs.find(|id| !own(id) && !delivered.contains(id) && !said(id));
        let twice = delivered.contains(id);
        match side {
            Side::Ours => assert_eq!((early, twice), (None, false), "seed {}: {told}", self.seed),
            Side::Js => {
                self.js_twice += usize::from(twice);
                self.js_early += usize::from(early.is_some());
            }
        }
        self.delivered.entry(side).or_default().insert(id.to_owned());
    }

    /// Everything was said and delivered.
    fn is_delivered(&self) -> bool {
        self.said.values().all(|said| *said == MESSAGES)
            && self.delivered.values().all(|delivered| delivered.len() == MESSAGES)
    }

    /// Each side knows that the other has everything; js cannot, without a filter.
    fn is_over(&mut self) -> bool {
        self.is_delivered()
            && self.ours.state()["outgoing"] == json!([])
            && (self.dialect != JS || self.js.state()["outgoing"] == json!([]))
    }

    fn compare(&mut self) {
        let mut keys: Vec<_> = self.sent.values().map(|sent| (sent.lamport, sent.id.to_string())).collect();
        keys.sort();
        let expected: Vec<_> = keys.into_iter().map(|(_, id)| id).collect();
        assert_eq!(expected.len(), 2 * MESSAGES);
        assert_eq!(self.acknowledged.len(), MESSAGES, "seed {}: acknowledged", self.seed);
        for state in [self.ours.state(), self.js.state()] {
            assert_eq!(state["log"], json!(expected), "seed {}", self.seed);
            assert_eq!((&state["incoming"], &state["repair_out"]), (&json!([]), &json!([])), "seed {}", self.seed);
        }
    }
}
