//! Reed-Solomon parity, in the bytes of Leopard (LIP-243, "Reed-Solomon").
//!
//! What: parity pieces of data pieces, and lost data pieces from what is there. Why two crates: Leopard calculates with
//! 8 bits as long as its shards fit into a field of 256, and with 16 beyond; each crate has one of the two.

use bytes::{Bytes, BytesMut};

/// Shards have a multiple of so many bytes.
pub(super) const UNIT: usize = 64;
/// Data pieces at most, for those with their parity to be at most 255.
pub(super) const MAX_DATA: usize = 226;
/// Data pieces for each parity piece.
const PER_PARITY: usize = 8;

/// Parity pieces of these pieces, which are padded with zeros to so many bytes. A single piece has none.
pub(super) fn encode(pieces: &[Bytes], bytes: usize) -> Vec<Bytes> {
    let (data, parity) = (pieces.len(), pieces.len().div_ceil(PER_PARITY));
    if data < 2 || bytes == 0 || !bytes.is_multiple_of(UNIT) {
        return Vec::new();
    }
    let mut shards: Vec<Vec<u8>> = pieces.iter().map(|piece| padded(piece, bytes)).collect();
    if fits_8_bits(data, parity) {
        shards.resize_with(data + parity, || vec![0; bytes]);
        return match leopard_codec::encode(&mut shards, data) {
            Ok(()) => shards.split_off(data).into_iter().map(Bytes::from).collect(),
            Err(_) => Vec::new(),
        };
    }
    let parity = reed_solomon_simd::encode(data, parity, &shards).unwrap_or_default();
    parity.into_iter().map(Bytes::from).collect()
}

/// All data pieces in shards, the padding of the last included, from pieces of which some are missing: first `data` data
/// pieces, then parity. `None` where these are no shards, or too few.
pub(super) fn recover(pieces: &[Option<Bytes>], data: usize) -> Option<Vec<Bytes>> {
    let parity = pieces.len().checked_sub(data)?;
    let bytes = pieces.get(data..)?.iter().flatten().next()?.len();
    let shards = pieces.iter().flatten();
    if bytes == 0
        || !bytes.is_multiple_of(UNIT)
        || shards.clone().count() < data
        || shards.clone().any(|shard| shard.len() > bytes)
        || pieces[data..].iter().flatten().any(|shard| shard.len() != bytes)
    {
        return None;
    }
    if data == 1 {
        // Parity of a single piece is that piece.
        return pieces.iter().flatten().next().map(|piece| vec![piece.clone()]);
    }
    let mut shards: Vec<Vec<u8>> =
        pieces.iter().map(|piece| piece.as_ref().map_or_else(Vec::new, |piece| padded(piece, bytes))).collect();
    if fits_8_bits(data, parity) {
        leopard_codec::reconstruct(&mut shards, data).ok()?;
    } else {
        let is_there = |(_, shard): &(usize, &Vec<u8>)| !shard.is_empty();
        let found = shards[..data].iter().enumerate().filter(is_there);
        let check = shards[data..].iter().enumerate().filter(is_there);
        let restored = reed_solomon_simd::decode(data, parity, found, check).ok()?;
        for (index, shard) in restored {
            *shards.get_mut(index)? = shard;
        }
    }
    shards.truncate(data);
    Some(shards.into_iter().map(Bytes::from).collect())
}

/// Whether Leopard calculates with 8 bits.
fn fits_8_bits(data: usize, parity: usize) -> bool {
    parity <= data && parity.next_power_of_two() + data <= 256
}

fn padded(piece: &Bytes, bytes: usize) -> Vec<u8> {
    let mut shard = BytesMut::with_capacity(bytes);
    shard.extend_from_slice(piece);
    shard.resize(bytes, 0);
    shard.into()
}
