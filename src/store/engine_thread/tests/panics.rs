//! A panic of the engine, in whatever call, is an error of that call, and the next one finds another engine.

use super::*;

#[tokio::test]
async fn a_panic_in_any_call_is_an_error_and_the_next_call_works() {
    let (world, thread) = start_with(Durability::Batched { max_delay: Duration::MAX }, State::default());
    let channel = ChannelId::from("channel");
    write(&thread).await.unwrap();
    for (number, verb) in ["commit", "drop_channel", "load_channel", "list_channels", "flush"].into_iter().enumerate() {
        for panics in [true, false] {
            world.change(|state| state.panics = panics);
            let result = match verb {
                "commit" => write(&thread).await,
                "drop_channel" => thread.write(verb, &channel, Write::drop_channel(&channel)).await,
                "load_channel" => thread.load(verb, &channel, b"prefix".to_vec()).await.map(drop),
                "list_channels" => thread.list(verb).await.map(drop),
                _ => thread.flush(verb).await,
            };
            assert_eq!(result.is_err(), panics, "{verb}: {result:?}");
            if let Err(error) = result {
                assert!(error.source.unwrap().to_string().contains("panicked: in every call"), "{verb}");
            }
        }
        assert_eq!(world.change(|state| state.opens), number + 2, "{verb}");
    }
}

#[tokio::test]
async fn a_backup_that_meets_a_panic_is_an_error_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (world, thread) = start(State { channels: vec!["a".into(), "panic".into()], ..State::default() });
    for _ in 0..2 {
        let error = thread.backup("backup", &dir.path().join("copy")).await.unwrap_err();
        assert!(matches!(error.kind, PersistenceErrorKind::Corrupt { .. }), "{error:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        write(&thread).await.unwrap();
    }
    world.change(|state| state.channels.clear());
    thread.backup("backup", &dir.path().join("copy")).await.unwrap();
    assert!(dir.path().join("copy").is_dir());
}

#[tokio::test]
async fn a_close_waits_for_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    let channels = (0..50).map(|number| ChannelId::from(format!("{number}"))).collect();
    let (_, thread) = start(State { channels, ..State::default() });
    let to = dir.path().join("copy");
    let (copied, closed) = tokio::join!(thread.backup("backup", &to), thread.close());
    copied.unwrap();
    closed.unwrap();
    assert!(to.is_dir());
}
