//! Segments (LIP-243): what goes out, and what becomes whole of what comes in.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use proptest::prelude::*;
use reliable_channel::segment::{
    Bounds, Fate, MAX_SEGMENT_BYTES, MAX_SEGMENTS, Mode, OVERHEAD, Options, Progress, Reassembly, SplitError, Why,
    split,
};
use reliable_channel::types::ParticipantId;
use sha3::{Digest, Keccak256};

fn alice() -> ParticipantId {
    "alice".into()
}

fn options(mode: Mode, room: usize, parity: bool) -> Options {
    let mut options = Options::of_room(room);
    (options.mode, options.parity) = (mode, parity);
    options
}

/// Bytes that are different everywhere, and do not end in zero.
fn payload(len: usize) -> Bytes {
    (0..len).map(|at| (at.wrapping_mul(0x9E37_79B1) >> 7) as u8 | 1).collect()
}

/// What becomes whole of these contents of Alice's, taken in this order.
fn wholes<'a>(reassembly: &mut Reassembly<()>, contents: impl IntoIterator<Item = &'a Bytes>) -> Vec<Bytes> {
    contents.into_iter().filter_map(|content| reassembly.take(&alice(), content, ()).whole()).collect()
}

/// A segment by its fields, the numbers as (field, value).
fn segment(hash: &[u8], payload: &[u8], numbers: &[(u8, u8)]) -> Bytes {
    let mut bytes = vec![0x0a, hash.len() as u8];
    bytes.extend(hash);
    bytes.extend(numbers.iter().flat_map(|(field, value)| [field << 3, *value]));
    bytes.extend([0x22, payload.len() as u8]);
    bytes.extend(payload);
    bytes.into()
}

#[test]
fn a_segment_has_the_field_numbers_of_lip_243_and_the_length_of_the_whole() {
    let contents = split(&"hello".into(), &options(Mode::Always, OVERHEAD + 3, false)).unwrap();
    let hash = hex::decode("1c8aff950685c2ed4bc3174f3472287b56d9517b9c948127319a09a7a36deac8").unwrap();
    let first = [&[0x0a, 32][..], &hash, &[0x18, 2, 0x22, 3, b'h', b'e', b'l', 0x40, 5]].concat();
    let second = [&[0x0a, 32][..], &hash, &[0x10, 1, 0x18, 2, 0x22, 2, b'l', b'o', 0x40, 5]].concat();
    assert_eq!(contents, [first, second]);
}

#[test]
fn a_small_payload_goes_as_it_is_and_always_as_one_segment() {
    let hello = Bytes::from("hello");
    assert_eq!(split(&hello, &options(Mode::WhenLarge, 1_000, false)).unwrap(), std::slice::from_ref(&hello));
    let always = split(&hello, &options(Mode::Always, 1_000, false)).unwrap();
    assert!(always.len() == 1 && always[0] != hello);
    assert_eq!(wholes(&mut Reassembly::default(), &always), [hello]);
}

#[test]
fn what_reads_as_a_segment_is_sent_as_one() {
    let looks_like = split(&"x".into(), &options(Mode::Always, 1_000, false)).unwrap().remove(0);
    let broken = segment(&[7; 32], b"x", &[]);
    for payload in [looks_like, broken] {
        let contents = split(&payload, &options(Mode::WhenLarge, 1_000, false)).unwrap();
        assert_ne!(contents, std::slice::from_ref(&payload));
        assert_eq!(wholes(&mut Reassembly::default(), &contents), [payload]);
    }
}

#[test]
fn nothing_is_split_where_that_is_off() {
    let large = payload(500_000);
    assert_eq!(split(&large, &options(Mode::Off, 1 << 20, false)).unwrap(), std::slice::from_ref(&large));
    let refused = split(&large, &options(Mode::Off, 499_999, false));
    assert_eq!(refused, Err(SplitError::TooLarge { bytes: 500_000, max: 499_999 }));
}

#[test]
fn a_payload_has_fewer_than_256_segments_parity_included() {
    for (parity, most) in [(false, 255), (true, 226)] {
        let options = options(Mode::WhenLarge, OVERHEAD + 64, parity);
        assert_eq!(options.max_payload(), 64 * most);
        assert_eq!(split(&payload(64 * most), &options).unwrap().len(), MAX_SEGMENTS);
        let refused = split(&payload(64 * most + 1), &options);
        assert_eq!(refused, Err(SplitError::TooLarge { bytes: 64 * most + 1, max: 64 * most }));
    }
    let nothing = options(Mode::WhenLarge, OVERHEAD, false);
    assert!(matches!(split(&payload(OVERHEAD + 1), &nothing), Err(SplitError::TooLarge { .. })));
    assert_eq!(split(&Bytes::new(), &Options::of_room(1_000)), Err(SplitError::Empty));
}

#[test]
fn the_largest_segments_keep_the_overhead() {
    let contents = split(&payload(MAX_SEGMENT_BYTES * 226), &options(Mode::WhenLarge, 1 << 20, true)).unwrap();
    assert_eq!(contents.len(), 255);
    let largest = contents.iter().map(Bytes::len).max().unwrap();
    assert_eq!(largest, MAX_SEGMENT_BYTES + 52);
}

#[test]
fn the_same_payload_sent_twice_arrives_twice_in_any_mixture() {
    for parity in [false, true] {
        let payload = payload(1_000);
        let contents = split(&payload, &options(Mode::WhenLarge, OVERHEAD + 64, parity)).unwrap();
        let one_after_the_other: Vec<&Bytes> = contents.iter().chain(&contents).collect();
        let in_pairs: Vec<&Bytes> = contents.iter().flat_map(|content| [content, content]).collect();
        for order in [one_after_the_other, in_pairs] {
            let mut reassembly = Reassembly::default();
            assert_eq!(wholes(&mut reassembly, order), [payload.clone(), payload.clone()], "parity: {parity}");
            assert!(reassembly.is_empty());
        }
    }
}

#[test]
fn eight_times_the_same_with_parity_is_not_nine_times() {
    let payload = payload(500);
    let contents = split(&payload, &options(Mode::WhenLarge, OVERHEAD + 64, true)).unwrap();
    assert_eq!(contents.len(), 9);
    let mut reassembly = Reassembly::default();
    let mut count = 0;
    for _ in 0..20 {
        count += wholes(&mut reassembly, &contents).len();
    }
    assert_eq!((count, reassembly.len()), (20, 0));
}

#[test]
fn payloads_of_several_senders_do_not_mix() {
    let contents = split(&payload(200), &options(Mode::WhenLarge, OVERHEAD + 100, false)).unwrap();
    let mut reassembly = Reassembly::default();
    assert_eq!(reassembly.take(&alice(), &contents[0], ()).whole(), None);
    assert_eq!(reassembly.take(&"bob".into(), &contents[1], ()).whole(), None);
    assert_eq!(reassembly.take(&alice(), &contents[1], ()).whole(), Some(payload(200)));
}

#[test]
fn tags_come_back_in_the_order_of_the_payload() {
    let contents = split(&payload(300), &options(Mode::WhenLarge, OVERHEAD + 100, false)).unwrap();
    let mut reassembly = Reassembly::default();
    for (at, expected) in [(2, 1), (0, 2)] {
        let Fate::Kept(progress) = reassembly.take(&alice(), &contents[at], at).fate else { panic!("not kept") };
        assert_eq!((progress.held, progress.needed, progress.length), (expected, 3, Some(300)));
    }
    let whole = reassembly.take(&alice(), &contents[1], 1).fate;
    let Fate::Whole { segments, needed, .. } = whole else { panic!("not whole") };
    assert_eq!((segments, needed), (vec![(0, 0), (1, 1), (2, 2)], 3));
}

#[test]
fn what_breaks_the_rules_is_refused() {
    let hash = Keccak256::digest(b"x");
    let refused: [(&str, &[(u8, u8)]); 5] = [
        ("of no data segments", &[]),
        ("index", &[(2, 2), (3, 2)]),
        ("parity index", &[(3, 2), (5, 1), (6, 1), (7, 1)]),
        ("parity without", &[(3, 2), (7, 1)]),
        ("length", &[(3, 1), (8, 2)]),
    ];
    for (name, numbers) in refused {
        let found = Reassembly::default().take(&alice(), &segment(&hash, b"x", numbers), ()).fate;
        assert!(matches!(found, Fate::Refused(_)), "{name}: {found:?}");
    }
    let too_many = [&segment(&hash, b"x", &[])[..], &[0x18, 0xff, 1, 0x30, 1]].concat();
    assert!(matches!(Reassembly::default().take(&alice(), &too_many.into(), ()).fate, Fate::Refused(_)));
    let empty = segment(&hash, b"", &[(3, 1)]);
    assert!(matches!(Reassembly::default().take(&alice(), &empty, ()).fate, Fate::Refused(_)));
    let good = segment(&hash, b"x", &[(3, 1)]);
    assert_eq!(wholes(&mut Reassembly::default(), [&good]), ["x"], "and without a length it is understood");
}

#[test]
fn what_is_not_what_its_hash_says_is_discarded() {
    let single = segment(&[7; 32], b"x", &[(3, 1)]);
    assert!(matches!(Reassembly::default().take(&alice(), &single, ()).fate, Fate::Refused(_)));
    let mut reassembly = Reassembly::default();
    assert!(matches!(reassembly.take(&alice(), &segment(&[7; 32], b"x", &[(3, 2)]), ()).fate, Fate::Kept(_)));
    let last = reassembly.take(&alice(), &segment(&[7; 32], b"y", &[(2, 1), (3, 2)]), ());
    assert_eq!(last.abandoned.len(), 1);
    let given_up = &last.abandoned[0];
    assert_eq!((&given_up.sender, given_up.why, given_up.progress.held), (&alice(), Why::Mismatch, 2));
    assert_eq!((reassembly.len(), reassembly.bytes()), (0, 0));
}

#[test]
fn a_payload_over_the_bound_is_refused_at_its_first_segment() {
    let contents = split(&payload(1_000), &options(Mode::WhenLarge, OVERHEAD + 100, false)).unwrap();
    let mut reassembly = Reassembly::new(Bounds::of_bytes(999));
    assert!(matches!(reassembly.take(&alice(), &contents[0], ()).fate, Fate::Refused(_)));
    let without_length = segment(&[7; 32], &[1; 100], &[(3, 12)]);
    assert!(matches!(reassembly.take(&alice(), &without_length, ()).fate, Fate::Refused(_)));
    assert!(reassembly.is_empty());
}

#[test]
fn who_takes_most_gives_way_and_a_long_one_gives_way_last() {
    let long = split(&payload(2_000), &options(Mode::WhenLarge, OVERHEAD + 100, false)).unwrap();
    let mut reassembly = Reassembly::default();
    assert!(wholes(&mut reassembly, &long[..19]).is_empty());
    let mut given_up = 0;
    for number in 0..1_000_u32 {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        // Under her own name, and under as many others as there are segments.
        for name in ["alice".to_owned(), format!("stranger {number}")] {
            let taken = reassembly.take(&name.into(), &segment(&hash, b"x", &[(3, 2)]), ());
            given_up += taken.abandoned.len();
            assert!(taken.abandoned.iter().all(|it| it.why == Why::Bounds && it.progress.held == 1));
        }
    }
    assert_eq!(reassembly.len(), Bounds::default().max_open);
    assert_eq!(given_up, 2_001 - Bounds::default().max_open);
    assert_eq!(wholes(&mut reassembly, &long[19..]), [payload(2_000)]);
}

/// Keccak-256 of all parity that these payloads get, in hex.
fn parity_of(data: usize) -> (usize, String) {
    let contents = split(&payload(64 * data - 5), &options(Mode::WhenLarge, OVERHEAD + 64, true)).unwrap();
    let parity = contents[data..].iter().map(|content| {
        // The payload is the only field of 64 bytes.
        let at = content.windows(2).position(|field| field == [0x22, 64]).unwrap() + 2;
        content.slice(at..at + 64)
    });
    let parity: Vec<Bytes> = parity.collect();
    (parity.len(), hex::encode(Keccak256::digest(parity.concat())))
}

#[test]
fn one_parity_segment_is_the_exclusive_or_of_the_data() {
    for data in [2, 5, 8] {
        let mut padded = payload(64 * data - 5).to_vec();
        padded.resize(64 * data, 0);
        let xor = padded.chunks(64).fold([0_u8; 64], |sum, shard| std::array::from_fn(|at| sum[at] ^ shard[at]));
        assert_eq!(parity_of(data), (1, hex::encode(Keccak256::digest(xor))));
    }
}

#[test]
fn parity_keeps_its_bytes_on_both_sides_of_the_field_of_256() {
    let found = [9, 17, 100, 224, 225, 226].map(|data| (data, parity_of(data)));
    let expected = [
        (9, 2, "72679ecfca78c1800fe10d13b061f8d9b299962af30a86df9d0a40cfc439a600"),
        (17, 3, "1fb19eb8343f0bf44ee3f39f1abe098185c78050285efda6e467c6b07809c41e"),
        (100, 13, "f9bea75100225ae824ae6c2d9e4cbe1ef3509f09e612533914b9372e9741f0c9"),
        (224, 28, "c01a5d10638b0bbaa14b18688ccd3e4a1477f0feba562a0e24e7534babe8c695"),
        (225, 29, "f4ffe432a70d6b468870443ca72c979abba0aaf7dd1d803fd200bf3143136a79"),
        (226, 29, "31262a76cceaf49e748504643d79ab45de6f918cc0c51cf60c860e0186f1dbf7"),
    ];
    assert_eq!(found, expected.map(|(data, parity, hash)| (data, (parity, hash.to_owned()))));
}

#[test]
fn progress_counts_what_is_here() {
    let contents = split(&payload(250), &options(Mode::WhenLarge, OVERHEAD + 100, false)).unwrap();
    let Fate::Kept(progress) = Reassembly::default().take(&alice(), &contents[2], ()).fate else { panic!("not kept") };
    let Progress { hash, held, needed, bytes, length, .. } = progress;
    assert_eq!(hash[..], Keccak256::digest(payload(250))[..]);
    assert_eq!((held, needed, bytes, length), (1, 3, 50, Some(250)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_payload_is_whole_once_its_last_segment_came_in_any_order(
        bytes in proptest::collection::vec(any::<u8>(), 1..3_000),
        room in OVERHEAD + 64..OVERHEAD + 700,
        parity: bool,
        always: bool,
        order: prop::sample::Index,
    ) {
        let payload = Bytes::from(bytes);
        let mode = if always { Mode::Always } else { Mode::WhenLarge };
        let mut contents = split(&payload, &options(mode, room, parity)).unwrap();
        prop_assert!(contents.iter().all(|content| content.len() <= room));
        let count = contents.len();
        contents.rotate_left(order.index(count));
        contents.reverse();
        let mut reassembly = Reassembly::default();
        prop_assert_eq!(wholes(&mut reassembly, &contents), [payload]);
        prop_assert!(reassembly.is_empty());
    }

    #[test]
    fn any_as_many_segments_as_there_are_data_segments_are_enough(
        len in 130..4_000_usize,
        ends_in_zero in 0..200_usize,
        with_length: bool,
        seed: u64,
    ) {
        let mut bytes = payload(len).to_vec();
        bytes[len.saturating_sub(ends_in_zero)..].fill(0);
        let payload = Bytes::from(bytes);
        let mut contents = split(&payload, &options(Mode::WhenLarge, OVERHEAD + 64, true)).unwrap();
        let data = len.div_ceil(64);
        if !with_length {
            contents.iter_mut().for_each(|content| content.truncate(content.len() - if len < 128 { 2 } else { 3 }));
        }
        let mut random = seed;
        while contents.len() > data {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            contents.swap_remove((random >> 33) as usize % contents.len());
        }
        prop_assert_eq!(wholes(&mut Reassembly::default(), &contents), [payload]);
    }
}
