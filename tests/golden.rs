//! The bytes on disk: every released version's stay readable, and today's are these.
#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use common::{every_kind, meta_for};
use proptest::prelude::*;
use reliable_channel::snapshot::{self, SnapshotError};
use reliable_channel::state::{
    ChannelMeta, Evidence, Incarnation, MarkKind, Member, MemberSet, Place, Request, Row, RowKey, Stub,
};
use reliable_channel::types::{ChannelId, Dialect, HistoryEntry, Lamport, MessageId, ParticipantId};
use tap::Tap as _;

fn channel() -> ChannelId {
    "golden".into()
}

/// The bytes of a golden file: hexadecimal, whatever the line breaks; `#` starts a comment.
fn golden(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let digits: Vec<u8> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::chars)
        .filter_map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Key (its length in one byte before it) and value of a row.
fn sealed(row: &Row) -> Vec<u8> {
    let key = snapshot::row_key(&row.key());
    [&[u8::try_from(key.len()).unwrap()], key.as_slice(), &snapshot::encode_row(&channel(), row)].concat()
}

fn name(row: &Row) -> &'static str {
    match row {
        Row::Message(_) => "message.hex",
        Row::Parked(_) => "parked.hex",
        Row::Stub(_) => "stub.hex",
        Row::Outgoing(_) => "outgoing.hex",
        Row::Request(_) => "request.hex",
        Row::Response(_) => "response.hex",
        Row::Mark(mark) if mark.kind == MarkKind::Lost => "mark_lost.hex",
        Row::Mark(_) => "mark_declared_met.hex",
        Row::Incarnation(_) => "incarnation.hex",
        _ => panic!("no golden bytes of this kind of row yet: {row:?}"),
    }
}

#[test]
fn rows_are_written_and_read_as_ever() {
    for row in every_kind() {
        let golden = golden(name(&row));
        assert_eq!(hex(&sealed(&row)), hex(&golden), "{}", name(&row));
        let (key, value) = golden[1..].split_at(golden[0].into());
        let key = snapshot::parse_row_key(key).unwrap();
        assert_eq!(snapshot::decode_row(&channel(), &key, Bytes::copy_from_slice(value)), Ok(row));
    }
}

#[test]
fn a_mark_may_say_that_a_message_was_withdrawn() {
    let row = common::mark("withdrawn", MarkKind::Withdrawn);
    let value = snapshot::encode_row(&channel(), &row);
    assert!(value.ends_with(&[0x08, 3, 0x10, 12]), "kind 3, which 0.1 did not write: {value:x?}");
    assert_eq!(snapshot::decode_row(&channel(), &row.key(), value.into()), Ok(row));
}

#[test]
fn an_outgoing_entry_may_say_that_it_is_uncertain() {
    let Row::Outgoing(certain) = common::outgoing(1, "any") else { unreachable!() };
    let row = Row::Outgoing(certain.tap_mut(|it| it.uncertain = Some(0.5)));
    let value = snapshot::encode_row(&channel(), &row);
    assert!(value.ends_with(&[&[0x41][..], &0.5_f64.to_le_bytes()].concat()), "field 8, which 0.1 did not write");
    assert_eq!(snapshot::decode_row(&channel(), &row.key(), value.into()), Ok(row));
}

#[test]
fn an_incarnation_lies_in_a_place_of_its_own() {
    let row = Row::Incarnation(Incarnation::new(MessageId::new(7_u64.to_be_bytes()), 5));
    let (key, value) = (snapshot::row_key(&row.key()), snapshot::encode_row(&channel(), &row));
    assert_eq!(key, [&[5][..], &[0; 8], &[0, 0, 0, 0, 0, 0, 0, 7]].concat(), "place 5, which 0.1 did not write");
    assert!(value.ends_with(&[0x4a, 2, 0x08, 5]), "{value:x?}");
    assert_eq!(snapshot::parse_row_key(&key), Ok(row.key()));
    assert_eq!(snapshot::decode_row(&channel(), &row.key(), value.into()), Ok(row));
}

#[test]
fn metas_are_written_and_read_as_ever() {
    for (name, meta) in [("meta.hex", meta_for(&every_kind())), ("meta_empty.hex", ChannelMeta::default())] {
        let golden = golden(name);
        assert_eq!(hex(&snapshot::encode_meta(&channel(), &meta)), hex(&golden), "{name}");
        assert_eq!(snapshot::decode_meta(&channel(), golden.into()), Ok(meta));
    }
}

#[test]
fn a_meta_says_which_dialect_the_channel_speaks() {
    let unspoken = snapshot::encode_meta(&channel(), &ChannelMeta::default()).len();
    for (dialect, number) in [(Dialect::JsWaku, 1), (Dialect::NimSds, 2)] {
        let meta = ChannelMeta::default().tap_mut(|it| it.dialect = dialect);
        let bytes = snapshot::encode_meta(&channel(), &meta);
        assert_eq!(bytes[unspoken..], [0x80, 0x01, number], "field 16, which 0.1 did not write");
        assert_eq!(snapshot::decode_meta(&channel(), bytes.into()), Ok(meta));
    }
}

#[test]
fn hints_are_written_and_read_as_ever() {
    let (id, hint) = (MessageId::from("message"), Bytes::from_static(b"where it is"));
    let golden = golden("hint.hex");
    assert_eq!(hex(&snapshot::encode_hint(&channel(), &id, &hint)), hex(&golden));
    assert_eq!(snapshot::decode_hint(&channel(), &id, golden.into()), Ok(hint));
}

/// `cargo test --test golden -- --ignored` writes the files of a new version; those of a released one never change.
#[test]
#[ignore = "writes the golden files"]
fn write_golden_files() {
    let write = |name: &str, what: &str, bytes: &[u8]| {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
        let digits: Vec<String> = bytes.chunks(32).map(hex).collect();
        fs::write(dir.join(name), format!("# {what}\n{}\n", digits.join("\n"))).unwrap();
    };
    for row in every_kind() {
        write(name(&row), "length of the row key, row key, value", &sealed(&row));
    }
    write("meta.hex", "value", &snapshot::encode_meta(&channel(), &meta_for(&every_kind())));
    write("meta_empty.hex", "value", &snapshot::encode_meta(&channel(), &ChannelMeta::default()));
    write(
        "hint.hex",
        "value",
        &snapshot::encode_hint(&channel(), &"message".into(), &Bytes::from_static(b"where it is")),
    );
}

#[test]
fn every_flipped_bit_is_damage() {
    for row in every_kind() {
        let value = snapshot::encode_row(&channel(), &row);
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let result = snapshot::decode_row(&channel(), &row.key(), flipped.into());
            assert!(matches!(result, Err(SnapshotError::Corrupt { .. })), "{} bit {bit}: {result:?}", name(&row));
        }
        for length in 0..value.len() {
            let result = snapshot::decode_row(&channel(), &row.key(), value[..length].to_vec().into());
            assert!(matches!(result, Err(SnapshotError::Corrupt { .. })), "{} cut to {length}", name(&row));
        }
    }
}

#[test]
fn a_value_in_the_wrong_place_is_damage() {
    let row = common::message(10, "message");
    let value = Bytes::from(snapshot::encode_row(&channel(), &row));
    let corrupt = |result: Result<Row, _>| assert!(matches!(result, Err(SnapshotError::Corrupt { .. })));
    corrupt(snapshot::decode_row(&"other".into(), &row.key(), value.clone()));
    corrupt(snapshot::decode_row(&channel(), &common::message(11, "message").key(), value.clone()));
    corrupt(snapshot::decode_row(&channel(), &RowKey { place: Place::Outgoing, ..row.key() }, value.clone()));
    assert!(snapshot::decode_meta(&channel(), value.clone()).is_err());
    assert!(snapshot::decode_hint(&channel(), &"message".into(), value).is_err());
}

/// A value with the frame of format 1 around any payload, made without the library.
fn frame(format: u8, flags: u8, key: &RowKey, payload: &[u8]) -> Bytes {
    let key = snapshot::row_key(key);
    let mut covered = vec![1, format, flags];
    for part in [channel().as_bytes(), &key] {
        covered.extend((part.len() as u64).to_be_bytes());
        covered.extend(part);
    }
    covered.extend(payload);
    [&[format, flags], &crc32c::crc32c(&covered).to_le_bytes()[..], payload].concat().into()
}

#[test]
fn versions_flags_and_contents_that_are_not_known_are_refused() {
    let key = common::stub(5, "stub").key();
    let decode = |format, flags, payload: &[u8]| {
        snapshot::decode_row(&channel(), &key, frame(format, flags, &key, payload)).unwrap_err()
    };
    let corrupt = |why: &str| SnapshotError::Corrupt { what: format!("the Body row (5, stub): {why}") };
    let stub = [8, 1, 34, 3, 10, 1, b'a'];
    assert!(snapshot::decode_row(&channel(), &key, frame(1, 0, &key, &stub)).is_ok());
    assert_eq!(decode(2, 0, &stub), SnapshotError::UnknownVersion { found: 2, known: 1 });
    assert_eq!(decode(1, 4, &stub), SnapshotError::UnknownVersion { found: 0x401, known: 1 });
    assert_eq!(decode(1, 0, &[8, 9, 34, 0]), SnapshotError::UnknownVersion { found: 9, known: 1 });
    assert_eq!(decode(1, 0, &[]), corrupt("field schema is missing"));
    assert_eq!(decode(1, 0, &[8, 1]), corrupt("field kind is missing"));
    assert_eq!(decode(1, 0, &[8, 1, 34, 0]), corrupt("field sender is missing"));
    assert_eq!(decode(1, 0, &[8, 1, 18, 0]), corrupt("field body is missing"));
    assert_eq!(decode(1, 0, &[8, 1, 66, 0]), corrupt("it holds a row of another place (mark)"));
    assert!(matches!(decode(1, 0, &[8, 1, 34, 9]), SnapshotError::Corrupt { .. }));
}

#[test]
fn values_are_compact() {
    let id = "0123456789abcdef".repeat(4);
    let key = common::key(1_753_987_200_123, &id);
    let Row::Outgoing(first) = common::outgoing(1, "any") else { unreachable!() };
    let sent = first.clone().tap_mut(|it| {
        it.key = key.clone();
        it.attempts = 0;
        it.failed = false;
        it.evidence = vec![];
    });
    let seeds = vec![[7; 8]; 4];
    let evidence = vec![Evidence::new(id.as_str().into(), 0.001, 2).tap_mut(|it| it.seeds = seeds)];
    let evident = sent.clone().tap_mut(|it| it.evidence = evidence);
    let entry = HistoryEntry::new(id.as_str()).tap_mut(|it| it.sender = Some(ParticipantId::from(id.as_str())));
    let asked = Request::new(entry, common::NOW).tap_mut(|it| {
        it.sent = 1;
        it.heard = 2;
        it.since_age_ms = 3_600_000;
        it.named_at_age_ms = 3_700_000;
    });
    let bare = asked.clone().tap_mut(|it| it.entry = HistoryEntry::new(id.as_str()));
    for (row, what, most) in [
        (Row::Outgoing(sent), "outgoing", 40),
        (Row::Outgoing(evident), "outgoing, evidence of one sender (4 seeds)", 160),
        (Row::Stub(Stub::new(key, id.as_str().into())), "stub", 80),
        (Row::Request(bare), "request", 40),
        (Row::Request(asked), "request with its sender", 100),
        (common::response(&id), "response", 24),
        (common::mark(&id, MarkKind::Lost), "mark", 16),
    ] {
        let bytes = snapshot::encode_row(&channel(), &row).len();
        println!("{what}: {bytes} bytes of value, {} of key", snapshot::row_key(&row.key()).len());
        assert!(bytes <= most, "{what}: {bytes}");
    }
    let meta = snapshot::encode_meta(&channel(), &meta_for(&every_kind())).len();
    println!("meta: {meta} bytes");
}

proptest! {
    #[test]
    fn keys_sort_as_their_bytes(
        a in (0..5u8, any::<u64>(), proptest::collection::vec(any::<u8>(), 0..4)),
        b in (0..5u8, 0..3u64, proptest::collection::vec(any::<u8>(), 0..4)),
    ) {
        let key = |(place, lamport, id): (u8, u64, Vec<u8>)| {
            let place = [Place::Body, Place::Outgoing, Place::Request, Place::Response, Place::Mark][usize::from(place)];
            let lamport = if matches!(place, Place::Body | Place::Outgoing) { lamport } else { 0 };
            RowKey { place, lamport: Lamport(lamport), id: MessageId::new(id) }
        };
        let (a, b) = (key(a), key(b));
        prop_assert_eq!(a.cmp(&b), snapshot::row_key(&a).cmp(&snapshot::row_key(&b)));
        prop_assert_eq!(snapshot::parse_row_key(&snapshot::row_key(&a)), Ok(a));
    }

    #[test]
    fn no_bytes_make_decoding_panic(payload in proptest::collection::vec(any::<u8>(), 0..200), place in 0..5usize) {
        let key = every_kind()[[1, 3, 4, 5, 6][place]].key();
        let _ = snapshot::parse_row_key(&payload);
        let _ = snapshot::decode_row(&channel(), &key, payload.clone().into());
        let _ = snapshot::decode_meta(&channel(), payload.clone().into());
        let _ = snapshot::decode_row(&channel(), &key, frame(1, 0, &key, &[&[8, 1], payload.as_slice()].concat()));
    }

    #[test]
    fn no_change_to_a_payload_makes_decoding_panic(which in 0..8usize, at in any::<usize>(), byte in any::<u8>()) {
        let row = &every_kind()[which];
        let mut payload = snapshot::encode_row(&channel(), row)[6..].to_vec();
        let at = at % payload.len();
        payload[at] = byte;
        let _ = snapshot::decode_row(&channel(), &row.key(), frame(1, 0, &row.key(), &payload));
    }
}

/// A field that came after the golden bytes were made: they do without it.
#[test]
fn a_request_keeps_when_it_was_named() {
    let Row::Request(asked) = common::request("m1") else { unreachable!() };
    let asked = Row::Request(asked.tap_mut(|it| it.named_at_age_ms = 3_700_000));
    let bytes = snapshot::encode_row(&channel(), &asked);
    assert_eq!(snapshot::decode_row(&channel(), &asked.key(), bytes.into()).unwrap(), asked);
}

#[test]
fn a_member_lies_in_a_place_of_its_own() {
    let agreed = Some((Lamport(4), Lamport(300)));
    let member = Member::new(&"bob".into(), Lamport(2)).tap_mut(|it| (it.base, it.agreed) = (Some(Lamport(3)), agreed));
    let row = Row::Member(member);
    let (key, value) = (snapshot::row_key(&row.key()), snapshot::encode_row(&channel(), &row));
    assert_eq!(key, [&[6][..], &[0; 8], b"bob"].concat(), "place 6, which 0.1 did not write");
    assert!(value.ends_with(&[0x52, 9, 0x08, 2, 0x10, 3, 0x18, 4, 0x20, 0xac, 2]), "{value:x?}");
    assert_eq!(snapshot::parse_row_key(&key), Ok(row.key()));
    assert_eq!(snapshot::decode_row(&channel(), &row.key(), value.into()), Ok(row));
}

#[test]
fn a_meta_may_say_what_is_stable_of_which_set() {
    let set = MemberSet::new(7, 3).tap_mut(|it| it.stable = Some(Lamport(5)));
    let meta = ChannelMeta::default().tap_mut(|it| it.members = Some(set));
    let value = snapshot::encode_meta(&channel(), &meta);
    assert!(value.ends_with(&[0x92, 1, 6, 0x08, 7, 0x10, 3, 0x18, 5]), "field 18, which 0.1 did not write: {value:x?}");
    assert_eq!(snapshot::decode_meta(&channel(), value.into()), Ok(meta));
}

#[test]
fn a_message_may_say_that_it_came_below_what_was_stable() {
    let Row::Message(logged) = common::message(1, "m") else { unreachable!() };
    let row = Row::Message(logged.tap_mut(|it| it.below_stable = true));
    let value = snapshot::encode_row(&channel(), &row);
    assert!(value.ends_with(&[0x38, 1]), "field 7, which 0.1 did not write: {value:x?}");
    assert_eq!(snapshot::decode_row(&channel(), &row.key(), value.into()), Ok(row));
}
