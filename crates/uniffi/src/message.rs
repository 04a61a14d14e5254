//! Messages as they are shown.

use reliable_channel::channel::Delivery;
use reliable_channel::state::{Body, Logged};

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// Who sent it.
    pub sender: String,
    /// What it says.
    pub content: Vec<u8>,
    /// Its Lamport time in milliseconds: logs are in the order of this and then of the id.
    pub lamport: u64,
    /// Number of its delivery in the channel, from 1; 0 for one that was not delivered, as an own one.
    pub number: u64,
    /// Which opening of the store gave `number`: after a store went back in time it is another one. 0 in a log.
    pub incarnation: u64,
    /// It is from before this participant joined: no news.
    pub history: bool,
    /// It sorts below the newest one of the log.
    pub late: bool,
    /// This participant sent it.
    pub own: bool,
    /// What it refers to and is not here.
    pub missing: Vec<String>,
}

impl Message {
    fn of_body(body: &Body) -> Self {
        Self {
            id: body.key.id.to_string(),
            sender: body.sender.to_string(),
            content: body.content.to_vec(),
            lamport: body.key.lamport.0,
            number: 0,
            incarnation: 0,
            history: false,
            late: false,
            own: false,
            missing: Vec::new(),
        }
    }

    pub(crate) fn of_delivery(delivery: &Delivery) -> Self {
        Self {
            number: delivery.number,
            incarnation: delivery.incarnation,
            history: delivery.history,
            late: delivery.late,
            missing: delivery.missing.iter().map(ToString::to_string).collect(),
            ..Self::of_body(&delivery.body)
        }
    }

    pub(crate) fn of_logged(logged: &Logged) -> Self {
        Self {
            number: logged.delivery.unwrap_or(0),
            late: logged.late,
            own: logged.delivery.is_none(),
            missing: logged.missing.iter().map(ToString::to_string).collect(),
            ..Self::of_body(&logged.body)
        }
    }
}

/// What became of an own message.
#[derive(Clone, Debug, PartialEq, uniffi::Enum)]
pub enum DeliveryState {
    /// Nobody is known to have it.
    Pending,
    /// Somebody probably has it.
    Possible {
        /// The chance of an error.
        chance: f64,
    },
    /// Somebody has it.
    Delivered,
    /// It was given up. It may still be delivered.
    Failed,
}
