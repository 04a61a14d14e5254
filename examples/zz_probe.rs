//! probe
#![allow(missing_docs, clippy::all, clippy::disallowed_methods)]
#[path = "../benches/fixtures/mod.rs"]
mod fixtures;
use fixtures::*;
use reliable_channel::types::Dialect;
use reliable_channel::wire;
use std::time::Instant;
#[inline(never)]
fn timed<R>(f: &mut dyn FnMut() -> R) -> (u64, R) { let s = Instant::now(); let r = f(); (s.elapsed().as_nanos() as u64, r) }
fn main() {
    let what = std::env::args().nth(1).unwrap();
    let open: usize = std::env::args().nth(2).unwrap().parse().unwrap();
    let n: usize = std::env::args().nth(3).unwrap().parse().unwrap();
    let mut peer = Peer::with_unacknowledged(open);
    for _ in 0..11000 { let m = peer.next_received(); peer.receive(m); }
    let mut v = vec![];
    for _ in 0..n {
        if what == "wrap" {
            peer.pass(1000);
            let c = content();
            let mut c = Some(c);
            let (t, made) = timed(&mut || peer.wrap(c.take().unwrap()));
            v.push(t);
            peer.sent(&made.0);
            peer.acknowledge();
        } else {
            let bytes = wire::encode(&peer.next_received(), Dialect::Lip109).unwrap();
            let (t, step) = timed(&mut || peer.unwrap(&bytes));
            v.push(t);
            drop(step);
        }
    }
    let mean = v.iter().sum::<u64>() / v.len() as u64;
    v.sort();
    println!("{what} {open}: mean {mean} median {} p10 {} p90 {}", v[v.len()/2], v[v.len()/10], v[v.len()*9/10]);
}
