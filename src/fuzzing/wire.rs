//! Wire decode: any bytes are an error or a message, and a message survives being written and read again.
//!
//! Input: one packet.

use bytes::Bytes;

use crate::filter::ReceivedFilter;
use crate::types::{Dialect, FilterField, Limits, Message};
use crate::wire::{WireError, decode, encode};

/// Small enough for a fuzzer to go over each of them.
const TIGHT: Limits = Limits {
    max_id_bytes: 8,
    max_causal_entries: 3,
    max_filter_bytes: 16,
    max_message_bytes: 256,
    max_content_bytes: 32,
    max_hint_bytes: 4,
    max_signature_bytes: 8,
    max_requests_per_message: 2,
    max_parked: 4,
    max_parked_bytes: 1_024,
    max_outgoing: 4,
    max_outgoing_bytes: 1_024,
    max_repair_entries: 4,
    max_repair_entries_per_message: 2,
    max_unconfirmed_bytes: 1_024,
    max_marks: 4,
};

/// The body of the target `wire`.
pub fn wire(data: &[u8]) {
    let packet = Bytes::copy_from_slice(data);
    let decoded = decode(&packet, &Limits::default());
    if let Ok((message, dialect)) = &decoded {
        assert!(message.kind().is_some(), "a decoded message is of some kind");
        survives(message, *dialect, data.len());
    }
    match decode(&packet, &TIGHT) {
        Ok((message, dialect)) => {
            keeps(&message, &TIGHT);
            let (wide, same) = decoded.expect("tighter limits refuse more, not less");
            assert_eq!((dialect, without_filter(message)), (same, without_filter(wide)));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Written and read again, a message is the same but for a filter that its dialect does not carry. What is in the family
/// of LIP-109 survives js-waku's dialect too.
fn survives(message: &Message, dialect: Dialect, decoded_from: usize) {
    let encoded = encode(message, dialect).expect("what was decoded can be encoded");
    assert_eq!(encoded.len(), message.encoded_len(dialect), "encoded_len");
    // nim-sds's fields 1, 2, 4, 5 and 6 are always written, also where its version 0.4 leaves them out.
    let written = if dialect == Dialect::NimSds { 10 } else { 0 };
    assert!(encoded.len() <= decoded_from + written, "the shortest encoding is not longer than any other");
    let again: Result<_, WireError> = decode(&encoded, &Limits::default());
    let (again, same) = again.expect("what was encoded can be decoded");
    assert_eq!(dialect, same);
    match &message.filter {
        FilterField::Compact { .. } | FilterField::NimSds(_) => assert_eq!(&again, message),
        _ => assert_eq!(without_filter(again.clone()), without_filter(message.clone())),
    }
    assert_eq!(encode(&again, dialect).as_ref(), Ok(&encoded));
    if dialect != Dialect::NimSds {
        let js = encode(message, Dialect::JsWaku).expect("it has the same ids");
        assert_eq!(js.len(), message.encoded_len(Dialect::JsWaku), "encoded_len");
    }
}

fn keeps(message: &Message, limits: &Limits) {
    let entries = || message.causal_history.iter().chain(&message.repair_request);
    let ids = entries().map(|entry| entry.id.len());
    let senders = entries().filter_map(|entry| Some(entry.sender.as_ref()?.len()));
    let of_nim = matches!(message.filter, FilterField::NimSds(_));
    let nameless = of_nim && message.sender.is_empty();
    let sender = if nameless { 1 } else { message.sender.len() };
    let own = [message.id.len(), sender, message.channel.len()];
    assert!(ids.chain(senders).chain(own).all(|len| (1..=limits.max_id_bytes).contains(&len)));
    assert!(entries().all(|entry| entry.hint.as_ref().is_none_or(|hint| hint.len() <= limits.max_hint_bytes)));
    assert!(message.causal_history.len() <= limits.max_causal_entries);
    assert!(message.repair_request.len() <= limits.max_causal_entries);
    assert!(message.content.len() <= limits.max_content_bytes);
    // One of nim-sds over the limit shares the packet's memory, and is not looked into.
    assert!(of_nim || message.filter.len() <= limits.max_filter_bytes);
    let looked_into = ReceivedFilter::parse(&message.filter, limits.max_filter_bytes).is_ok();
    assert!(!looked_into || message.filter.len() <= limits.max_filter_bytes);
}

fn without_filter(message: Message) -> Message {
    Message { filter: FilterField::Absent, ..message }
}
