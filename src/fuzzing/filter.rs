//! Compact filters: those of others are refused or give chances in 0 to 1, our own hold what they were given.
//!
//! Input: k (4 bytes, little-endian), seed (8 bytes), number of ids (1 byte), then the bits.

use std::sync::OnceLock;
use std::time::Duration;

use arbitrary::Unstructured;
use bytes::Bytes;

use crate::filter::{IdHash, MAX_HASHES, ReceivedFilter, RollingFilter, RollingFilterConfig};
use crate::types::{Dialect, FilterField, MessageId, RunningTime};

const MAX_BYTES: usize = 1 << 10;

/// The body of the target `filter`.
pub fn filter(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok((k, seed, ids)) = input.arbitrary::<(u32, [u8; 8], u8)>() else { return };
    let bits = Bytes::copy_from_slice(input.take_rest());
    let absurd = bits.is_empty() || bits.len() > MAX_BYTES || !(1..=MAX_HASHES).contains(&k);
    let (ones, len) = (bits.iter().map(|byte| byte.count_ones() as usize).sum::<usize>(), bits.len() * 8);
    let hashes = &hashes()[..=usize::from(ids)];
    match ReceivedFilter::parse(&FilterField::Compact { k, seed, bits }, MAX_BYTES) {
        Err(error) => assert!(absurd && !error.to_string().is_empty(), "{error}"),
        Ok(None) => panic!("a compact filter is one to be tested"),
        Ok(Some(filter)) => {
            assert!(!absurd);
            assert_eq!(filter.witness(), Some(seed));
            for hash in hashes {
                let chance = filter.chance(hash);
                assert!(chance.is_none_or(|chance| (0.0..=1.0).contains(&chance)), "{chance:?}");
                assert!(ones > 0 || chance.is_none(), "nothing is in an empty filter");
                assert!(ones < len || chance == Some(1.0), "a full filter proves nothing");
            }
        }
    }
    own(k, seed, ids, hashes);
}

fn hashes() -> &'static [IdHash] {
    static HASHES: OnceLock<Vec<IdHash>> = OnceLock::new();
    HASHES.get_or_init(|| (0..=u8::MAX).map(|id| IdHash::of(&MessageId::new([id]))).collect())
}

/// A filter of our own under these settings hits every id it holds.
fn own(k: u32, seed: [u8; 8], ids: u8, hashes: &[IdHash]) {
    let error_rate = f64::from(k) / f64::from(u32::MAX);
    let config = RollingFilterConfig {
        dialect: Dialect::Lip109,
        window: Duration::from_millis(u64::from(seed[0])),
        max_ids: usize::from(seed[1]) + 1,
        min_ids: usize::from(seed[2] % 64),
        error_rate,
    };
    let mut filter = RollingFilter::new(config);
    for (id, hash) in (0..=ids).zip(hashes) {
        let now = RunningTime::from_millis(u64::from(id));
        filter.insert(&MessageId::new([id]), *hash, now);
        if id % 64 == seed[3] {
            filter.remove(&MessageId::new([id]));
        }
        if filter.needs_reseed() {
            filter.reseed(now, seed);
        }
    }
    assert!(filter.len() <= config.max_ids);
    let parsed = ReceivedFilter::parse(&filter.field(), 64 << 10).expect("our own filter parses");
    assert_eq!(parsed.is_none(), filter.is_empty());
    for (id, hash) in (0..=ids).zip(hashes).filter(|(id, _)| filter.last_heard(&MessageId::new([*id])).is_some()) {
        let hit = parsed.as_ref().and_then(|parsed| parsed.chance(hash));
        assert!(hit.is_some(), "id {id} is held");
    }
}
