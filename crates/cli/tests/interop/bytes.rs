//! Messages with a field taken out or put in, by hand: no encoder of ours has a part in it.

/// Field numbers of LIP-109.
pub const CAUSAL_HISTORY: u64 = 11;
pub const FILTER: u64 = 12;

/// The message without this field.
pub fn without(hex: &str, field: u64) -> String {
    let bytes = hex::decode(hex).unwrap();
    let (mut rest, mut kept) = (bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        let before = rest;
        let key = varint(&mut rest);
        match key & 7 {
            0 => drop(varint(&mut rest)),
            2 => {
                let len = usize::try_from(varint(&mut rest)).unwrap();
                rest = &rest[len..];
            }
            other => panic!("wire type {other}"),
        }
        if key >> 3 != field {
            kept.extend_from_slice(&before[..before.len() - rest.len()]);
        }
    }
    hex::encode(kept)
}

/// The message with this filter instead of its own; of at most 127 bytes.
pub fn with_filter(hex: &str, filter: &[u8]) -> String {
    let field = [&[(FILTER << 3 | 2) as u8, u8::try_from(filter.len()).unwrap()], filter].concat();
    without(hex, FILTER) + &hex::encode(field)
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = rest[0];
        *rest = &rest[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}
