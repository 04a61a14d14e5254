//! An error in one line.

use std::error::Error;

/// What an error says, and what led to it, for people: texts that one before them has already are left out.
///
/// ```
/// use reliable_channel::types::with_causes;
///
/// let cause = std::io::Error::other("the disk is full");
/// let error = std::io::Error::other(cause);
/// assert_eq!(with_causes(&error), "the disk is full");
/// ```
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Said(&'static str, #[source] Option<Box<Self>>);

    #[test]
    fn each_cause_is_said_once() {
        let last = Said("no room", None);
        let middle = Said("writing: no room", Some(Box::new(last)));
        let error = Said("the store failed", Some(Box::new(middle)));
        assert_eq!(with_causes(&error), "the store failed: writing: no room");
    }
}
