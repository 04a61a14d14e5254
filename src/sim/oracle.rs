//! What must hold in every world: one file per invariant, each citing the section of docs/protocol.md that it holds.
//!
//! How it moves: the world shows the [`Oracle`] everything that happens as [`Seen`]; each invariant looks at it with the
//! [`Registry`] of all messages ever sent at hand, and names what breaks it. Safety is checked all the time; what must
//! come in the end ([`Seen::Ended`]) only after a phase without faults.

mod acknowledgement;
mod agreement;
mod answers;
mod archives;
mod bounds;
mod causality;
mod clock;
mod conflict;
mod due;
mod durability;
mod erased;
mod failure;
mod hostility;
mod limits;
mod liveness;
mod loss;
mod member_times;
mod members;
mod once;
mod past;
mod quiet;
mod registry;
mod sessions;
mod strangers;
mod watched;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::channel::{Config, Event, Fate, Input};
use crate::state::ChannelData;
use crate::types::{CatchUpField, Message, MessageId};

use super::{Node, Transmission};

pub use member_times::MemberTimes;
pub use registry::Registry;
pub use watched::Watched;

/// Something that happened.
#[derive(Debug)]
pub enum Seen<'a> {
    /// An honest participant sent content.
    Sent {
        /// Who.
        node: usize,
        /// What.
        message: &'a Message,
        /// The application chose the id.
        given: bool,
    },
    /// An honest participant finds after a crash that it had sent content.
    Recovered {
        /// Who.
        node: usize,
        /// What.
        message: &'a Message,
    },
    /// A hostile member sent something that is a message.
    Hostile {
        /// What.
        message: &'a Message,
    },
    /// A participant took something in.
    Received {
        /// Who.
        node: usize,
        /// What.
        transmission: &'a Transmission,
        /// What became of it; `None` when it was refused.
        fate: Option<&'a Fate>,
    },
    /// A participant told its application something.
    Told {
        /// Who.
        node: usize,
        /// What.
        event: &'a Event,
        /// What was received just before, if that led to it.
        cause: Option<&'a Transmission>,
    },
    /// A participant sent something.
    Transmitted {
        /// Who.
        node: usize,
        /// What.
        transmission: &'a Transmission,
    },
    /// A participant has carried a step out.
    Stepped {
        /// Who.
        node: usize,
    },
    /// A participant was opened again.
    Restarted {
        /// Who.
        node: usize,
        /// What it had saved.
        saved: &'a ChannelData,
        /// Whether its memory, when it died after a save, was what it had saved.
        exact: bool,
        /// It died between two writes.
        torn: bool,
    },
    /// A participant's application has given an order about a message.
    Ordered {
        /// Who.
        node: usize,
        /// Which message.
        id: &'a MessageId,
        /// Which order.
        order: Order,
    },
    /// What a participant has saved was copied, for another one that is not open yet.
    Copied {
        /// Whose.
        of: usize,
        /// Who has the copy.
        copy: usize,
    },
    /// The world ends, after a phase without faults.
    Ended,
}

/// What an application orders about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// An own one is to be sent again.
    Resent,
    /// An own one is taken back.
    Withdrawn,
    /// Its content is erased.
    Erased,
}

impl Order {
    /// The order that an input is, and about which message.
    pub(super) fn of(input: &Input) -> Option<(MessageId, Self)> {
        match input {
            Input::Resend(id) => Some((id.clone(), Self::Resent)),
            Input::Withdraw(id) => Some((id.clone(), Self::Withdrawn)),
            Input::Erase(id) => Some((id.clone(), Self::Erased)),
            _ => None,
        }
    }
}

/// What the invariants look at.
#[derive(Debug)]
struct Scene<'a> {
    now_ms: u64,
    /// When the phase without faults began.
    healed_ms: Option<u64>,
    /// When the network must be quiet from.
    quiet_ms: Option<u64>,
    nodes: &'a [Node],
    registry: &'a Registry,
}

impl<'a> Scene<'a> {
    /// Who has not left for good.
    fn there(&self) -> impl Iterator<Item = (usize, &'a Node)> {
        self.nodes.iter().enumerate().filter(|(_, node)| !node.has_left())
    }
}

/// Something that must always hold.
trait Invariant: fmt::Debug {
    fn name(&self) -> &'static str;
    fn look(&mut self, scene: &Scene<'_>, seen: &Seen<'_>) -> Result<(), String>;
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Virtual time, in milliseconds.
    pub at_ms: u64,
    /// Which invariant.
    pub invariant: &'static str,
    /// What broke it.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} ms: {}", self.invariant, self.at_ms, self.what)
    }
}

/// Violations kept; more are only counted, in [`Oracle::broken`].
const MAX_VIOLATIONS: usize = 8;

/// Watches a world.
#[derive(Debug)]
pub struct Oracle {
    invariants: Vec<Box<dyn Invariant>>,
    /// All messages ever sent.
    pub registry: Registry,
    /// When messages had come to all and were stable, where there are members to look at.
    pub member_times: Option<MemberTimes>,
    /// What did not hold, the first few.
    pub violations: Vec<Violation>,
    /// How many did not hold, by invariant: all of them.
    pub broken: BTreeMap<&'static str, u64>,
    /// Times that an invariant looked at something.
    pub looks: u64,
    healed_ms: Option<u64>,
    quiet_ms: Option<u64>,
    /// Print everything seen to stderr.
    pub verbose: bool,
}

impl Oracle {
    /// Watches nothing.
    #[must_use]
    pub fn blind() -> Self {
        Self {
            invariants: Vec::new(),
            registry: Registry::default(),
            member_times: None,
            violations: Vec::new(),
            broken: BTreeMap::new(),
            looks: 0,
            healed_ms: None,
            quiet_ms: None,
            verbose: false,
        }
    }

    /// Watches everything, in a world with these options.
    #[must_use]
    pub fn full(config: &Config) -> Self {
        let mut oracle = Self::cheap();
        oracle.invariants.extend::<[Box<dyn Invariant>; 15]>([
            Box::new(answers::Answers::default()),
            Box::new(archives::Archives),
            Box::new(conflict::Conflict::default()),
            Box::new(bounds::Bounds::default()),
            Box::new(causality::Causality::default()),
            Box::new(clock::Clocks::default()),
            Box::new(durability::Durability::default()),
            Box::new(erased::Erased::default()),
            Box::new(hostility::Hostility::new(config.repair_bytes_per_second)),
            Box::new(liveness::Liveness),
            Box::new(loss::Loss::default()),
            Box::new(members::Members::default()),
            Box::new(quiet::Quiet::default()),
            Box::new(sessions::Sessions),
            Box::new(strangers::Strangers),
        ]);
        oracle
    }

    /// Watches what costs little in a large group.
    #[must_use]
    pub fn cheap() -> Self {
        let invariants: [Box<dyn Invariant>; 5] = [
            Box::new(once::Once::default()),
            Box::new(acknowledgement::Acknowledgement),
            Box::new(failure::Failure::default()),
            Box::new(limits::Limits),
            Box::new(agreement::Agreement),
        ];
        Self { invariants: invariants.into(), ..Self::blind() }
    }

    /// Watches what is told of members, too, and when.
    #[must_use]
    pub fn and_members(mut self) -> Self {
        self.invariants.push(Box::new(members::Members::default()));
        self.member_times = Some(MemberTimes::default());
        self
    }

    /// Whether anything is watched.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        !self.invariants.is_empty()
    }

    /// Number of invariants that watch.
    #[must_use]
    pub fn invariants(&self) -> usize {
        self.invariants.len()
    }

    /// From now on there are no faults.
    pub fn healed(&mut self, now_ms: u64) {
        self.healed_ms = Some(now_ms);
        self.registry.healed();
    }

    /// From now on only sync messages may go out.
    pub fn settled(&mut self, now_ms: u64) {
        self.quiet_ms = Some(now_ms);
    }

    /// Takes in what happened.
    pub(super) fn look(&mut self, now_ms: u64, nodes: &[Node], seen: &Seen<'_>) {
        if self.invariants.is_empty() {
            return;
        }
        if self.verbose {
            eprintln!("{now_ms} {}", brief(seen));
        }
        self.registry.register(now_ms, nodes.len(), seen);
        let scene =
            Scene { now_ms, healed_ms: self.healed_ms, quiet_ms: self.quiet_ms, nodes, registry: &self.registry };
        for invariant in &mut self.invariants {
            self.looks += 1;
            if let Err(what) = invariant.look(&scene, seen) {
                *self.broken.entry(invariant.name()).or_default() += 1;
                if self.violations.len() < MAX_VIOLATIONS {
                    self.violations.push(Violation { at_ms: now_ms, invariant: invariant.name(), what });
                }
            }
        }
        self.registry.note(now_ms, nodes, seen);
        if let Some(times) = &mut self.member_times {
            times.note(now_ms, &self.registry, seen);
        }
    }
}

/// What is seen, on one line.
fn brief(seen: &Seen<'_>) -> String {
    let names = |message: &Message| -> String {
        let ids = |entries: &[crate::types::HistoryEntry]| -> Vec<String> {
            entries.iter().map(|entry| short(&entry.id)).collect()
        };
        let (names, asks) = (ids(&message.causal_history), ids(&message.repair_request));
        let lamport = message.lamport.map_or(0, |lamport| lamport.0);
        let holds = match &message.catch_up {
            CatchUpField::Digest(digest) => format!(" holds {digest:?}"),
            _ => String::new(),
        };
        format!("{} of {} at {lamport} after {names:?} asks {asks:?}{holds}", short(&message.id), message.sender)
    };
    match seen {
        Seen::Sent { node, message, .. } => format!("p{node} sends {}", names(message)),
        Seen::Recovered { node, message } => format!("p{node} had sent {}", names(message)),
        Seen::Hostile { message } => format!("hostile {}", names(message)),
        Seen::Received { node, transmission, fate } => {
            let message = transmission.message.as_ref().map(names).unwrap_or_default();
            format!("p{node} <- {:?} {:?} {message}: {fate:?}", transmission.from, transmission.kind)
        }
        Seen::Told { node, event: Event::MessageDelivered(delivery), .. } => {
            let (id, number) = (short(&delivery.body.key.id), delivery.number);
            format!("p{node} delivers {number} {id} late {} missing {:?}", delivery.late, delivery.missing)
        }
        Seen::Told { node, event, .. } => format!("p{node} tells {event:?}"),
        Seen::Transmitted { node, transmission } => {
            let message = transmission.message.as_ref().map(names).unwrap_or_default();
            format!("p{node} -> {:?} {message}", transmission.kind)
        }
        Seen::Stepped { node } => format!("p{node} ."),
        Seen::Restarted { node, torn, .. } => format!("p{node} restarts, torn {torn}"),
        Seen::Ordered { node, id, order } => format!("p{node} has {order:?} {}", short(id)),
        Seen::Copied { of, copy } => format!("p{of} is copied as p{copy}"),
        Seen::Ended => "end".to_owned(),
    }
}

fn short(id: &MessageId) -> String {
    id.to_string().chars().take(10).collect()
}

/// Lets a copy have what is known of the participant that it was made of.
fn copy_of<T: Clone + Ord>(known: &mut BTreeSet<(usize, T)>, of: usize, copy: usize) {
    let copied: Vec<(usize, T)> =
        known.iter().filter(|(node, _)| *node == of).map(|(_, what)| (copy, what.clone())).collect();
    known.extend(copied);
}

/// The same for what is known with a value.
fn copy_values_of<M, K: Clone, V: Clone>(known: &mut M, of: usize, copy: usize)
where
    M: Extend<((usize, K), V)>,
    for<'a> &'a M: IntoIterator<Item = (&'a (usize, K), &'a V)>,
{
    let copied: Vec<((usize, K), V)> = (&*known)
        .into_iter()
        .filter(|((node, _), _)| *node == of)
        .map(|((_, what), value)| ((copy, what.clone()), value.clone()))
        .collect();
    known.extend(copied);
}
