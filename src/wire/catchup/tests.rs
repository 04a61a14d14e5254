//! Digests and frames: held to prost's generated code, and to what must not pass.

use bytes::Bytes;
use prost::Message as _;

use crate::types::{
    CatchUpField, Dialect, Digest, DigestRange, Frame, FrameBody, Lamport, Limits, Message, MessageKind,
};
use crate::wire::generated::lip109 as proto;
use crate::wire::{IdRole, WireError, decode, encode};

fn message(lamport: Option<u64>, catch_up: CatchUpField) -> Message {
    let mut message = Message::new("m".into(), "s".into(), "c".into());
    (message.lamport, message.catch_up) = (lamport.map(Lamport), catch_up);
    message
}

/// The bytes of a message without content, with these fields as they stand.
fn packet(lamport: Option<u64>, digest: Option<&[u8]>, frame: Option<&[u8]>) -> Bytes {
    let bytes = Bytes::copy_from_slice;
    proto::Message {
        sender_id: bytes(b"s"),
        message_id: bytes(b"m"),
        channel_id: bytes(b"c"),
        lamport_timestamp: lamport,
        digest: digest.map(bytes),
        frame: frame.map(bytes),
        ..proto::Message::default()
    }
    .encode_to_vec()
    .into()
}

fn read(packet: &Bytes) -> Result<Message, WireError> {
    decode(packet, &Limits::default()).map(|(message, _)| message)
}

fn framed(body: FrameBody) -> Frame {
    Frame::new(7, "bob".into(), Lamport(99), body)
}

fn bodies() -> Vec<(FrameBody, proto::Frame)> {
    let frame = || proto::Frame { session: 7, to: "bob".into(), floor: 99, ..proto::Frame::default() };
    let rids = vec![[1; 32], [2; 32]];
    let flat = Bytes::from(rids.concat());
    let reconcile = FrameBody::Reconcile {
        rules: 1,
        upper: Lamport(1 << 40),
        answer: true,
        push: 3,
        message: Bytes::from_static(b"abc"),
    };
    let message = Bytes::from_static(b"abc");
    vec![
        (reconcile, {
            let reconcile = proto::Reconcile { rules: 1, upper: 1 << 40, answer: true, push: 3, message };
            proto::Frame { reconcile: Some(reconcile), ..frame() }
        }),
        (FrameBody::Fetch { rids: rids.clone() }, {
            proto::Frame { fetch: Some(proto::Fetch { rids: flat.clone() }), ..frame() }
        }),
        (FrameBody::End { sent: 300, gone: rids, more: true, evicted: vec!["m1".into(), "m2".into()] }, {
            let evicted = vec!["m1".into(), "m2".into()];
            proto::Frame { end: Some(proto::End { sent: 300, gone: flat, more: true, evicted }), ..frame() }
        }),
        (FrameBody::FetchIds { ids: vec!["m1".into(), "m2".into()] }, {
            let fetch_ids = proto::FetchIds { ids: vec!["m1".into(), "m2".into()] };
            proto::Frame { fetch_ids: Some(fetch_ids), ..frame() }
        }),
        (FrameBody::Busy { retry_after_ms: 2_000 }, {
            proto::Frame { busy: Some(proto::Busy { retry_after_ms: 2_000 }), ..frame() }
        }),
        (FrameBody::Cancel { reason: 1 }, { proto::Frame { cancel: Some(proto::Cancel { reason: 1 }), ..frame() } }),
        (FrameBody::Unknown, frame()),
    ]
}

#[test]
fn frames_are_written_as_prost_writes_them_and_read_again() {
    for (body, by_prost) in bodies() {
        let message = message(None, CatchUpField::Frame(Box::new(framed(body))));
        assert_eq!(message.kind(), Some(MessageKind::Frame));
        let written = encode(&message, Dialect::Lip109).unwrap();
        assert_eq!(written, packet(None, None, Some(&by_prost.encode_to_vec())));
        assert_eq!(written.len(), message.encoded_len(Dialect::Lip109));
        assert_eq!(read(&written), Ok(message));
    }
}

fn digest() -> (Digest, proto::Digest) {
    let range = |lower, count| DigestRange::new(Lamport(lower), count, [9; 16]);
    let mut ours = Digest::new(Lamport(1_000), range(900, 5), Some(range(0, 50)), false);
    ours.archive = true;
    ours.stable = Some(Lamport(890));
    let range = |below, count| proto::DigestRange { below, count, fingerprint: Bytes::copy_from_slice(&[9; 16]) };
    let (short, long) = (Some(range(100, 5)), Some(range(1_000, 50)));
    (ours, proto::Digest { upper: 1_000, short, long, no_frames: true, archive: true, stable: 890 })
}

#[test]
fn digests_are_written_as_prost_writes_them_and_take_72_bytes() {
    let (ours, by_prost) = digest();
    let message = message(Some(1), CatchUpField::Digest(Box::new(ours)));
    let written = encode(&message, Dialect::Lip109).unwrap();
    assert_eq!(written, packet(Some(1), Some(&by_prost.encode_to_vec()), None));
    assert_eq!(read(&written), Ok(message));
    let range = |lower, count| DigestRange::new(Lamport(lower), count, [9; 16]);
    // A log of 100,000 messages over a month.
    let now = 1_796_000_000_000;
    let large = Digest::new(Lamport(now), range(now - 1_000_000, 256), Some(range(now - (30 << 26), 100_000)), true);
    assert!(CatchUpField::Digest(Box::new(large.clone())).encoded_len() <= 72);
    let with_archive = Digest { archive: true, ..large };
    assert!(CatchUpField::Digest(Box::new(with_archive)).encoded_len() <= 74);
}

#[test]
fn a_digest_that_does_not_parse_costs_the_digest_and_not_the_message() {
    let (_, whole) = digest();
    let bytes = whole.encode_to_vec();
    let lost = |bytes: &[u8]| {
        let message = read(&packet(Some(1), Some(bytes), None)).unwrap();
        message.catch_up == CatchUpField::Absent
    };
    assert!(!lost(&bytes));
    let short = |change: fn(&mut proto::DigestRange)| {
        let mut digest = whole.clone();
        digest.short.iter_mut().for_each(change);
        digest.encode_to_vec()
    };
    assert!(lost(&[]) && lost(&bytes[..bytes.len() - 1]) && lost(&[0x0b]));
    assert!(lost(&short(|range| range.below = 1_001)), "below zero");
    assert!(lost(&short(|range| range.fingerprint = Bytes::from_static(&[9; 15]))));
}

#[test]
fn digests_and_frames_elsewhere_are_skipped() {
    let (_, digest) = digest();
    let (_, frame) = bodies().swap_remove(0);
    let (digest, frame) = (digest.encode_to_vec(), frame.encode_to_vec());
    let content = |lamport: Option<u64>| {
        let mut bytes = packet(lamport, Some(&digest), Some(&frame)).to_vec();
        bytes.extend([0xa2, 1, 1, b'x']);
        read(&bytes.into()).unwrap().catch_up
    };
    assert_eq!((content(Some(1)), content(None)), (CatchUpField::Absent, CatchUpField::Absent));
    let sync = read(&packet(Some(1), None, Some(b"no frame"))).unwrap();
    assert_eq!((sync.kind(), sync.catch_up), (Some(MessageKind::Sync), CatchUpField::Absent));
    assert_eq!(read(&packet(None, Some(&digest), None)), Err(WireError::NoKind));
}

#[test]
fn every_prefix_of_a_frame_is_an_error_or_says_less() {
    for (body, by_prost) in bodies() {
        let bytes = by_prost.encode_to_vec();
        for end in 0..bytes.len() {
            let message = read(&packet(None, None, Some(&bytes[..end])));
            if let Ok(CatchUpField::Frame(frame)) = message.map(|message| message.catch_up) {
                assert_eq!(frame.body, FrameBody::Unknown, "{body:?}");
            }
        }
    }
}

#[test]
fn what_is_no_frame_is_refused_by_name() {
    let frame = |change: fn(&mut proto::Frame)| {
        let mut frame = proto::Frame { session: 7, to: "bob".into(), ..proto::Frame::default() };
        change(&mut frame);
        read(&packet(None, None, Some(&frame.encode_to_vec()))).unwrap_err()
    };
    assert_eq!(frame(|frame| frame.to = Bytes::new()), WireError::EmptyId { role: IdRole::Recipient });
    assert_eq!(frame(|frame| frame.to = Bytes::from_static(&[0xff])), WireError::NotUtf8 { role: IdRole::Recipient });
    let too_long = WireError::IdTooLong { role: IdRole::Recipient, found: 257, max: 256 };
    assert_eq!(frame(|frame| frame.to = vec![b'x'; 257].into()), too_long);
    let rids = |len| Some(proto::Fetch { rids: vec![1; len].into() });
    assert_eq!(
        frame(|frame| frame.fetch = Some(proto::Fetch { rids: vec![1; 33].into() })),
        WireError::Rids { found: 33 }
    );
    let many = proto::Frame { to: "bob".into(), fetch: rids(8_193 * 32), ..proto::Frame::default() };
    let too_large = read(&packet(None, None, Some(&many.encode_to_vec()))).unwrap_err();
    assert!(matches!(too_large, WireError::FrameTooLarge { max: 262_144, .. }), "{too_large:?}");
}

#[test]
fn a_frame_is_nothing_that_nim_sds_could_carry() {
    let frame = CatchUpField::Frame(Box::new(framed(FrameBody::Unknown)));
    assert!(matches!(encode(&message(None, frame), Dialect::NimSds), Err(WireError::NotInDialect { .. })));
}
