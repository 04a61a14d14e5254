//! The codec from outside: round trips, golden bytes, the peers' vectors, every limit, and hostile input.

#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use reliable_channel::types::{
    Dialect, FilterField, HistoryEntry, JS_FILTER_BYTES, Lamport, Limits, Message, MessageKind, Signature,
};
use reliable_channel::wire::{IdRole, WireError, decode, encode};
use serde_json::Value;
use tap::Tap as _;

fn decode_hex(text: &str) -> Result<Message, WireError> {
    decode(&Bytes::from(hex::decode(text).unwrap()), &Limits::default()).map(|(message, _)| message)
}

fn encode_hex(message: &Message) -> String {
    hex::encode(encode(message, Dialect::Lip109).unwrap())
}

/// A message with every field.
fn full() -> Message {
    Message::new("m".into(), "s".into(), "c".into()).tap_mut(|it| {
        it.lamport = Some(Lamport(300));
        it.causal_history = vec![
            HistoryEntry::new("d").tap_mut(|it| {
                it.hint = Some(Bytes::from_static(&[1, 2]));
                it.sender = Some("\u{e4}".into());
            }),
            HistoryEntry::new("e").tap_mut(|it| it.hint = Some(Bytes::new())),
        ];
        it.filter = FilterField::Compact { k: 7, seed: *b"12345678", bits: Bytes::from_static(&[0xab, 0xcd]) };
        it.repair_request = vec![HistoryEntry::new("r")];
        it.content = Bytes::from_static(b"hello");
    })
}

/// The smallest message of a kind.
fn bare(lamport: Option<u64>, content: &'static [u8]) -> Message {
    Message::new("m".into(), "s".into(), "c".into()).tap_mut(|it| {
        it.lamport = lamport.map(Lamport);
        it.content = Bytes::from_static(content);
    })
}

/// A field with a length-delimited body.
fn field(number: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = varint(u64::from(number) << 3 | 2);
    bytes.extend(varint(body.len() as u64));
    bytes.extend(body);
    bytes
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = vec![];
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A valid content message followed by these fields.
fn with(fields: &[Vec<u8>]) -> Bytes {
    let mut bytes = encode(&bare(Some(1), b"x"), Dialect::Lip109).unwrap().to_vec();
    bytes.extend(fields.concat());
    bytes.into()
}

fn decode_with(fields: &[Vec<u8>]) -> Result<Message, WireError> {
    decode(&with(fields), &Limits::default()).map(|(message, _)| message)
}

fn any_id() -> impl Strategy<Value = String> {
    "\\PC{1,20}"
}

fn any_bytes(max: usize) -> impl Strategy<Value = Bytes> {
    prop_oneof![4 => prop::collection::vec(any::<u8>(), 0..30), 1 => prop::collection::vec(any::<u8>(), 0..max)]
        .prop_map(Bytes::from)
}

prop_compose! {
    fn any_entry()(id in any_id(), hint in prop::option::of(any_bytes(300)), sender in prop::option::of(any_id()))
        -> HistoryEntry
    {
        HistoryEntry::new(id).tap_mut(|it| { it.hint = hint; it.sender = sender.map(Into::into); })
    }
}

fn any_filter() -> impl Strategy<Value = FilterField> {
    let compact = (prop_oneof![0..70_u32, any::<u32>()], any::<[u8; 8]>(), any_bytes(20_000));
    prop_oneof![Just(FilterField::Absent), compact.prop_map(|(k, seed, bits)| FilterField::Compact { k, seed, bits })]
}

prop_compose! {
    fn any_message()(
        (id, sender, channel) in (any_id(), any_id(), any_id()),
        lamport in prop::option::of(prop_oneof![0..1_000_u64, any::<u64>()]),
        causal_history in prop::collection::vec(any_entry(), 0..5),
        filter in any_filter(),
        repair_request in prop::collection::vec(any_entry(), 0..5),
        content in any_bytes(20_000),
        signatures in prop::array::uniform2(prop::option::of(prop::collection::vec(any::<u8>(), 1..256))),
    ) -> Message {
        let lamport = if content.is_empty() { lamport.or(Some(0)) } else { lamport }.map(Lamport);
        Message::new(id.into(), sender.into(), channel.into()).tap_mut(|it| { it.lamport = lamport; it.causal_history = causal_history; it.filter = filter; it.repair_request = repair_request; it.content = content; [it.author_signature, it.sender_signature] = signatures.map(|bytes| bytes.map(Signature::new)); })
    }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_the_same_and_has_the_length_told(message in any_message()) {
        let bytes = encode(&message, Dialect::Lip109).unwrap();
        prop_assert_eq!(bytes.len(), message.encoded_len(Dialect::Lip109));
        prop_assert_eq!(decode(&bytes, &Limits::default()), Ok((message, Dialect::Lip109)));
    }
}

#[test]
fn golden_bytes() {
    let cases = [
        (bare(Some(1), b"x"), "0a017312016d1a01635001a2010178"),
        (bare(Some(0), b""), "0a017312016d1a01635000"),
        (bare(None, b"x"), "0a017312016d1a0163a2010178"),
        (bare(Some(u64::MAX), b"x"), "0a017312016d1a016350ffffffffffffffffff01a2010178"),
        (
            full(),
            "0a017312016d1a016350ac025a0b0a0164120201021a02c3a45a050a016512006a030a0172a2010568656c6c6fa206100807120831323334353637381a02abcd",
        ),
    ];
    for (message, expected) in cases {
        assert_eq!(encode_hex(&message), expected);
        assert_eq!(decode_hex(expected), Ok(message));
    }
}

#[test]
fn the_js_vectors() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/js/messages.json")).unwrap();
    let (mut refused, mut reencoded) = (0, 0);
    for vector in vectors["messages"].as_array().unwrap() {
        let name = &vector["name"];
        let result = decode_hex(vector["hex"].as_str().unwrap());
        // js takes empty ids, we refuse them.
        for (key, role) in [("sender_id", IdRole::Sender), ("channel_id", IdRole::Channel)] {
            if vector[key] == "" {
                assert_eq!(result, Err(WireError::EmptyId { role }), "{name}");
            }
        }
        let Ok(message) = result else {
            refused += 1;
            continue;
        };
        assert_fields(&message, vector);
        assert_eq!(message.encoded_len(Dialect::JsWaku), encode(&message, Dialect::JsWaku).unwrap().len(), "{name}");
        match name.as_str().unwrap() {
            // js itself does not write empty content.
            "sync_content_present_empty" => assert_eq!(vector["reencodes_identically"], false),
            // js drops a message with such a filter.
            "content_small_bloom" => assert_eq!(message.filter.len(), 16),
            _ => {
                let encoded = encode(&message, Dialect::JsWaku).unwrap();
                assert_eq!(hex::encode(encoded), vector["hex"], "{name}");
                reencoded += 1;
            }
        }
    }
    assert_eq!((refused, reencoded), (2, 12));

    for vector in vectors["decode_only"].as_array().unwrap() {
        let result = decode_hex(vector["hex"].as_str().unwrap());
        match vector["name"].as_str().unwrap() {
            "empty" => assert_eq!(result, Err(WireError::EmptyId { role: IdRole::Sender })),
            "no_content_no_lamport" => assert_eq!(result, Err(WireError::NoKind)),
            "truncated" => assert_eq!(result, Err(WireError::Truncated { at: 11 })),
            "nim_sds_message" => {
                let (message, dialect) =
                    decode(&hex::decode(vector["hex"].as_str().unwrap()).unwrap().into(), &Limits::default()).unwrap();
                assert_eq!((dialect, message.lamport), (Dialect::NimSds, Some(Lamport(1_700_000_000_000))));
            }
            _ => assert_fields(&result.unwrap(), &vector["result"]),
        }
    }
}

/// Holds a decoded message to a js vector.
fn assert_fields(message: &Message, vector: &Value) {
    let name = &vector["name"];
    let bytes = |value: &Value| value.as_str().map(|text| Bytes::from(hex::decode(text).unwrap()));
    let entries = |value: &Value| -> Vec<HistoryEntry> {
        let entry = |entry: &Value| {
            HistoryEntry::new(entry["message_id"].as_str().unwrap()).tap_mut(|it| {
                it.hint = bytes(&entry["retrieval_hint"]);
                it.sender = entry["sender_id"].as_str().map(Into::into);
            })
        };
        value.as_array().map_or(vec![], |list| list.iter().map(entry).collect())
    };
    let expected = Message::new(
        vector["message_id"].as_str().unwrap().into(),
        vector["sender_id"].as_str().unwrap().into(),
        vector["channel_id"].as_str().unwrap().into(),
    )
    .tap_mut(|it| {
        it.lamport = vector["lamport_timestamp"]
            .as_u64()
            .or_else(|| vector["lamport_timestamp"].as_str()?.parse().ok())
            .map(Lamport);
        it.causal_history = entries(&vector["causal_history"]);
        it.filter = bytes(&vector["bloom_filter"]).map_or(FilterField::Absent, FilterField::Unspecified);
        it.repair_request = entries(&vector["repair_request"]);
        it.content = bytes(&vector["content"]).unwrap_or_default();
    });
    assert_eq!(*message, expected, "{name}");
    let kind = match vector["type"].as_str().unwrap() {
        "ContentMessage" => MessageKind::Content,
        "SyncMessage" => MessageKind::Sync,
        "EphemeralMessage" => MessageKind::Ephemeral,
        other => panic!("{other}"),
    };
    assert_eq!(message.kind(), Some(kind), "{name}");
}

#[test]
fn a_message_cut_anywhere_is_refused_or_shorter() {
    let whole = encode(&full(), Dialect::Lip109).unwrap();
    let mut truncated = 0;
    for len in 0..whole.len() {
        match decode(&whole.slice(..len), &Limits::default()) {
            // Cut between two fields: what is left is a message of its own.
            Ok((message, _)) => assert!(encode(&message, Dialect::Lip109).unwrap() == whole.slice(..len), "{len}"),
            Err(WireError::Truncated { .. }) => truncated += 1,
            Err(WireError::EmptyId { .. } | WireError::NoKind) => {}
            Err(other) => panic!("cut at {len}: {other}"),
        }
    }
    assert!(truncated > whole.len() / 2, "{truncated} of {}", whole.len());
}

#[test]
fn any_mutation_of_one_byte_is_survived() {
    let whole = encode(&full(), Dialect::Lip109).unwrap();
    for at in 0..whole.len() {
        for value in 0..=255 {
            let mut bytes = whole.to_vec();
            bytes[at] = value;
            survives(bytes);
        }
    }
}

#[test]
fn random_bytes_are_survived() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..100_000 {
        let mut bytes = vec![0; (random.next_u32() % 80) as usize];
        random.fill_bytes(&mut bytes);
        survives(bytes);
    }
}

#[test]
fn random_fields_are_survived() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut decoded = 0;
    for _ in 0..100_000 {
        let mut bytes = with(&[]).to_vec();
        for _ in 0..random.next_u32() % 4 {
            let number = [1, 2, 3, 10, 11, 12, 13, 20, 100, 101][(random.next_u32() % 10) as usize];
            let mut body = vec![0; (random.next_u32() % 8) as usize];
            random.fill_bytes(&mut body);
            body.iter_mut().for_each(|byte| *byte &= 0x1f);
            bytes.extend(field(number, &body));
        }
        decoded += u32::from(survives(bytes));
    }
    assert!(decoded > 10_000, "{decoded}");
}

/// Decodes; what decodes must encode, and then decode to the same, but for a filter that is not carried.
fn survives(bytes: Vec<u8>) -> bool {
    let (mut message, dialect) = match decode(&bytes.into(), &Limits::default()) {
        Ok(decoded) => decoded,
        Err(_) => return false,
    };
    let again = encode(&message, dialect).unwrap();
    assert_eq!(again.len(), message.encoded_len(dialect));
    if !matches!(message.filter, FilterField::Compact { .. }) {
        message.filter = FilterField::Absent;
    }
    assert_eq!(decode(&again, &Limits::default()).unwrap().0, message);
    true
}

/// Inside of a filter every byte is like the others: of the large ones, some do.
#[test]
fn every_cut_and_every_flipped_bit_of_the_js_vectors_is_survived() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/js/messages.json")).unwrap();
    let mut decoded = 0;
    for vector in ["messages", "decode_only"].iter().flat_map(|list| vectors[list].as_array().unwrap()) {
        let whole = Bytes::from(hex::decode(vector["hex"].as_str().unwrap()).unwrap());
        let ends = 300.min(whole.len());
        let inside = (ends..whole.len().saturating_sub(ends)).step_by(997);
        for at in (0..ends).chain(inside).chain(whole.len() - ends..whole.len()) {
            survives_as_js(whole.slice(..at));
            for bit in 0..8 {
                let mut bytes = whole.to_vec();
                bytes[at] ^= 1 << bit;
                decoded += u32::from(survives_as_js(bytes.into()));
            }
        }
    }
    assert!(decoded > 1_000, "{decoded}");
}

/// As [`survives`], for a channel of js-waku, which drops a filter that has not its length.
fn survives_as_js(bytes: Bytes) -> bool {
    let (mut message, dialect) = match decode(&bytes, &Limits::default()) {
        Ok(decoded) => decoded,
        Err(_) => return false,
    };
    let dialect = if dialect == Dialect::Lip109 { Dialect::JsWaku } else { dialect };
    let again = encode(&message, dialect).unwrap();
    assert_eq!(again.len(), message.encoded_len(dialect));
    let carried = match &message.filter {
        FilterField::Unspecified(bytes) => bytes.len() == JS_FILTER_BYTES,
        filter => matches!(filter, FilterField::NimSds(_)),
    };
    if !carried {
        message.filter = FilterField::Absent;
    }
    assert_eq!(decode(&again, &Limits::default()).unwrap().0, message);
    true
}

#[test]
fn limits_are_kept_to_the_byte() {
    let small = Limits::default().tap_mut(|it| {
        it.max_id_bytes = 4;
        it.max_causal_entries = 2;
        it.max_content_bytes = 5;
        it.max_hint_bytes = 3;
        it.max_message_bytes = 200;
    });
    let result = |fields: &[Vec<u8>]| decode(&with(fields), &small).map(|_| ());
    let entry = |fields: &[Vec<u8>]| [field(1, b"d"), fields.concat()].concat();
    for (number, role) in [(1, IdRole::Sender), (2, IdRole::Message), (3, IdRole::Channel)] {
        assert_eq!(result(&[field(number, b"1234")]), Ok(()));
        assert_eq!(result(&[field(number, b"12345")]), Err(WireError::IdTooLong { role, found: 5, max: 4 }));
        assert_eq!(result(&[field(number, b"")]), Err(WireError::EmptyId { role }));
        assert_eq!(result(&[field(number, b"\xff")]), Err(WireError::NotUtf8 { role }));
    }
    for list in [11, 13] {
        for (number, role) in [(1, IdRole::EntryMessage), (3, IdRole::EntrySender)] {
            let result = |id: &[u8]| result(&[field(list, &entry(&[field(number, id)]))]);
            assert_eq!(result(b"1234"), Ok(()));
            assert_eq!(result(b"12345"), Err(WireError::IdTooLong { role, found: 5, max: 4 }));
            let empty = if role == IdRole::EntrySender { Ok(()) } else { Err(WireError::EmptyId { role }) };
            assert_eq!(result(b""), empty);
            assert_eq!(result(b"\xff"), Err(WireError::NotUtf8 { role }));
        }
        assert_eq!(result(&[field(list, b"")]), Err(WireError::EmptyId { role: IdRole::EntryMessage }));
        assert_eq!(result(&[field(list, &entry(&[field(2, b"123")]))]), Ok(()));
        let hint = result(&[field(list, &entry(&[field(2, b"1234")]))]);
        assert_eq!(hint, Err(WireError::HintTooLarge { found: 4, max: 3 }));
    }
    let entries = |list, count| result(&vec![field(list, &field(1, b"d")); count]);
    assert_eq!(entries(11, 2), Ok(()));
    assert_eq!(entries(11, 3), Err(WireError::TooManyCausalEntries { found: 3, max: 2 }));
    assert_eq!(entries(13, 2), Ok(()));
    assert_eq!(entries(13, 3), Err(WireError::TooManyRepairEntries { found: 3, max: 2 }));
    assert_eq!(result(&[field(20, b"12345")]), Ok(()));
    assert_eq!(result(&[field(20, b"123456")]), Err(WireError::ContentTooLarge { found: 6, max: 5 }));
    let room = 200 - with(&[]).len();
    assert_eq!(result(&[field(101, &vec![0; room - 4])]), Ok(()));
    assert_eq!(result(&[field(101, &vec![0; room - 3])]), Err(WireError::MessageTooLarge { found: 201, max: 200 }));
}

/// As js-waku's applications write it where they do not know who sent a message.
#[test]
fn an_entry_with_an_empty_sender_has_none() {
    let entry = [field(1, b"d"), field(3, b"")].concat();
    let packet = with(&[field(11, &entry), field(13, &entry)]);
    let (message, _) = decode(&packet, &Limits::default()).unwrap();
    assert_eq!(
        (message.causal_history, message.repair_request),
        (vec![HistoryEntry::new("d")], vec![HistoryEntry::new("d")])
    );
}

#[test]
fn two_mib_of_entries_are_refused_at_the_first_that_breaks_a_limit() {
    let empty: Vec<u8> = [0x5a, 0].repeat(1 << 20);
    let error = decode(&empty.clone().into(), &Limits::default()).unwrap_err();
    assert_eq!(error, WireError::EmptyId { role: IdRole::EntryMessage });
    let short: Vec<u8> = [0x5a, 3, 0x0a, 1, b'd'].repeat((2 << 20) / 5);
    let error = decode(&short.into(), &Limits::default()).unwrap_err();
    assert_eq!(error, WireError::TooManyCausalEntries { found: 1_025, max: 1_024 });
    let over = [empty, vec![0x5a, 0]].concat();
    let error = decode(&over.into(), &Limits::default()).unwrap_err();
    assert_eq!(error, WireError::MessageTooLarge { found: (2 << 20) + 2, max: 2 << 20 });
}

#[test]
fn a_known_field_of_another_wire_type_is_refused() {
    for number in [1, 2, 3, 11, 12, 13, 20, 100_u32] {
        let bytes = [varint(u64::from(number) << 3), vec![1]].concat();
        assert_eq!(decode_with(&[bytes]), Err(WireError::WireType { field: number, found: 0 }));
    }
    assert_eq!(decode_with(&[field(10, b"1")]), Err(WireError::WireType { field: 10, found: 2 }));
    for number in 1..=3 {
        let entry = [field(1, b"d"), vec![number << 3, 1]].concat();
        let error = decode_with(&[field(11, &entry)]);
        assert_eq!(error, Err(WireError::WireType { field: u32::from(number), found: 0 }));
    }
    assert_eq!(decode_with(&[vec![0x7b]]), Err(WireError::WireType { field: 15, found: 3 }));
    let mut over = vec![0x50];
    over.extend([0xff; 9]);
    over.push(2);
    assert_eq!(decode_with(&[over]), Err(WireError::VarintOverflow { at: with(&[]).len() + 1 }));
}

#[test]
fn unknown_fields_are_skipped_and_the_last_scalar_wins() {
    let message = decode_with(&[
        field(99, b"unknown"),
        vec![0x99, 6, 1, 2, 3, 4, 5, 6, 7, 8],
        field(2, b"last"),
        vec![0x50, 9],
        field(20, b"other"),
    ]);
    let expected = bare(None, b"other").tap_mut(|it| {
        it.id = "last".into();
        it.lamport = Some(Lamport(9));
    });
    assert_eq!(message, Ok(expected));
}

#[test]
fn a_bad_filter_costs_the_filter_and_not_the_message() {
    let filter = |body: &[u8]| decode_with(&[field(100, body)]).unwrap().filter;
    let seed = field(2, b"12345678");
    let parts = |bits: usize| [vec![0x08, 7], seed.clone(), field(3, &vec![0xaa; bits])].concat();
    let compact = |bits: usize| FilterField::Compact { k: 7, seed: *b"12345678", bits: vec![0xaa; bits].into() };
    assert_eq!(filter(&parts(10)), compact(10));
    assert_eq!(filter(&parts(64 << 10)), compact(64 << 10));
    assert_eq!(filter(&parts((64 << 10) + 1)), FilterField::Unusable);
    for body in [&b""[..], &field(2, b"1234567"), &field(2, b"123456789"), b"\xff", &[0x0a, 0], &[0x1a, 5]] {
        assert_eq!(filter(body), FilterField::Unusable, "{body:?}");
    }
    let twelve = |len: usize| decode_with(&[field(12, &vec![1; len])]).unwrap().filter;
    assert_eq!(twelve(0), FilterField::Unspecified(Bytes::new()));
    assert_eq!(twelve(64 << 10), FilterField::Unspecified(vec![1; 64 << 10].into()));
    assert_eq!(twelve((64 << 10) + 1), FilterField::Unusable);
    let both = decode_with(&[field(12, b"js"), field(100, &parts(10))]).unwrap().filter;
    assert_eq!(both, compact(10));
}

#[test]
fn small_parts_keep_no_large_packet_alive() {
    let packet = with(&[field(12, &[0; 18_752])]);
    let range = packet.as_ptr_range();
    let (message, _) = decode(&packet, &Limits::default()).unwrap();
    assert!(!range.contains(&message.content.as_ptr()));
    let FilterField::Unspecified(filter) = message.filter else { panic!() };
    assert!(range.contains(&filter.as_ptr()));
    let packet = with(&[field(20, &[1; 1_000])]);
    let (message, _) = decode(&packet, &Limits::default()).unwrap();
    assert!(packet.as_ptr_range().contains(&message.content.as_ptr()));
}

#[test]
fn what_the_dialect_cannot_carry_is_not_encoded() {
    let error = |message: &Message| encode(message, Dialect::Lip109).unwrap_err();
    let sync = || bare(Some(1), b"");
    assert_eq!(error(&bare(None, b"")), WireError::NoKind);
    assert_eq!(error(&sync().tap_mut(|it| it.id = "".into())), WireError::EmptyId { role: IdRole::Message });
    let sender = (&b"\xff"[..]).into();
    assert_eq!(error(&sync().tap_mut(|it| it.sender = sender)), WireError::NotUtf8 { role: IdRole::Sender });
    let channel = (&b"\x80"[..]).into();
    assert_eq!(error(&sync().tap_mut(|it| it.channel = channel)), WireError::NotUtf8 { role: IdRole::Channel });
    let entry = |sender: &[u8]| HistoryEntry::new("d").tap_mut(|it| it.sender = Some(sender.into()));
    let message = sync().tap_mut(|it| it.causal_history = vec![entry(b"")]);
    assert_eq!(error(&message), WireError::EmptyId { role: IdRole::EntrySender });
    let message = sync().tap_mut(|it| it.repair_request = vec![entry(b"\xff")]);
    assert_eq!(error(&message), WireError::NotUtf8 { role: IdRole::EntrySender });
    for filter in [FilterField::Unusable, FilterField::Unspecified(Bytes::from_static(b"js"))] {
        let message = sync().tap_mut(|it| it.filter = filter);
        assert_eq!(encode_hex(&message), encode_hex(&sync()));
        assert_eq!(message.encoded_len(Dialect::Lip109), sync().encoded_len(Dialect::Lip109));
    }
}
