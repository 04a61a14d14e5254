//! What we read and write, held to prost's generated code.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use prost::Message as _;
use std::cell::Cell;

use super::*;
use crate::wire::generated::lip109 as proto;

/// What prost makes of a packet, converted by the rules of this dialect.
fn by_prost(packet: &Bytes) -> Option<Message> {
    let decoded = proto::Message::decode(packet.clone()).ok()?;
    let known = |bytes: &[u8]| (!bytes.is_empty() && std::str::from_utf8(bytes).is_ok()).then(|| bytes.to_vec());
    let entry = |entry: proto::HistoryEntry| {
        let sender = match entry.sender_id.filter(|sender| !sender.is_empty()) {
            Some(sender) => Some(ParticipantId::new(known(&sender)?)),
            None => None,
        };
        Some(HistoryEntry { id: MessageId::new(known(&entry.message_id)?), hint: entry.retrieval_hint, sender })
    };
    let ours = |body: Bytes| {
        let filter = proto::CompactFilter::decode(body).ok()?;
        Some(FilterField::Compact { k: filter.k, seed: filter.seed.as_ref().try_into().ok()?, bits: filter.bits })
    };
    let message = Message {
        sender: ParticipantId::new(known(&decoded.sender_id)?),
        id: MessageId::new(known(&decoded.message_id)?),
        channel: ChannelId::new(known(&decoded.channel_id)?),
        lamport: decoded.lamport_timestamp.map(Lamport),
        causal_history: decoded.causal_history.into_iter().map(entry).collect::<Option<_>>()?,
        filter: match (decoded.compact_filter, decoded.bloom_filter) {
            (Some(body), _) => ours(body).unwrap_or(FilterField::Unusable),
            (None, Some(bits)) => FilterField::Unspecified(bits),
            (None, None) => FilterField::Absent,
        },
        repair_request: decoded.repair_request.into_iter().map(entry).collect::<Option<_>>()?,
        content: decoded.content.unwrap_or_default(),
        catch_up: CatchUpField::Absent,
        author_signature: decoded.author_signature.filter(|it| !it.is_empty()).map(Signature::new),
        sender_signature: decoded.sender_signature.filter(|it| !it.is_empty()).map(Signature::new),
    };
    message.kind().map(|_| message)
}

/// What prost writes for a message.
fn written_by_prost(message: &Message) -> Vec<u8> {
    let bytes = Bytes::copy_from_slice;
    let entry = |entry: &HistoryEntry| proto::HistoryEntry {
        message_id: bytes(entry.id.as_bytes()),
        retrieval_hint: entry.hint.clone(),
        sender_id: entry.sender.as_ref().map(|sender| bytes(sender.as_bytes())),
    };
    let compact_filter = match &message.filter {
        FilterField::Compact { k, seed, bits } => {
            let filter = proto::CompactFilter { k: *k, seed: bytes(seed), bits: bits.clone() };
            Some(filter.encode_to_vec().into())
        }
        _ => None,
    };
    let message = proto::Message {
        sender_id: bytes(message.sender.as_bytes()),
        message_id: bytes(message.id.as_bytes()),
        channel_id: bytes(message.channel.as_bytes()),
        lamport_timestamp: message.lamport.map(|lamport| lamport.0),
        causal_history: message.causal_history.iter().map(entry).collect(),
        bloom_filter: None,
        repair_request: message.repair_request.iter().map(entry).collect(),
        content: Some(message.content.clone()).filter(|content| !content.is_empty()),
        compact_filter,
        digest: None,
        frame: None,
        author_signature: message.author_signature.as_ref().map(|it| bytes(it.as_bytes())),
        sender_signature: message.sender_signature.as_ref().map(|it| bytes(it.as_bytes())),
    };
    message.encode_to_vec()
}

fn varint(value: u64) -> Vec<u8> {
    let mut bytes = vec![];
    prost::encoding::encode_varint(value, &mut bytes);
    bytes
}

fn delimited(number: u32, body: &[u8]) -> Vec<u8> {
    [varint(u64::from(number << 3 | 2)), varint(body.len() as u64), body.to_vec()].concat()
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-z\u{e4}]{1,3}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..9),
        1 => Just(b"12345678".to_vec()),
        1 => (100..300_usize).prop_map(|len| vec![b'x'; len]),
    ]
}

fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![0..300_u64, any::<u64>(), Just(u64::from(u32::MAX) + 8)]
}

/// Any field but one of fields, rightly framed.
fn any_plain(numbers: &'static [u32]) -> impl Strategy<Value = Vec<u8>> {
    let number = || prop::sample::select(numbers);
    prop_oneof![
        30 => (number(), any_body()).prop_map(|(number, body)| delimited(number, &body)),
        1 => (number(), any_number()).prop_map(|(number, value)| {
            [varint(u64::from(number << 3)), varint(value)].concat()
        }),
        4 => (prop::sample::select(&[8, 0x50][..]), any_number()).prop_map(|(key, value)| [vec![key], varint(value)].concat()),
        1 => (number(), any::<[u8; 8]>()).prop_map(|(number, body)| {
            [varint(u64::from(number << 3 | 1)), body.to_vec()].concat()
        }),
        1 => (number(), any::<[u8; 4]>()).prop_map(|(number, body)| {
            [varint(u64::from(number << 3 | 5)), body.to_vec()].concat()
        }),
        1 => any_body().prop_map(|body| [vec![4 << 3 | 3], delimited(1, &body), vec![4 << 3 | 4]].concat()),
    ]
}

/// A history entry or a filter, mostly.
fn any_nested() -> impl Strategy<Value = Vec<u8>> {
    let number = prop::sample::select(&[11, 13, 100][..]);
    let begin = prop_oneof![
        4 => Just(delimited(1, b"d")),
        4 => Just([vec![8, 7], delimited(2, b"12345678")].concat()),
        1 => Just(vec![]),
    ];
    let fields = prop::collection::vec(any_plain(&[1, 2, 3, 4]), 0..3);
    (number, begin, fields).prop_map(|(number, begin, fields)| delimited(number, &[begin, fields.concat()].concat()))
}

/// Mostly a message with more fields, some bytes changed; or anything.
fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let begin = [delimited(1, b"s"), delimited(2, b"m"), delimited(3, b"c"), vec![0x50, 1]].concat();
    let begin = prop_oneof![9 => Just(begin), 1 => Just(vec![])];
    let field = prop_oneof![any_plain(&[1, 2, 3, 12, 20, 99, 100]), any_nested(), any_nested()];
    let changes = prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec((any::<usize>(), any::<u8>()), 1..3)];
    let changed = (begin, prop::collection::vec(field, 0..5), changes, any::<bool>());
    let changed = changed.prop_map(|(begin, fields, changes, cut)| {
        let mut packet = [begin, fields.concat()].concat();
        for (at, value) in changes {
            if packet.is_empty() {
                break;
            }
            let at = at % packet.len();
            packet[at] = value;
            if cut && value < 32 {
                packet.truncate(at);
            }
        }
        packet
    });
    prop_oneof![20 => changed, 1 => prop::collection::vec(any::<u8>(), 0..40)]
}

#[test]
fn any_bytes_are_read_as_prost_reads_them_and_written_as_prost_writes_them() {
    let (read, refused, filters, groups) = (Cell::new(0), Cell::new(0), Cell::new(0), Cell::new(0));
    let count = |cell: &Cell<u32>| cell.set(cell.get() + 1);
    let wide = Limits { max_id_bytes: usize::MAX, ..Limits::default() };
    let mut runner = TestRunner::new(Config { cases: 20_000, failure_persistence: None, ..Config::default() });
    let result = runner.run(&any_packet(), |packet| {
        let packet = Bytes::from(packet);
        let decoded = decode(&packet, &wide);
        // prost skips groups.
        if let Err(WireError::WireType { found: 3, .. }) = decoded {
            count(&groups);
            return Ok(());
        }
        prop_assert_eq!(decoded.clone().ok(), by_prost(&packet));
        let Ok(message) = decoded else {
            count(&refused);
            return Ok(());
        };
        count(&read);
        if matches!(message.filter, FilterField::Compact { .. }) {
            count(&filters);
        }
        prop_assert_eq!(encode(&message, Dialect::Lip109), Ok(written_by_prost(&message).into()));
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    let counts = [read.get(), refused.get(), filters.get(), groups.get()];
    assert!(counts.iter().all(|count| *count > 300), "{counts:?}");
}

#[test]
fn a_filter_with_groups_is_read_as_prost_reads_it() {
    let begin = [delimited(1, b"s"), delimited(2, b"m"), delimited(3, b"c"), vec![0x50, 1]].concat();
    let filter = [vec![8, 7], delimited(2, b"12345678")].concat();
    let read = |group: &[u8]| {
        let packet = [begin.clone(), delimited(100, &[&filter, group, &delimited(3, b"bits")].concat())].concat();
        let packet = Bytes::from(packet);
        let message = decode(&packet, &Limits::default()).ok();
        assert_eq!(message, by_prost(&packet), "{group:?}");
        matches!(message.map(|message| message.filter), Some(FilterField::Compact { bits, .. }) if bits == "bits")
    };
    assert!(read(&[0x23, 0x24]));
    assert!(read(&[0x23, 0x2b, 0x2c, 8, 1, 0x24]));
    assert!(!read(&[0x23, 0x2c]) && !read(&[0x23]) && !read(&[0x24]) && !read(&[0x1b, 0x1c]));
}
