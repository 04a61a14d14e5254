//! One side of a reconciliation, in lines on standard input and output: the protocol of the negentropy project's test
//! harness, so that it can be run against its other implementations.
//!
//! `item,TIME,HEX` adds to the set and `seal` ends it; `initiate` begins; `msg,HEX` takes a message in. The answers are
//! `msg,HEX`, and on the side that began `have,HEX`, `need,HEX` and, at the end, `done`. The environment's
//! `FRAMESIZELIMIT` bounds a message, in bytes.
//!
//! ```text
//! printf 'item,1,%064d\nseal\ninitiate\n' 5 | cargo run --example negentropy_peer
//! ```

use std::io::{self, BufRead, Write};

use reliable_channel::reconcile::{Item, Options, Rid, SetIndex, initiate, refine, respond};
use reliable_channel::types::Lamport;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let limit = std::env::var("FRAMESIZELIMIT").ok().map(|limit| limit.parse::<usize>()).transpose()?;
    let mut options = Options::plain();
    options.max_message_bytes = limit.filter(|limit| *limit > 0);

    let (mut set, mut began) = (SetIndex::new(), false);
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        match line.trim().split(',').collect::<Vec<_>>()[..] {
            [""] | ["seal"] => {}
            ["item", time, id] => {
                let rid = unhex(id)?.try_into().map_err(|_| "an id has 32 bytes")?;
                set.insert(Item { lamport: Lamport(time.parse()?), rid: Rid(rid) });
            }
            ["initiate"] => {
                began = true;
                writeln!(out, "msg,{}", hex(&initiate(&set, &options)))?;
            }
            ["msg", message] if began => {
                let found = refine(&set, &options, &unhex(message)?)?;
                found.only_here.iter().try_for_each(|rid| writeln!(out, "have,{}", hex(&rid.0)))?;
                found.only_there.iter().try_for_each(|rid| writeln!(out, "need,{}", hex(&rid.0)))?;
                match found.next {
                    Some(next) => writeln!(out, "msg,{}", hex(&next))?,
                    None => writeln!(out, "done")?,
                }
            }
            ["msg", message] => writeln!(out, "msg,{}", hex(&respond(&set, &options, &unhex(message)?)?.message))?,
            _ => return Err(format!("not a command: {line}").into()),
        }
        out.flush()?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<Vec<u8>, Failure> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !text.is_ascii() {
        return Err("an odd number of hexadecimal digits".into());
    }
    digits.chunks(2).map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}
