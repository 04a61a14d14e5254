//! What nim-sds saved is read whole, or refused, or said to be in doubt. Vectors were made by running nim-sds.
#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use reliable_channel::channel::{Channel, Config, Context, Event, RestoreError};
use reliable_channel::state::{Logged, Row};
use reliable_channel::store::nim::{Doubt, ImportError, Imported, Snapshot, import};
use reliable_channel::types::{ChannelId, Dialect, Lamport, ParticipantId, RunningTime, WallTime};

fn blob(name: &str, kind: &str) -> Vec<u8> {
    let all: serde_json::Value = serde_json::from_str(include_str!("vectors/nim/snapshots.json")).unwrap();
    let vectors = all["vectors"].as_array().unwrap();
    let vector = vectors.iter().find(|vector| vector["name"] == name && vector["type"] == kind).unwrap();
    hex::decode(vector["hex"].as_str().unwrap()).unwrap()
}

fn everything() -> Vec<u8> {
    blob("meta + 2 history", "ChannelData")
}

fn read(blob: &[u8], length: Option<usize>) -> Result<Imported, ImportError> {
    import(Snapshot::Data(blob), &ParticipantId::from("alice"), length)
}

#[test]
fn a_channel_is_read_whole() {
    let imported = read(&everything(), Some(811)).unwrap();
    assert_eq!((imported.channel, imported.doubts), (Some(ChannelId::from("channel-1")), vec![]));
    let data = imported.data;
    data.check().unwrap();
    let meta = data.meta.unwrap();
    assert_eq!((meta.lamport, meta.highest_received), (Lamport(1_717_171_717_000), Lamport(101_000)));
    assert_eq!((meta.next_delivery, meta.told), (2, 1), "one of the two is alice's own");
    let [Row::Message(own), Row::Message(others), Row::Outgoing(first), Row::Outgoing(second), rest @ ..] =
        &data.rows[..]
    else {
        panic!("{:?}", data.rows)
    };
    let shown = |logged: &Logged| (logged.body.key.id.to_string(), logged.body.content.clone(), logged.delivery);
    assert_eq!(shown(own), ("msg-1".into(), "hello".into(), None));
    assert_eq!(shown(others), ("msg-2".into(), "world".into(), Some(1)));
    assert_eq!(others.body.causal_history[0].hint.as_deref(), Some(&[1, 2, 3][..]));
    assert_eq!((others.body.causal_history[1].hint.as_ref(), others.body.key.lamport), (None, Lamport(101_000)));
    assert_eq!((first.last_sent, first.attempts), (WallTime::from_millis(1_717_171_717_123), 0));
    assert_eq!((second.last_sent, second.attempts), (WallTime::from_millis(1_717_171_718_000), 3));
    let [Row::Request(one), Row::Request(other), Row::Response(answer)] = rest else { panic!("{rest:?}") };
    assert_eq!((one.entry.id.to_string(), one.due), ("dep-1".into(), WallTime::from_millis(1_717_171_800_467 - 11)));
    assert_eq!(other.entry.id.to_string(), "dep-4");
    assert_eq!((answer.id.to_string(), answer.due), ("msg-1".into(), WallTime::from_millis(1_717_171_900_999)));
}

#[test]
fn what_waits_is_parked_and_what_is_sent_is_logged() {
    let imported = import(Snapshot::Meta(&blob("outgoing 2", "ChannelMeta")), &"alice".into(), Some(192)).unwrap();
    assert_eq!(imported.data.rows.len(), 4, "two bodies, two entries: {:?}", imported.data.rows);
    imported.data.check().unwrap();
}

#[test]
fn it_goes_on_in_the_dialect_of_nim_and_in_no_other() {
    let restored = |dialect| {
        let imported = read(&everything(), Some(811)).unwrap();
        let wall = WallTime::from_millis(1_717_171_720_000);
        let context = Context::new(wall, RunningTime::default(), 7);
        let config = Arc::new(Config::of(dialect));
        Channel::restore(imported.channel.unwrap(), "alice".into(), config, imported.data, &context)
    };
    let (channel, step) = restored(Dialect::NimSds).unwrap();
    assert!(!step.events.iter().any(|event| matches!(event, Event::StateMended { .. })), "{:?}", step.events);
    let log: Vec<_> = channel.log().map(|logged| logged.body.key.id.to_string()).collect();
    assert_eq!(log, ["msg-1", "msg-2"]);
    for configured in [Dialect::Lip109, Dialect::JsWaku] {
        let refused = restored(configured).map(drop).unwrap_err();
        assert_eq!(refused, RestoreError::Dialect { stored: Dialect::NimSds, configured });
    }
}

/// A field of wire type 2.
fn field(number: u8, body: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(body.len()).unwrap()], body].concat()
}

fn message(id: &str, more: &[Vec<u8>]) -> Vec<u8> {
    [field(1, id.as_bytes()), field(4, b"room"), more.concat()].concat()
}

/// A blob with one message delivered, and one parked that waits for a third.
fn waiting(asked: &[&str]) -> Vec<u8> {
    let time = |seconds| vec![0x10, seconds];
    let (first, names) = (field(5, b"one"), |id: &str| field(3, &field(1, id.as_bytes())));
    let parked = message("two", &[time(2), names("zero"), field(5, b"two")]);
    let request =
        |id: &&str| field(5, &[field(1, id.as_bytes()), field(2, &field(1, &field(1, id.as_bytes())))].concat());
    let requests = asked.iter().flat_map(request).collect::<Vec<_>>();
    let meta = [vec![8, 1, 0x10, 9], field(4, &field(1, &parked)), requests].concat();
    [field(1, &meta), field(2, &message("one", &[time(1), first]))].concat()
}

#[test]
fn what_is_here_is_not_asked_for() {
    let imported = read(&waiting(&["zero", "one", "two"]), None).unwrap();
    let asked = imported.data.rows.iter().filter_map(|row| match row {
        Row::Request(request) => Some(request.entry.id.to_string()),
        _ => None,
    });
    assert_eq!(asked.collect::<Vec<_>>(), ["zero"]);
    imported.data.check().unwrap();
    let context = Context::new(WallTime::from_millis(60_000), RunningTime::from_millis(60_000), 7);
    let config = Arc::new(Config::of(Dialect::NimSds));
    let (_, step) = Channel::restore("room".into(), "alice".into(), config, imported.data, &context).unwrap();
    assert_eq!(step.events, [], "nothing is mended");
}

#[test]
fn what_nim_sds_leaves_out_is_empty() {
    let timeless = message("one", &[field(5, b"content")]);
    let imported = read(&[field(1, &[8, 1, 0x10, 9]), field(2, &timeless)].concat(), None).unwrap();
    let [Row::Message(logged)] = &imported.data.rows[..] else { panic!("{:?}", imported.data.rows) };
    assert_eq!((logged.body.key.lamport, logged.body.content.as_ref()), (Lamport(0), &b"content"[..]));
    let empty = read(&[field(1, &[8, 1, 0x10, 9]), field(2, &message("one", &[]))].concat(), None).unwrap();
    assert_eq!((empty.data.rows.len(), &empty.doubts[1]), (0, &Doubt::WithoutContent("one".into())));
}

/// nim loads these prefixes as if they were whole.
#[test]
fn a_strict_prefix_is_refused_or_in_doubt() {
    let whole = everything();
    let mut doubtful = 0;
    for length in 0..whole.len() {
        let cut = &whole[..length];
        let known = read(cut, Some(whole.len()));
        assert_eq!(known, Err(ImportError::Length { expected: whole.len(), found: length }));
        if let Ok(imported) = read(cut, None) {
            assert!(imported.doubts.contains(&Doubt::MayBeCutShort), "cut to {length}");
            doubtful += 1;
        }
    }
    // After the meta, and after the first message of the history.
    assert_eq!(doubtful, 2);
}

#[test]
fn what_is_no_snapshot_is_refused() {
    let meta = |hex: &str| import(Snapshot::Meta(&hex::decode(hex).unwrap()), &"alice".into(), None);
    assert_eq!(meta(""), Err(ImportError::Missing("schema version")));
    assert_eq!(meta("0801"), Err(ImportError::Missing("lamport timestamp")));
    assert!(matches!(meta("080110051a01ff"), Err(ImportError::Malformed(_))));
    assert!(matches!(meta("080110051a50"), Err(ImportError::Malformed(_))));
    assert_eq!(meta("08001000"), Err(ImportError::UnknownVersion(0)));
    assert_eq!(meta("08021000"), Err(ImportError::UnknownVersion(2)));
    let negative = blob("negative lamport", "ChannelMeta");
    let error = import(Snapshot::Meta(&negative), &"alice".into(), None).unwrap_err();
    assert!(matches!(error, ImportError::Lamport(seconds) if seconds < 0), "{error:?}");
}
