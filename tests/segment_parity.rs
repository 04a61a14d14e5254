//! Parity has the bytes of Leopard, calculated here another way: from its definition, by Lagrange interpolation.
//!
//! What: Leopard's code is a polynomial of degree below m for each m data shards (m a power of two), which takes the shards as
//! values at the field's elements m, m + 1 and so on; parity is the sum of these polynomials at 0, 1 and so on. Elements stand in
//! a Cantor basis. Why: the crates calculate the same by fast transforms, and C++ Leopard is not at hand in a test. How it
//! moves: slowly, for a few shapes on both sides of the border between 8 and 16 bits.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use reliable_channel::segment::{OVERHEAD, Options, split};

const SHARD: usize = 64;

/// A binary field in Leopard's Cantor basis, by logarithms.
struct Field {
    log: Vec<usize>,
    exp: Vec<usize>,
}

impl Field {
    fn new(bits: u32, polynomial: usize, basis: &[usize]) -> Self {
        let order = 1_usize << bits;
        let mut power_of = vec![0; order];
        let mut state = 1;
        for power in 0..order - 1 {
            power_of[state] = power;
            state <<= 1;
            if state >= order {
                state ^= polynomial;
            }
        }
        let standard = |element: usize| {
            (0..basis.len()).filter(|bit| (element >> bit) & 1 == 1).fold(0, |sum, bit| sum ^ basis[bit])
        };
        let log: Vec<usize> = (0..order).map(|element| power_of[standard(element)]).collect();
        let mut exp = vec![0; order - 1];
        (1..order).for_each(|element| exp[log[element]] = element);
        Self { log, exp }
    }

    fn eight() -> Self {
        Self::new(8, 0x11D, &[1, 214, 152, 146, 86, 200, 88, 230])
    }

    fn sixteen() -> Self {
        let basis = [
            0x0001, 0xACCA, 0x3C0E, 0x163E, 0xC582, 0xED2E, 0x914C, 0x4012, 0x6C98, 0x10D8, 0x6A72, 0xB900, 0xFDB8,
            0xFB34, 0xFF38, 0x991E,
        ];
        Self::new(16, 0x1_002D, &basis)
    }

    fn times(&self, one: usize, other: usize) -> usize {
        if one == 0 || other == 0 { 0 } else { self.exp[(self.log[one] + self.log[other]) % self.exp.len()] }
    }

    fn over(&self, one: usize, other: usize) -> usize {
        if one == 0 { 0 } else { self.exp[(self.log[one] + self.exp.len() - self.log[other]) % self.exp.len()] }
    }

    /// The words of parity `at` of these data words.
    fn parity(&self, data: &[Vec<usize>], at: usize, m: usize) -> Vec<usize> {
        let mut sum = vec![0; data[0].len()];
        for (index, words) in data.iter().enumerate() {
            let (own, first) = (m + index, m + index / m * m);
            let factor = (first..first + m)
                .filter(|point| *point != own)
                .fold(1, |product, point| self.over(self.times(product, at ^ point), own ^ point));
            sum.iter_mut().zip(words).for_each(|(sum, word)| *sum ^= self.times(factor, *word));
        }
        sum
    }
}

/// Words of 16 bits: in each 64 bytes the low halves come first.
fn wide(shard: &[u8]) -> Vec<usize> {
    (0..SHARD / 2).map(|at| usize::from(shard[at]) | (usize::from(shard[at + SHARD / 2]) << 8)).collect()
}

fn bytes_of_wide(words: &[usize]) -> Vec<u8> {
    words.iter().map(|word| *word as u8).chain(words.iter().map(|word| (*word >> 8) as u8)).collect()
}

#[test]
fn parity_is_that_of_leopard_by_its_definition() {
    let (eight, sixteen) = (Field::eight(), Field::sixteen());
    for data in [2, 3, 8, 9, 16, 17, 40, 64, 65, 100, 128, 200, 224, 225, 226] {
        let payload: Bytes = (0..SHARD * data - 5).map(|at| (at * 31 + at / 251) as u8).collect();
        let mut options = Options::of_room(OVERHEAD + SHARD);
        options.parity = true;
        let contents = split(&payload, &options).unwrap();
        let mut padded = payload.to_vec();
        padded.resize(SHARD * data, 0);
        let shards: Vec<&[u8]> = padded.chunks(SHARD).collect();
        let m = (contents.len() - data).next_power_of_two();
        for (at, content) in contents[data..].iter().enumerate() {
            let expected: Vec<u8> = if m + data <= 256 {
                let words: Vec<Vec<usize>> =
                    shards.iter().map(|shard| shard.iter().map(|byte| usize::from(*byte)).collect()).collect();
                eight.parity(&words, at, m).into_iter().map(|word| word as u8).collect()
            } else {
                let words: Vec<Vec<usize>> = shards.iter().map(|shard| wide(shard)).collect();
                bytes_of_wide(&sixteen.parity(&words, at, m))
            };
            assert!(content.windows(SHARD).any(|found| found == expected), "parity {at} of {data} segments");
        }
    }
}
