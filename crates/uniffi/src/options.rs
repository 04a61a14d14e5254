//! What a participant is made with.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use reliable_channel::channel::{Config, Join};
use reliable_channel::store::{NoPersistence, Persistence, RedbPersistence};
use reliable_channel::types;

use crate::ChannelError;
use crate::store::{self, Store};

/// Which peers' conventions to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, uniffi::Enum)]
pub enum Dialect {
    /// LIP-109 with this library's filters.
    #[default]
    Lip109,
    /// What js-waku (@waku/sds) speaks.
    JsWaku,
}

/// Options of a participant; what is not set has the default of the dialect. Durations are in milliseconds.
#[derive(Clone, Debug, Default, uniffi::Record)]
pub struct Options {
    /// Where channels are saved: a directory, made where it is not there, which one program at a time has. Without it, and
    /// without a store of your own, nothing is known any more after a restart.
    #[uniffi(default = None)]
    pub directory: Option<String>,
    /// Which peers' conventions to speak. Default LIP-109.
    #[uniffi(default = None)]
    pub dialect: Option<Dialect>,
    /// A newcomer is shown what is said from now on, and up to so many older messages, marked as history. Default 100.
    #[uniffi(default = None)]
    pub join_recent: Option<u64>,
    /// A newcomer is shown nothing before up to so many older messages are there.
    #[uniffi(default = None)]
    pub join_backfill: Option<u64>,
    /// Messages kept in the log. Default 1,000.
    #[uniffi(default = None)]
    pub max_messages: Option<u64>,
    /// Bytes of messages kept in the log. Default 32 MiB.
    #[uniffi(default = None)]
    pub max_log_bytes: Option<u64>,
    /// The wait before an own message is first sent again. Default 5 s.
    #[uniffi(default = None)]
    pub resend_interval: Option<u64>,
    /// How often it is sent again before it is given up. Default 5.
    #[uniffi(default = None)]
    pub max_resends: Option<u32>,
    /// Between two sync messages while there is something new. Default 30 s.
    #[uniffi(default = None)]
    pub sync_interval: Option<u64>,
    /// Compare with others what is held, and fetch all that is missing. Default true, and false for js-waku.
    #[uniffi(default = None)]
    pub catch_up: Option<bool>,
    /// The largest content of a message in bytes. Default 1 MiB.
    #[uniffi(default = None)]
    pub max_content_bytes: Option<u64>,
    /// How long a message waits for what it refers to before it goes ahead. Default 60 s.
    #[uniffi(default = None)]
    pub wait_timeout: Option<u64>,
}

impl Options {
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::of(match self.dialect.unwrap_or_default() {
            Dialect::Lip109 => types::Dialect::Lip109,
            Dialect::JsWaku => types::Dialect::JsWaku,
        });
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        match (self.join_recent, self.join_backfill) {
            (_, Some(messages)) => config.join = Join::Backfill(messages),
            (Some(0), None) => config.join = Join::FromNow,
            (Some(messages), None) => config.join = Join::Recent(messages),
            (None, None) => {}
        }
        set(&mut config.max_message_history, self.max_messages.map(size));
        set(&mut config.max_log_bytes, self.max_log_bytes.map(size));
        set(&mut config.resend_interval, self.resend_interval.map(Duration::from_millis));
        config.max_resend_interval = config.max_resend_interval.max(config.resend_interval);
        set(&mut config.max_resend_attempts, self.max_resends);
        set(&mut config.sync_interval, self.sync_interval.map(Duration::from_millis));
        config.max_sync_interval = config.max_sync_interval.max(config.sync_interval);
        set(&mut config.catch_up, self.catch_up);
        set(&mut config.limits.max_content_bytes, self.max_content_bytes.map(size));
        set(&mut config.wait_timeout, self.wait_timeout.map(Duration::from_millis));
        config
    }

    /// Where channels are saved: in a store of the host's, or in the directory, or nowhere.
    pub(crate) fn store(&self, own: Option<Arc<dyn Store>>) -> Result<Arc<dyn Persistence>, ChannelError> {
        Ok(match (own, &self.directory) {
            (Some(_), Some(_)) => {
                return Err(ChannelError::Options { reason: "a store of your own needs no directory".into() });
            }
            (Some(store), None) => Arc::new(store::persistence(store)?),
            (None, Some(directory)) => Arc::new(RedbPersistence::open(directory)?),
            (None, None) => Arc::new(NoPersistence),
        })
    }
}

fn set<T>(option: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *option = value;
    }
}

/// Where members of a local network meet. All of a group must agree on `group` and `port`.
#[derive(Clone, Debug, Default, uniffi::Record)]
pub struct UdpOptions {
    /// The multicast group. Default 239.255.109.173.
    #[uniffi(default = None)]
    pub group: Option<String>,
    /// The UDP port. Default 47109.
    #[uniffi(default = None)]
    pub port: Option<u16>,
    /// The IPv4 address of the interface. Default: the system's choice, and this machine alone where it has none.
    #[uniffi(default = None)]
    pub interface: Option<String>,
}

impl UdpOptions {
    pub(crate) fn parsed(&self) -> Result<reliable_channel_udp::Options, ChannelError> {
        let address = |text: &String| {
            text.parse::<Ipv4Addr>().map_err(|_| ChannelError::Options { reason: format!("{text} is no IPv4 address") })
        };
        let mut options = reliable_channel_udp::Options::default();
        set(&mut options.group, self.group.as_ref().map(address).transpose()?);
        set(&mut options.port, self.port);
        options.interface = self.interface.as_ref().map(address).transpose()?;
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_has_its_default_and_what_is_set_is_taken() {
        assert_eq!(Options::default().config(), Config::default());
        let options = Options {
            join_recent: Some(0),
            max_messages: Some(7),
            resend_interval: Some(90_000),
            ..Options::default()
        };
        let config = options.config();
        assert_eq!((config.join, config.max_message_history), (Join::FromNow, 7));
        config.validate().unwrap();
        let elsewhere = UdpOptions { group: Some("nowhere".into()), ..UdpOptions::default() };
        assert!(matches!(elsewhere.parsed(), Err(ChannelError::Options { .. })));
    }
}
