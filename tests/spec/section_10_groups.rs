//! docs/protocol.md section 10: response groups, and what becomes of a message whose group has left.

use crate::harness::{Peer, answering, message, peer_with, sync};

const T_MAX: u64 = 10_000;

fn grouped(name: &str, groups: u32) -> Peer {
    peer_with(name, |config| config.response_groups = groups)
}

/// For how many unanswered requests, one each T_max, this participant waits before it answers a message of `sender`.
fn silent_for(name: &str, groups: u32, sender: &str, id: &str) -> usize {
    let mut peer = grouped(name, groups);
    peer.receive(&message(sender, id, 1, &[]));
    peer.sleep(60_000);
    for n in 0..9 {
        peer.receive(&sync("seeker", 100_000 + n, &[], &[id]));
        if answering(&peer) == [id] {
            return usize::try_from(n).unwrap();
        }
        peer.sleep(T_MAX);
    }
    panic!("{name} never answers")
}

#[test]
fn each_repeated_request_doubles_the_groups_that_may_answer_until_everybody_may() {
    for groups in [2, 3, 5, 8] {
        let mut answer = vec![0; 4];
        (0..400).for_each(|n| answer[silent_for("holder", groups, "gone", &format!("m{n}"))] += 1);
        // Of so many groups one answers at once, two after a repeated request, then four, then eight.
        let mut before = 0;
        for (n, answer) in answer.into_iter().enumerate() {
            let wide = groups.min(1 << n);
            let expected = 400.0 * f64::from(wide - before) / f64::from(groups);
            let slack = 4.0 * 400.0_f64.sqrt() / 2.0;
            assert!((f64::from(answer) - expected).abs() <= slack, "{groups}, {n}: {answer}, {expected}");
            assert!(expected > 0.0 || answer == 0, "{groups}, {n}: {answer}");
            before = wide;
        }
    }
}

#[test]
fn requests_within_t_max_are_one_and_a_copy_heard_sets_the_group_back() {
    let id = (0..).map(|n| format!("m{n}")).find(|id| silent_for("holder", 2, "gone", id) == 1).unwrap();
    let mut holder = grouped("holder", 2);
    let copy = message("gone", &id, 1, &[]);
    holder.receive(&copy);
    holder.sleep(60_000);
    let mut lamport = 100_000;
    let mut ask = |holder: &mut Peer| {
        lamport += 1;
        holder.receive(&sync("seeker", lamport, &[], &[&id]));
        !answering(holder).is_empty()
    };
    for _ in 0..2 {
        assert!(!ask(&mut holder));
        holder.sleep(T_MAX - 1);
        assert!(!ask(&mut holder), "not yet repeated");
        holder.receive(&copy);
        holder.sleep(T_MAX);
    }
    assert!(!ask(&mut holder));
    holder.sleep(T_MAX);
    assert!(ask(&mut holder), "repeated, and no copy was heard");
}

#[test]
fn messages_of_a_departed_sender_are_recovered_from_four_holders_in_eight_groups() {
    let ids: Vec<String> = (0..200).map(|n| format!("m{n}")).collect();
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let messages: Vec<_> = (0..).zip(&names).map(|(n, id)| message("gone", id, n, &[])).collect();
    let mut peers: Vec<Peer> = ["seeker", "h1", "h2", "h3", "h4"]
        .map(|name| peer_with(name, |config| (config.response_groups, config.max_batch) = (8, 0)))
        .into();
    peers[1..].iter_mut().for_each(|holder| holder.receive_all(&messages));
    peers.iter_mut().for_each(|peer| peer.sleep(60_000));
    peers[0].receive(&sync("h1", 70_000, &names, &[]));
    for _ in 0..1_200 {
        let sent: Vec<_> = peers.iter_mut().map(|peer| peer.run_for(500)).collect();
        for (from, sent) in sent.iter().enumerate() {
            for (_, peer) in peers.iter_mut().enumerate().filter(|(to, _)| *to != from) {
                sent.iter().for_each(|sent| drop(peer.receive(&sent.message)));
            }
        }
    }
    assert_eq!(peers[0].log().len(), 200, "of 200, in ten minutes");
}
