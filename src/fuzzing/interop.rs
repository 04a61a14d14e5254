//! The filters of js-waku and nim-sds: those of others are refused or give chances in 0 to 1, our own hold what they were
//! given.
//!
//! Input: whose layout (1 byte, even: js-waku), capacity (1 byte), number of ids (1 byte), then the field. A short field
//! of js-waku is repeated to the one length that is not refused.

use arbitrary::Unstructured;
use bytes::Bytes;

use crate::filter::{FilterError, IdHash, ReceivedFilter, RollingFilter, RollingFilterConfig};
use crate::types::{Dialect, FilterField, JS_FILTER_BYTES, MessageId, RunningTime};

const MAX_BYTES: usize = 32 << 10;

/// The body of the target `interop`.
pub fn interop(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok((peer, capacity, ids)) = input.arbitrary::<(u8, u8, u8)>() else { return };
    let rest = input.take_rest();
    let dialect = if peer % 2 == 0 { Dialect::JsWaku } else { Dialect::NimSds };
    let hashes: Vec<(MessageId, IdHash)> = (0..=ids)
        .map(|n| {
            let id = MessageId::new([&[n % 128][..], &rest[..rest.len().min(usize::from(n))]].concat());
            (id.clone(), IdHash::in_dialect(&id, dialect))
        })
        .collect();
    theirs(dialect, rest, &hashes);
    own(dialect, usize::from(capacity), &hashes);
}

fn theirs(dialect: Dialect, rest: &[u8], hashes: &[(MessageId, IdHash)]) {
    let field = match dialect {
        Dialect::NimSds => FilterField::NimSds(Bytes::copy_from_slice(rest)),
        _ if rest.is_empty() => FilterField::Unspecified(Bytes::new()),
        _ => FilterField::Unspecified(rest.iter().copied().cycle().take(JS_FILTER_BYTES).collect()),
    };
    match ReceivedFilter::parse(&field, MAX_BYTES) {
        Ok(None) => assert!(dialect == Dialect::NimSds && rest.is_empty()),
        Err(FilterError::Length { found, .. }) => assert_eq!((dialect, found), (Dialect::JsWaku, 0)),
        Err(error) => assert!(dialect == Dialect::NimSds && !error.to_string().is_empty(), "{error}"),
        Ok(Some(filter)) => {
            assert_eq!(filter.witness(), None, "fixed hashes are no independent witness");
            for (id, hash) in hashes {
                let chance = filter.chance(hash);
                assert!(chance.is_none_or(|chance| (0.0..=1.0).contains(&chance)), "{chance:?}");
                assert_eq!(filter.chance(&IdHash::of(id)), None, "hashed for another layout");
            }
        }
    }
}

/// A filter of our own hits every id it holds, however it rolled.
fn own(dialect: Dialect, capacity: usize, hashes: &[(MessageId, IdHash)]) {
    let mut filter = RollingFilter::new(RollingFilterConfig { max_ids: capacity, ..RollingFilterConfig::of(dialect) });
    for (at, (id, hash)) in hashes.iter().enumerate() {
        filter.insert(id, *hash, RunningTime::from_millis(at as u64));
        if at % 16 == capacity % 16 {
            filter.remove(id);
        }
        if filter.needs_reseed() {
            filter.reseed(RunningTime::from_millis(at as u64), [0; 8]);
        }
        assert!(filter.len() <= capacity.max(1) * 12 / 10);
    }
    let parsed = ReceivedFilter::parse(&filter.field(), MAX_BYTES).expect("our own filter parses");
    assert_eq!(parsed.is_none(), filter.is_empty());
    for (id, hash) in hashes.iter().filter(|(id, _)| filter.last_heard(id).is_some()) {
        assert!(parsed.as_ref().and_then(|parsed| parsed.chance(hash)).is_some(), "id {id} is held");
    }
}
