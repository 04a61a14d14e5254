//! [`Status`]: how a member stands with the server.

use std::fmt;

/// How a member stands with the server, for those who show it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The connection.
    pub connection: ConnectionStatus,
    /// The stream.
    pub history: HistoryStatus,
    /// What the server refused last, as a subject that this user may not use. Over when there is a new connection, or when
    /// the same was asked for again and not refused.
    pub refused: Option<String>,
    /// Messages on topics of ours that no member sent. They were handed on, and harm nobody: what is none of a channel's
    /// is dropped there. Told again whenever there are twice as many.
    pub foreign: u64,
    /// How often messages were dropped because this process did not read them fast enough.
    pub overflows: u64,
}

impl Status {
    /// Whether the stream keeps what is said.
    pub(crate) fn keeps(&self) -> bool {
        matches!(self.history, HistoryStatus::Kept { .. })
    }
}

impl Default for Status {
    fn default() -> Self {
        let connection = ConnectionStatus::Down("there is no connection yet".to_owned());
        Self { connection, history: HistoryStatus::Off, refused: None, foreign: 0, overflows: 0 }
    }
}

/// Whether there is a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionStatus {
    /// There is.
    Up,
    /// There is none, and why; it is tried again.
    Down(String),
}

/// Whether what is said is kept on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HistoryStatus {
    /// Nobody asked for it.
    Off,
    /// It is looked for.
    Unknown,
    /// It is. Where the stream's limits are not those asked for, how they differ.
    Kept {
        /// Limits that differ.
        differs: Option<String>,
    },
    /// It is not, and what can be done. Messages are sent all the same.
    Failing(String),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.connection {
            ConnectionStatus::Up => f.write_str("connected")?,
            ConnectionStatus::Down(why) => write!(f, "not connected: {why}")?,
        }
        match &self.history {
            HistoryStatus::Off => f.write_str("; nothing is kept")?,
            HistoryStatus::Unknown => f.write_str("; the stream is looked for")?,
            HistoryStatus::Kept { differs: None } => f.write_str("; the stream keeps what is said")?,
            HistoryStatus::Kept { differs: Some(differs) } => write!(f, "; the stream keeps what is said, {differs}")?,
            HistoryStatus::Failing(why) => write!(f, "; nothing is kept: {why}")?,
        }
        if let Some(refused) = &self.refused {
            write!(f, "; refused by the server: {refused}")?;
        }
        if self.foreign > 0 {
            write!(f, "; {} messages that no member sent", self.foreign)?;
        }
        if self.overflows > 0 {
            write!(f, "; messages came too fast {} times", self.overflows)?;
        }
        Ok(())
    }
}
