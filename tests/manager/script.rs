//! Calls drawn from a seed, and a conversation of other managers to make them about.

use reliable_channel::manager::ManualClock;
use reliable_channel::types::WallTime;

use super::*;

pub const EPOCH: WallTime = WallTime::from_millis(1_700_000_000_000);

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// A manager that saves nothing and can be repeated exactly.
pub async fn peer(name: &str, clock: &ManualClock) -> ReliabilityManager {
    opened(builder(name).clock(Arc::new(clock.clone())).seed(name.len() as u64)).await
}

/// A conversation of three managers, each of which hears two thirds of what the others say.
pub async fn conversation(random: &mut Random, length: usize) -> Vec<Wrapped> {
    let clock = ManualClock::new(EPOCH);
    let ends = [peer("bob", &clock).await, peer("carol", &clock).await, peer("dave", &clock).await];
    let mut said = Vec::new();
    for number in 0..length {
        clock.advance(Duration::from_secs(2));
        let (from, id) = (random.below(3) as usize, format!("m{number:03}"));
        let wrapped = ends[from].wrap_outgoing_with_id(CHANNEL, id, format!("text {number}")).await.unwrap();
        for (to, end) in ends.iter().enumerate() {
            if to != from && random.below(3) > 0 {
                end.unwrap_received(wrapped.bytes.clone()).await.unwrap();
            }
        }
        said.push(wrapped);
    }
    said
}

/// One call.
#[derive(Clone, Debug)]
pub enum Call {
    Wrap(String),
    WrapAs(MessageId),
    WrapEphemeral,
    Unwrap(Bytes),
    Sync,
    Met(MessageId),
    Hint(MessageId, Bytes),
    Confirm(u64),
    Sweep,
}

/// What came of it.
#[derive(Debug, PartialEq)]
pub enum Came {
    Wrapped(Wrapped),
    /// The answer or the error, as text.
    Other(String),
}

impl Call {
    pub async fn make(self, manager: &ReliabilityManager) -> Came {
        let wrapped = match self {
            Self::Wrap(text) => manager.wrap_outgoing(CHANNEL, text).await,
            Self::WrapAs(id) => manager.wrap_outgoing_with_id(CHANNEL, id, "text").await,
            Self::WrapEphemeral => manager.wrap_ephemeral(CHANNEL, "now").await,
            Self::Unwrap(bytes) => return other(manager.unwrap_received(bytes).await),
            Self::Sync => return other(manager.sync_now(CHANNEL).await),
            Self::Met(id) => return other(manager.mark_dependencies_met(CHANNEL, [id]).await),
            Self::Hint(id, hint) => return other(manager.set_retrieval_hint(CHANNEL, id, hint).await),
            Self::Confirm(number) => return other(manager.confirm_deliveries(CHANNEL, number).await),
            Self::Sweep => return other(manager.sweep(CHANNEL).await),
        };
        wrapped.map_or_else(|error| other(Err::<(), _>(error)), Came::Wrapped)
    }
}

fn other(answer: impl std::fmt::Debug) -> Came {
    Came::Other(format!("{answer:?}"))
}
