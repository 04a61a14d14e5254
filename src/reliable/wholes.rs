//! Payloads in the place of the messages that carried them.
//!
//! How it moves: what is made of several segments takes the place, and the id, of the last data segment, which all participants
//! put in the same place. It carries the causal history of the first, which is what the whole depends on.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::channel::{Cursor, Delivery};
use crate::segment::{Bounds, Fate, Reassembly};
use crate::state::{Body, Logged};

/// The messages of a log in which segments are made whole, in log order. What is not whole is left out.
pub(super) fn of_log(log: Vec<Logged>) -> Vec<Logged> {
    let mut reassembly = Reassembly::new(Bounds::none());
    let mut wholes = Vec::new();
    for logged in log {
        let body = logged.body.clone();
        if let Fate::Whole { payload, segments, needed } = reassembly.take(&body.sender, &body.content, logged).fate {
            wholes.extend(whole_logged(payload, segments, needed));
        }
    }
    // One that was recovered from parity may stand before what was taken meanwhile.
    wholes.sort_by(|one, other| one.body.key.cmp(&other.body.key));
    wholes
}

/// What these deliveries make whole, with what of the log was delivered before them.
pub(super) fn of_deliveries(mut log: Vec<Logged>, deliveries: Vec<Delivery>) -> Vec<Delivery> {
    let numbers: BTreeSet<u64> = deliveries.iter().map(|delivery| delivery.number).collect();
    log.retain(|logged| logged.delivery.is_some_and(|number| !numbers.contains(&number)));
    log.sort_by_key(|logged| logged.delivery);
    let mut reassembly = Reassembly::new(Bounds::none());
    for logged in log {
        let delivery = delivered(&logged);
        let body = logged.body;
        reassembly.take(&body.sender, &body.content, delivery);
    }
    let whole = |delivery: Delivery| {
        let body = delivery.body.clone();
        match reassembly.take(&body.sender, &body.content, delivery).fate {
            Fate::Whole { payload, segments, needed } => whole_delivery(payload, segments, needed),
            _ => None,
        }
    };
    deliveries.into_iter().filter_map(whole).collect()
}

/// The delivery of a message that was told before.
pub(super) fn delivered(logged: &Logged) -> Delivery {
    Delivery {
        number: logged.delivery.unwrap_or_default(),
        incarnation: 0,
        body: logged.body.clone(),
        position: crate::channel::Position::Newest,
        late: logged.late,
        missing: logged.missing.clone(),
        history: false,
    }
}

/// The delivery of a payload: that of its last data segment, at the cursor of whichever came last.
pub(super) fn whole_delivery(payload: Bytes, mut segments: Vec<(usize, Delivery)>, needed: usize) -> Option<Delivery> {
    let missing = segments.iter().flat_map(|(_, segment)| segment.missing.iter().cloned()).collect::<BTreeSet<_>>();
    let completed = segments.iter().map(|(_, segment)| segment.cursor()).max_by_key(|cursor| cursor.number)?;
    let first = segments.first()?.1.body.clone();
    let (_, place) = segments.swap_remove(place_of(&segments, needed)?);
    let Cursor { incarnation, number } = completed;
    // Where it is complete only now, what stands behind it was told before.
    let late = place.late || number != place.number;
    let body = whole_body(&place.body, &first, payload);
    let missing = missing.into_iter().filter(|id| *id != body.key.id).collect();
    Some(Delivery { number, incarnation, body, late, missing, ..place })
}

fn whole_logged(payload: Bytes, mut segments: Vec<(usize, Logged)>, needed: usize) -> Option<Logged> {
    let missing = segments.iter().flat_map(|(_, segment)| segment.missing.iter().cloned()).collect::<BTreeSet<_>>();
    let delivery = segments.iter().filter_map(|(_, segment)| segment.delivery).max();
    let seen = segments.iter().map(|(_, segment)| segment.seen).max()?;
    let first = segments.first()?.1.body.clone();
    let (_, place) = segments.swap_remove(place_of(&segments, needed)?);
    let late = place.late || delivery != place.delivery;
    let body = whole_body(&place.body, &first, payload);
    Some(Logged { body, delivery, seen, late, missing: missing.into_iter().collect(), ..place })
}

/// The last data segment, or, if that was recovered, the last one there is.
fn place_of<T>(segments: &[(usize, T)], needed: usize) -> Option<usize> {
    segments.iter().rposition(|(index, _)| *index < needed).or(segments.len().checked_sub(1))
}

fn whole_body(place: &Arc<Body>, first: &Arc<Body>, payload: Bytes) -> Arc<Body> {
    if place.content == payload {
        return place.clone();
    }
    Arc::new(Body { causal_history: first.causal_history.clone(), content: payload, ..Body::clone(place) })
}
