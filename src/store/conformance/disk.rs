//! Rules of stores that outlive their process: crashes, locks, damage.
//!
//! What: what a store declares in its [`Capabilities`](crate::store::Capabilities) holds. Why: nobody notices until the
//! day it matters. How it moves: the [`Place`] makes the crash or the damage, the rule looks at what is left.

use super::samples::{a, all, content, data, every_kind, listed, message, put, rows};
use super::{Broken, Outcome, Place, holds, same};
use crate::state::{ChannelData, Row};
use crate::store::{Durability, PersistenceErrorKind};

/// After a crash a channel has all that was acknowledged; with a batch window, what some prefix of it left.
pub(super) async fn a_crash_leaves_what_was_promised(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    let state = |count: u64| (0..count).map(|at| message(at, "m")).collect::<Vec<Row>>();
    for count in 1..=10 {
        store.commit(&a(), &all(&state(count))).await?;
        let left = crashed(place)?.open()?.load_channel(&a()).await?;
        if let Some(Durability::Batched { .. }) = store.capabilities().durability {
            let prefix = (1..=count).map(|count| data(state(count))).chain([ChannelData::default()]);
            holds!(prefix.into_iter().any(|prefix| prefix == left), "no prefix: {left:?}");
        } else {
            same!(left, data(state(count)));
        }
    }
    Ok(())
}

/// What was acknowledged before a flush survives any crash after it.
pub(super) async fn flush_ends_a_batch_window(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    for count in 1..=3 {
        store.commit(&a(), &all(&every_kind()[..count])).await?;
    }
    store.flush().await?;
    same!(crashed(place)?.open()?.load_channel(&a()).await?, data(every_kind()[..3].to_vec()));
    Ok(())
}

/// A drop is final as soon as it is acknowledged, whatever the durability of writes.
pub(super) async fn a_drop_survives_a_crash(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    for channel in [a(), "b".into()] {
        store.commit(&channel, &all(&every_kind())).await?;
    }
    store.drop_channel(&a()).await?;
    let left = crashed(place)?.open()?;
    holds!(left.load_channel(&a()).await?.is_empty());
    same!(left.load_channel(&"b".into()).await?, data(every_kind()));
    if let Some(listed) = listed(&*left).await? {
        same!(listed, ["b".into()]);
    }
    Ok(())
}

/// A store that was dropped in order has everything, whatever its durability.
pub(super) async fn a_clean_end_loses_nothing(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    store.commit(&a(), &all(&every_kind())).await?;
    drop(store);
    same!(crashed(place)?.open()?.load_channel(&a()).await?, data(every_kind()));
    Ok(())
}

/// Whoever opens a store that is open is refused as locked, and the first goes on undisturbed.
pub(super) async fn a_second_opener_is_locked_out(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    store.commit(&a(), &all(&every_kind())).await?;
    match place.open() {
        Ok(_) => return Err(Broken::new("opened twice")),
        Err(error) => {
            same!(error.kind, PersistenceErrorKind::Locked);
            holds!(error.is_retryable());
        }
    }
    store.update_history(&"b".into(), &put([message(1, "m")])).await?;
    drop(store);
    same!(rows(&*place.open()?, &"b".into()).await?, [message(1, "m")]);
    Ok(())
}

/// A flipped bit in a stored value is damage of its channel, and of no other.
pub(super) async fn a_flipped_bit_is_damage(place: &dyn Place) -> Outcome {
    let needle = "find me in the files of this store";
    let store = place.open()?;
    store.commit(&a(), &all(&[content(1, "m", needle)])).await?;
    store.commit(&"b".into(), &all(&every_kind())).await?;
    store.flush().await?;
    drop(store);
    if !place.damage(needle.as_bytes()) {
        return Err(Broken::new("Place::damage is needed, or a store that does not declare `checksummed`"));
    }
    let store = place.open()?;
    match store.load_channel(&a()).await {
        Ok(loaded) => return Err(Broken::new(format!("loaded as if whole: {loaded:?}"))),
        Err(error) => {
            holds!(matches!(error.kind, PersistenceErrorKind::Corrupt { .. }), "{error:?}");
            same!(error.channel, Some(a()));
            holds!(!error.is_retryable());
        }
    }
    same!(store.load_channel(&"b".into()).await?, data(every_kind()));
    store.update_history(&"b".into(), &put([message(11, "new")])).await?;
    Ok(())
}

/// A store that lost its end is an error, when it is opened or when it is loaded, unless it did not matter.
pub(super) async fn a_cut_store_is_damage(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    store.commit(&a(), &all(&every_kind())).await?;
    store.flush().await?;
    drop(store);
    if !place.cut() {
        return Err(Broken::new("Place::cut is needed, or a store that does not declare `checksummed`"));
    }
    let loaded = match place.open() {
        Ok(store) => store.load_channel(&a()).await,
        Err(error) => Err(error),
    };
    match loaded {
        Ok(loaded) => same!(loaded, data(every_kind()), "shorter, and passed off as whole"),
        Err(error) => holds!(matches!(error.kind, PersistenceErrorKind::Corrupt { .. }), "{error:?}"),
    }
    Ok(())
}

/// While the medium fails, calls fail; when it works again, so do they, and a repeated commit is made once.
pub(super) async fn it_works_again_after_the_medium_did(place: &dyn Place) -> Outcome {
    let store = place.open()?;
    store.commit(&a(), &all(&every_kind()[..2])).await?;
    place.fail_writes(true);
    let commit = all(&every_kind());
    for _ in 0..3 {
        match store.commit(&a(), &commit).await {
            Ok(()) => return Err(Broken::new("acknowledged, and the medium failed")),
            Err(error) => holds!(error.is_retryable(), "{error:?}"),
        }
    }
    place.fail_writes(false);
    // One more failure may show that the store must be opened again.
    if store.commit(&a(), &commit).await.is_err() {
        store.commit(&a(), &commit).await?;
    }
    same!(store.load_channel(&a()).await?, data(every_kind()));
    Ok(())
}

fn crashed(place: &dyn Place) -> Result<Box<dyn Place>, Broken> {
    place
        .crashed()
        .ok_or_else(|| Broken::new("Place::crashed is needed, or a store that does not declare a durability"))
}
