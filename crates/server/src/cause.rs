//! Errors with what they were caused by.

use std::error::Error;

/// An error and its causes, as one line: "client error (Connect)" alone says nothing.
pub(crate) fn chain(error: &(dyn Error + '_)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
