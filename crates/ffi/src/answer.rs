//! What a host is answered: a text, or why not, in the words of nim-sds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use reliable_channel::channel::ChannelError;
use reliable_channel::manager::{Fault, ManagerError};

use crate::text::Text;

/// What the host did wrong, told before anything was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("libsds error: message pointer is NULL but length > 0")]
    NoMessage,
    #[error("libsds error: message ID pointer is NULL")]
    NoMessageId,
    #[error("libsds error: channel ID pointer is NULL")]
    NoChannel,
    #[error("libsds error: channel ID is empty string")]
    EmptyChannel,
    #[error("libsds error: MessageIDs pointer is NULL but count > 0")]
    NoMessageIds,
}

/// What can be asked for, by the name that nim-sds has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Create,
    Cleanup,
    Reset,
    Wrap,
    Unwrap,
    MarkDependenciesMet,
    StartPeriodicTasks,
}

impl Request {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE_RELIABILITY_MANAGER",
            Self::Cleanup => "CLEANUP_RELIABILITY_MANAGER",
            Self::Reset => "RESET_RELIABILITY_MANAGER",
            Self::Wrap => "WRAP_MESSAGE",
            Self::Unwrap => "UNWRAP_MESSAGE",
            Self::MarkDependenciesMet => "MARK_DEPENDENCIES_MET",
            Self::StartPeriodicTasks => "START_PERIODIC_TASKS",
        }
    }
}

/// Why something was not done: nim-sds's `ReliabilityError`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("reInvalidArgument")]
    InvalidArgument,
    #[error("reOutOfMemory")]
    OutOfMemory,
    #[error("reInternalError")]
    Internal,
    #[error("reDeserializationError")]
    Deserialization,
    #[error("reMessageTooLarge")]
    MessageTooLarge,
}

impl From<ManagerError> for Failure {
    fn from(error: ManagerError) -> Self {
        match &error {
            ManagerError::Channel(ChannelError::TooLarge { .. }) => Self::MessageTooLarge,
            ManagerError::Channel(ChannelError::OutgoingFull) | ManagerError::TooManyChannels { .. } => {
                Self::OutOfMemory
            }
            // Asked for while another thread cleans up.
            ManagerError::ShutDown => Self::Internal,
            _ => match error.fault() {
                Fault::Peer => Self::Deserialization,
                Fault::Caller => Self::InvalidArgument,
                _ => Self::Internal,
            },
        }
    }
}

/// Does what is asked and words the outcome. A panic ends here, as a failure: it must not reach the host.
pub(crate) fn answer(request: Request, work: impl FnOnce() -> Result<Text, Failure>) -> Result<Text, Text> {
    let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Failure::Internal));
    outcome
        .map_err(|failure| Text::from(format!("error processing {} request: {failure}", request.name()).into_bytes()))
}

#[cfg(test)]
mod tests {
    use reliable_channel::types::ChannelId;

    use super::*;

    #[test]
    fn failures_are_worded_as_nim_sds_words_them() {
        let failed = answer(Request::Wrap, || Err(Failure::InvalidArgument)).unwrap_err();
        assert_eq!(failed.as_bytes(), b"error processing WRAP_MESSAGE request: reInvalidArgument");
    }

    #[test]
    fn a_panic_is_a_failure() {
        let panicked = answer(Request::Unwrap, || panic!("a defect")).unwrap_err();
        assert_eq!(panicked.as_bytes(), b"error processing UNWRAP_MESSAGE request: reInternalError");
    }

    #[test]
    fn errors_keep_whose_fault_they_are() {
        let channel = || ChannelId::from("room");
        for (error, failure) in [
            (ManagerError::Channel(ChannelError::EmptyContent), Failure::InvalidArgument),
            (ManagerError::Channel(ChannelError::IdKnown("a".into())), Failure::InvalidArgument),
            (ManagerError::UnknownChannel(channel()), Failure::InvalidArgument),
            (
                ManagerError::Channel(ChannelError::TooLarge { what: "content", len: 2, max: 1 }),
                Failure::MessageTooLarge,
            ),
            (ManagerError::Channel(ChannelError::OutgoingFull), Failure::OutOfMemory),
            (ManagerError::TooManyChannels { max: 1 }, Failure::OutOfMemory),
            (ManagerError::Channel(ChannelError::NoKind), Failure::Deserialization),
            (ManagerError::ShutDown, Failure::Internal),
            (ManagerError::ChannelFailed(channel()), Failure::Internal),
        ] {
            assert_eq!(Failure::from(error), failure);
        }
    }
}
