//! What is wrong is said, with what to do about it, and nothing is lost.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests, of real servers that take real time

mod common;

use std::sync::Arc;
use std::time::Duration;

use reliable_channel::reliable::ChannelEvent;
use reliable_channel::store::MemoryPersistence;
use reliable_channel::transport::{Topic, Transport, TransportError};
use reliable_channel_nats::{ConnectionStatus, Credentials, History, HistoryStatus, Nats, NatsError, Options, Status};

use common::group::{Member, config};
use common::{BOTH, Generation, Server, free_port};

/// Waits for a status that is so.
async fn until(nats: &Nats, what: &str, is_so: impl FnMut(&Status) -> bool) -> Status {
    let mut status = nats.status();
    let found = tokio::time::timeout(Duration::from_secs(10), status.wait_for(is_so)).await;
    match found {
        Ok(found) => found.unwrap().clone(),
        Err(_) => panic!("{what}: not within ten seconds, but {}", nats.status().borrow().clone()),
    }
}

fn is_kept(status: &Status) -> bool {
    matches!(status.history, HistoryStatus::Kept { .. })
}

async fn refused(options: Options) -> NatsError {
    Nats::connect(options).await.map(drop).unwrap_err()
}

#[tokio::test]
async fn without_a_server_it_says_how_to_start_one_or_waits_for_it() {
    let port = free_port();
    let options = Options { url: format!("nats://a:s3cret@127.0.0.1:{port}"), ..Options::default() };
    let error = refused(options.clone()).await;
    assert!(matches!(error, NatsError::NoServer { .. }), "{error}");
    assert!(error.to_string().contains("nats-server -js") && !error.to_string().contains("s3cret"), "{error}");

    let program = program_or_skip!(Generation::Newer);
    let nats = Nats::connect(Options { keep_trying: true, ..options }).await.unwrap();
    let error = nats.publish(&Topic::from("a"), None, "x".into()).await.unwrap_err();
    assert!(error.should_retry(), "{error}");
    let _server = Server::on(&program, port);
    until(&nats, "connected", |status| status.connection == ConnectionStatus::Up && is_kept(status)).await;
    assert!(nats.publish(&Topic::from("a"), None, "x".into()).await.unwrap().is_some());
}

#[tokio::test]
async fn an_address_or_a_prefix_that_is_none_is_refused() {
    let error = refused(Options { url: "nats://[".into(), ..Options::default() }).await;
    assert!(matches!(error, NatsError::Url { .. }), "{error}");
    let error = refused(Options { prefix: "a.*".into(), ..Options::default() }).await;
    assert!(matches!(error, NatsError::Prefix { .. }), "{error}");
    let credentials = Credentials::File("/no/such/file".into());
    let error = refused(Options { credentials, ..Options::default() }).await;
    assert!(error.to_string().starts_with("/no/such/file cannot be used"), "{error}");
}

#[tokio::test]
async fn wrong_credentials_are_told_and_right_ones_do() {
    for generation in BOTH {
        let program = program_or_skip!(generation);
        let server = Server::with(&program, "authorization { user: alice, password: right }\n");
        let user = |password: &str| Credentials::User { name: "alice".into(), password: password.into() };
        for credentials in [Credentials::None, user("wrong")] {
            let error = refused(Options { credentials, keep_trying: true, ..server.options() }).await;
            assert!(matches!(error, NatsError::Credentials { .. }), "{error}");
        }
        let nats = Nats::connect(Options { credentials: user("right"), ..server.options() }).await.unwrap();
        until(&nats, "kept", is_kept).await;
    }
}

#[tokio::test]
async fn a_user_who_may_not_subscribe_is_told_so_for_good() {
    let program = program_or_skip!(Generation::Newer);
    let user = "{ user: a, password: b, permissions { subscribe: [\"rc.1.p.>\", \"_INBOX.>\"], publish: \">\" } }";
    let server = Server::with(&program, &format!("authorization {{ users: [{user}] }}\n"));
    let credentials = Credentials::User { name: "a".into(), password: "b".into() };
    let nats = Nats::connect(Options { credentials, ..server.options() }).await.unwrap();
    let error = nats.subscribe(&Topic::from("lobby")).await.unwrap_err();
    assert!(matches!(&error, TransportError::Refused(why) if why.contains("rc.1.*")), "{error}");
}

#[tokio::test]
async fn a_refusal_is_over_once_it_is_allowed_and_a_withdrawn_right_ends_the_subscription() {
    for generation in BOTH {
        let program = program_or_skip!(generation);
        let users = |subscribe: &str| {
            let user =
                format!("{{ user: a, password: b, permissions {{ subscribe: [{subscribe}], publish: \">\" }} }}");
            format!("authorization {{ users: [{user}] }}\n")
        };
        let (all, some) = (users("\"rc.1.>\", \"_INBOX.>\""), users("\"rc.1.p.>\", \"_INBOX.>\", \"rc.1.nrxweytz\""));
        let server = Server::with(&program, &all);
        let credentials = Credentials::User { name: "a".into(), password: "b".into() };
        let nats = Nats::connect(Options { credentials: credentials.clone(), ..server.options() }).await.unwrap();
        // Of these two subjects one begins like the other.
        let (lobby, longer) = (Topic::from("lobby"), Topic::from("lobby of the hotel"));
        let (_kept, mut withdrawn) = (nats.subscribe(&lobby).await.unwrap(), nats.subscribe(&longer).await.unwrap());
        server.configure(&some);
        server.reload();
        let ended = tokio::time::timeout(Duration::from_secs(10), withdrawn.next()).await;
        assert_eq!(ended.unwrap(), None, "{generation:?}");
        until(&nats, "connected", |status| status.connection == ConnectionStatus::Up).await;
        let error = nats.subscribe(&longer).await.unwrap_err();
        assert!(matches!(error, TransportError::Refused(_)), "{error}");
        drop(nats.subscribe(&lobby).await.unwrap());
        server.configure(&all);
        server.reload();
        let mut again = tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                match nats.subscribe(&longer).await {
                    Ok(subscription) => break subscription,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        })
        .await
        .unwrap();
        // The one that ended is held still, and the new one hears.
        let sender = Nats::connect(Options { credentials, ..server.options() }).await.unwrap();
        sender.publish(&longer, None, "heard".into()).await.unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(10), again.next()).await;
        assert_eq!(heard.expect("the new subscription hears nothing").unwrap().unwrap().bytes, "heard");
        assert_eq!(withdrawn.next().await, None);
        until(&nats, "not refused", |status| status.refused.is_none()).await;
    }
}

#[tokio::test]
async fn without_jetstream_messages_go_and_the_status_says_how_to_have_it() {
    for generation in BOTH {
        let program = program_or_skip!(generation);
        let server = Server::with(&program, "jetstream: false\n");
        let (alice, bob) =
            (Nats::connect(server.options()).await.unwrap(), Nats::connect(server.options()).await.unwrap());
        let status = until(&alice, "failing", |status| matches!(status.history, HistoryStatus::Failing(_))).await;
        assert!(status.to_string().contains("start the server with `-js`"), "{status}");
        let mut heard = bob.subscribe(&Topic::from("a")).await.unwrap();
        assert_eq!(alice.publish(&Topic::from("a"), None, "x".into()).await, Ok(None));
        assert_eq!(heard.next().await.unwrap().unwrap().bytes, "x");
    }
}

#[tokio::test]
async fn a_stream_that_takes_no_more_is_told_and_everybody_still_hears() {
    for generation in BOTH {
        let program = program_or_skip!(generation);
        let server = Server::start(&program);
        let history = Some(History { newest: 0, ..History::default() });
        let options = Options { history, ..server.options() };
        let context = admin(&server).await;
        let config = async_nats::jetstream::stream::Config {
            name: "rc".into(),
            subjects: vec!["rc.1.*".into()],
            max_messages: 2,
            discard: async_nats::jetstream::stream::DiscardPolicy::New,
            ..Default::default()
        };
        context.create_stream(config).await.unwrap();
        let (alice, bob) =
            (Nats::connect(options.clone()).await.unwrap(), Nats::connect(options.clone()).await.unwrap());
        let status = until(&alice, "kept", is_kept).await;
        assert!(status.to_string().contains("messages: 2 and not any number"), "{status}");
        let topic = Topic::from("a");
        let mut heard = bob.subscribe(&topic).await.unwrap();
        let mut hints = Vec::new();
        for number in 0..4_u8 {
            hints.extend(alice.publish(&topic, None, vec![number].into()).await.unwrap());
            assert_eq!(heard.next().await.unwrap().unwrap().bytes, vec![number]);
        }
        let status = until(&alice, "full", |status| matches!(status.history, HistoryStatus::Failing(_))).await;
        assert!(status.to_string().contains("takes no more") && status.to_string().contains("raise"), "{status}");
        // Fetching needs no direct access, which this stream does not allow.
        assert_eq!(bob.fetch(&topic, &hints).await.unwrap(), ["\0", "\u{1}"]);
        context.get_stream("rc").await.unwrap().purge().await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), async {
            while alice.publish(&topic, None, "x".into()).await.unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .unwrap();
        until(&alice, "kept again", is_kept).await;
    }
}

#[tokio::test]
async fn a_stream_that_cannot_be_made_or_used_says_why() {
    let program = program_or_skip!(Generation::Newer);
    let server = Server::start(&program);
    let failing = async |history: History| {
        let nats = Nats::connect(Options { history: Some(history), ..server.options() }).await.unwrap();
        let is_failing = |status: &Status| matches!(status.history, HistoryStatus::Failing(_));
        until(&nats, "failing", is_failing).await.to_string()
    };
    let replicated = failing(History { replicas: 3, ..History::default() }).await;
    assert!(replicated.contains("3 replicas need a cluster"), "{replicated}");
    let huge = failing(History { max_bytes: Some(1 << 50), ..History::default() }).await;
    assert!(huge.contains("no room"), "{huge}");
    drop(Nats::connect(server.options()).await.unwrap());
    let second = failing(History { stream: "second".into(), ..History::default() }).await;
    assert!(second.contains("another stream keeps these subjects"), "{second}");
}

#[tokio::test]
async fn what_no_member_sent_is_told_and_handed_on() {
    for generation in BOTH {
        let program = program_or_skip!(generation);
        let server = Server::start(&program);
        let (alice, bob) =
            (Nats::connect(server.options()).await.unwrap(), Nats::connect(server.options()).await.unwrap());
        let topic = Topic::from("lobby");
        let mut heard = bob.subscribe(&topic).await.unwrap();
        let stranger = async_nats::connect(server.url()).await.unwrap();
        stranger.publish("rc.1.nrxweytz", "hello".into()).await.unwrap();
        stranger.publish_with_reply("rc.1.nrxweytz", "rc.1.p.*.9", "reply".into()).await.unwrap();
        let status = until(&bob, "foreign", |status| status.foreign >= 2).await;
        assert!(status.to_string().contains("2 messages that no member sent"), "{status}");
        for expected in ["hello", "reply"] {
            let incoming = heard.next().await.unwrap().unwrap();
            assert_eq!((incoming.bytes, incoming.from), (expected.into(), None));
        }
        alice.publish(&topic, None, "x".into()).await.unwrap();
        assert!(heard.next().await.unwrap().unwrap().from.is_some());
    }
}

#[tokio::test]
async fn the_largest_message_follows_the_server() {
    for generation in BOTH {
        let program = program_or_skip!(generation);
        let mut server = Server::with(&program, "max_payload: 4096\n");
        let nats = Nats::connect(server.options()).await.unwrap();
        let mut max = nats.max_bytes();
        assert_eq!(*max.borrow_and_update(), 4_096);
        server.kill();
        server.configure("max_payload: 2048\n");
        server.up();
        tokio::time::timeout(Duration::from_secs(10), max.wait_for(|max| *max == 2_048)).await.unwrap().unwrap();
        let error = nats.publish(&Topic::from("a"), None, vec![0; 2_049].into()).await.unwrap_err();
        assert_eq!(error, TransportError::TooLarge { bytes: 2_049, max: 2_048 });
    }
}

/// What was said meanwhile waits until it can go out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_lowered_under_a_joined_channel_is_told_and_nothing_is_lost() {
    for generation in BOTH {
        let mut server = Server::with(&program_or_skip!(generation), "max_payload: 65536\n");
        let store = || Arc::new(MemoryPersistence::new());
        let (alice, mut events) = Member::join("alice", server.options(), config(), store()).await;
        let bob = Member::start("bob", server.options(), config()).await;
        alice.say("before").await;
        let hears = async |lines: &[&str]| {
            let heard = async {
                while bob.log() != lines {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let in_time = tokio::time::timeout(Duration::from_secs(30), heard).await;
            assert!(in_time.is_ok(), "{generation:?}: {:?}", bob.log());
        };
        hears(&["before"]).await;
        server.configure("max_payload: 4096\n");
        server.reload();
        while !server.log().contains("max_payload = 4096") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (large, small) = ("x".repeat(10_000), "small");
        let request = alice.channel.send(large.clone()).await.unwrap();
        let told = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                match events.next().await.unwrap() {
                    ChannelEvent::SendError { request: of, error, .. } if of == request => return error,
                    _ => {}
                }
            }
        });
        let error = told.await.unwrap();
        assert!(matches!(error, TransportError::TooLarge { max: 4_096, .. }), "{error}");
        alice.say(small).await;
        server.kill();
        server.configure("max_payload: 65536\n");
        server.up();
        hears(&["before", &large, small]).await;
        assert_eq!(alice.log(), bob.log());
    }
}

#[tokio::test]
async fn a_message_of_a_store_that_was_deleted_is_no_other_one() {
    let program = program_or_skip!(Generation::Newer);
    let mut server = Server::start(&program);
    let nats = Nats::connect(server.options()).await.unwrap();
    let (lobby, other) = (Topic::from("lobby"), Topic::from("other"));
    let hint = nats.publish(&lobby, None, "x".into()).await.unwrap().unwrap();
    server.kill();
    server.forget();
    server.up();
    until(&nats, "kept again", |status| status.connection == ConnectionStatus::Up).await;
    let again = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            match nats.publish(&other, None, "y".into()).await {
                Ok(Some(hint)) => return hint,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    assert_eq!(again.await.unwrap(), hint, "sequences begin anew");
    assert!(nats.fetch(&lobby, std::slice::from_ref(&hint)).await.unwrap().is_empty());
    assert_eq!(nats.fetch(&other, &[hint]).await.unwrap(), ["y"]);
}

async fn admin(server: &Server) -> async_nats::jetstream::Context {
    async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap())
}
