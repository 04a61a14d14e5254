//! Protobuf framing, walked without taking memory.
//!
//! What: [`Fields`] yields the fields of one protobuf message as borrowed slices, and [`family`] tells the
//! dialects apart. Why not prost: it allocates per repeated entry before anyone has counted them. How it
//! moves: forward over the input, once; nested messages are walked by whoever knows that they are messages,
//! with a `Fields` of their own, so nothing here recurses.

use super::WireError;

/// Whose field numbers a packet uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// LIP-109 and js-waku: field 2 is the message id.
    Lip109,
    /// nim-sds: field 2 is the Lamport time.
    NimSds,
}

/// Tells the family by the wire type of the first field 2. nim-sds 0.4 leaves a Lamport time of 0 out: a packet without
/// field 2 is of that family when it has its channel, field 4, which LIP-109 has not. Else it is LIP-109, and misses its
/// id.
pub(super) fn family(bytes: &[u8]) -> Result<Family, WireError> {
    let mut without = Family::Lip109;
    let mut fields = Fields { least: 0, ..Fields::new(bytes, 0) };
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (2, Value::Bytes { .. }) => return Ok(Family::Lip109),
            (2, Value::Varint(_)) => return Ok(Family::NimSds),
            (2, other) => return Err(WireError::WireType { field: 2, found: other.wire_type() }),
            (4, Value::Bytes { .. }) => without = Family::NimSds,
            _ => {}
        }
    }
    Ok(without)
}

/// The pair (found, max) as the error when something is over its limit.
pub(super) fn at_most(found: usize, max: usize) -> Result<(), (usize, usize)> {
    if found <= max { Ok(()) } else { Err((found, max)) }
}

/// One field of a protobuf message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) value: Value<'a>,
}

/// A field's value, as far as its wire type tells.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64,
    Bytes { body: &'a [u8], at: usize },
    Fixed32,
}

impl Value<'_> {
    fn wire_type(self) -> u8 {
        match self {
            Self::Varint(_) => 0,
            Self::Fixed64 => 1,
            Self::Bytes { .. } => 2,
            Self::Fixed32 => 5,
        }
    }
}

impl<'a> Field<'a> {
    /// The body of a length-delimited field and its offset in the packet, or `None` for another wire type.
    pub(super) fn body(self) -> Option<(&'a [u8], usize)> {
        match self.value {
            Value::Bytes { body, at } => Some((body, at)),
            _ => None,
        }
    }

    /// The body of a length-delimited field and its offset in the packet.
    pub(super) fn bytes(self) -> Result<(&'a [u8], usize), WireError> {
        match self.value {
            Value::Bytes { body, at } => Ok((body, at)),
            other => Err(WireError::WireType { field: self.number, found: other.wire_type() }),
        }
    }

    /// The value of a varint field.
    pub(super) fn varint(self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            other => Err(WireError::WireType { field: self.number, found: other.wire_type() }),
        }
    }
}

/// The fields of one protobuf message, in wire order.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    /// Offset of the message's end in the packet.
    end: usize,
    /// The lowest field number let through: 0 or 1.
    least: u64,
    /// Numbers must not be longer than need be.
    shortest: bool,
}

impl<'a> Fields<'a> {
    /// The fields of a message that begins at `base` in the packet.
    pub(super) fn new(bytes: &'a [u8], base: usize) -> Self {
        Self { rest: bytes, end: base + bytes.len(), least: 1, shortest: false }
    }

    /// As nim-sds reads: field number 0 is a field like others, and numbers must not be longer than need be.
    pub(super) fn nim(bytes: &'a [u8], base: usize) -> Self {
        Self { least: 0, shortest: true, ..Self::new(bytes, base) }
    }

    /// Offset in the packet of the next field, or of the end.
    pub(super) fn at(&self) -> usize {
        self.end - self.rest.len()
    }

    /// The next field, or `None` at the end of the message.
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let start = self.at();
        let key = self.varint()?;
        let number = key >> 3;
        if !(self.least..1 << 29).contains(&number) {
            return Err(WireError::FieldNumber { at: start });
        }
        let number = number as u32;
        let value = match (key & 7) as u8 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8, start).map(|_| Value::Fixed64)?,
            2 => {
                let len = self.varint()?;
                let at = self.at();
                Value::Bytes { body: self.take(len, start)?, at }
            }
            5 => self.take(4, start).map(|_| Value::Fixed32)?,
            found => return Err(WireError::WireType { field: number, found }),
        };
        Ok(Some(Field { number, value }))
    }

    fn take(&mut self, len: u64, start: usize) -> Result<&'a [u8], WireError> {
        let split = usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
        let (body, rest) = split.ok_or(WireError::Truncated { at: start })?;
        self.rest = rest;
        Ok(body)
    }

    /// Nearly all numbers take one byte: every key below field 16, every length below 128.
    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        match self.rest {
            [byte @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, WireError> {
        let at = self.at();
        let mut value = 0_u64;
        for (n, &byte) in self.rest.iter().enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * n);
            // The tenth byte has room for one bit.
            if n == 9 && byte > 1 {
                return Err(WireError::VarintOverflow { at });
            }
            if byte < 0x80 {
                if byte == 0 && n > 0 && self.shortest {
                    return Err(WireError::VarintOverlong { at });
                }
                self.rest = &self.rest[n + 1..];
                return Ok(value);
            }
        }
        Err(WireError::Truncated { at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only_varint(bytes: &[u8]) -> Result<u64, WireError> {
        Fields::new(bytes, 0).varint()
    }

    #[test]
    fn varints_up_to_64_bits() {
        assert_eq!(only_varint(&[0]), Ok(0));
        assert_eq!(only_varint(&[0x85, 0]), Ok(5));
        assert_eq!(Fields::nim(&[0x85, 0], 0).varint(), Err(WireError::VarintOverlong { at: 0 }));
        assert_eq!(Fields::nim(&[0x85, 1], 0).varint(), Ok(133));
        assert_eq!(Fields::nim(&[0], 0).varint(), Ok(0));
        let max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(only_varint(&max), Ok(u64::MAX));
        let mut over = max;
        over[9] = 2;
        assert_eq!(only_varint(&over), Err(WireError::VarintOverflow { at: 0 }));
        over[9] = 0x81;
        assert_eq!(only_varint(&over), Err(WireError::VarintOverflow { at: 0 }));
        assert_eq!(only_varint(&max[..9]), Err(WireError::Truncated { at: 0 }));
    }

    #[test]
    fn wire_types() {
        fn field(bytes: &[u8]) -> Result<Option<Field<'_>>, WireError> {
            Fields::new(bytes, 100).next()
        }
        assert!(matches!(field(&[0x09, 1, 2, 3, 4, 5, 6, 7, 8]), Ok(Some(Field { number: 1, value: Value::Fixed64 }))));
        assert!(matches!(field(&[0x0d, 1, 2, 3, 4]), Ok(Some(Field { number: 1, value: Value::Fixed32 }))));
        assert_eq!(field(&[0x0d, 1, 2, 3]).err(), Some(WireError::Truncated { at: 100 }));
        for found in [3, 4, 6, 7] {
            assert_eq!(field(&[8 | found]).err(), Some(WireError::WireType { field: 1, found }));
        }
        assert_eq!(field(&[0x00, 1]).err(), Some(WireError::FieldNumber { at: 100 }));
        assert_eq!(field(&[0x80, 0x80, 0x80, 0x80, 0x10, 1]).err(), Some(WireError::FieldNumber { at: 100 }));
    }

    #[test]
    fn a_length_of_the_whole_address_space_is_truncated() {
        let bytes = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Fields::new(&bytes, 0).next().err(), Some(WireError::Truncated { at: 0 }));
    }

    #[test]
    fn the_family_is_told_by_field_2() {
        assert_eq!(family(&[0x0a, 1, b's', 0x12, 1, b'm']), Ok(Family::Lip109));
        assert_eq!(family(&[0x0a, 1, b'm', 0x10, 5]), Ok(Family::NimSds));
        assert_eq!(family(&[0x15, 1, 2, 3, 4]), Err(WireError::WireType { field: 2, found: 5 }));
        assert_eq!(family(&[]), Ok(Family::Lip109));
        assert_eq!(family(&[0x0a, 1, b'm', 0x22, 1, b'c']), Ok(Family::NimSds), "nim-sds 0.4 leaves a time of 0 out");
        assert_eq!(family(&[0x22, 1, b'c', 0x12, 1, b'm']), Ok(Family::Lip109), "field 2 decides where it is");
        assert_eq!(family(&[0x0a, 1, b'm', 0x20, 1]), Ok(Family::Lip109), "no channel");
    }
}
