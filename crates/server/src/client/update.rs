//! What a watch gives.

use std::time::Duration;

use http::HeaderMap;
use plainwire_protocol::Json;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::ClientError;

/// What a watch gives, one after the other.
#[derive(Debug)]
#[non_exhaustive]
pub enum Update {
    /// A message.
    Message(Envelope),
    /// `@state`: the channel's whole state as of the cursor. What follows changes it.
    State(Envelope),
    /// `@live`: everything up to the cursor was delivered.
    Live(Envelope),
    /// `@end`: the channel has ended, and this is the last of it. A watch of which all channels have ended ends too; with
    /// [`ClientError::Failed`] if one of them failed.
    Ended(Envelope),
    /// `@skipped`: the channel conflates, and newer messages replaced those up to the cursor.
    Skipped(Envelope),
    /// `@reset`: continuity was lost. Delivery goes on after the cursor; without one, with the state, which comes next.
    Reset(Envelope),
    /// The connection is gone, and a new one is tried after this time, from the cursor reached.
    Reconnecting {
        /// How long is waited.
        after: Duration,
        /// Why it is gone.
        cause: ClientError,
    },
}

/// A message or a control event, as the server says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Envelope {
    /// The channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Where the reader stands after it, in that channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The kind of message; begins with `@` on a control event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The payload.
    pub data: Json,
    /// `base64`, if the payload stands for bytes: a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// When it was published, in milliseconds since 1970. Server-Sent Events of one channel do not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// Who published it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Where a watch of several channels resumes: one cursor for all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
}

impl Envelope {
    /// What a transport that carries no envelopes says of a channel.
    pub(super) fn bare(event: Option<String>, cursor: Option<String>, data: Json) -> Envelope {
        Envelope { channel: None, cursor, event, data, encoding: None, at: None, from: None, resume: None }
    }

    /// The word for why continuity was lost, on a `@reset`; how the channel ended, on an `@end`.
    pub fn reason(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Reset {
            reason: String,
        }
        self.data.to::<Reset>().ok().map(|reset| reset.reason)
    }

    /// What went wrong, as whoever ended the stream says it: its problem's `detail`, or `title`.
    pub(super) fn failure(&self) -> String {
        #[derive(Deserialize)]
        struct End {
            problem: Details,
        }
        #[derive(Deserialize)]
        struct Details {
            detail: Option<String>,
            title: Option<String>,
        }
        let end = self.data.to::<End>().ok();
        let said = end.and_then(|End { problem }| problem.detail.or(problem.title));
        said.map(|said| format!(": {said}")).unwrap_or_default()
    }

    /// How many messages newer ones replaced, on a `@skipped`.
    pub fn skipped(&self) -> u64 {
        #[derive(Deserialize)]
        struct Skipped {
            count: u64,
        }
        self.data.to::<Skipped>().map_or(0, |skipped| skipped.count)
    }

    /// How long to wait, on a `@drain`.
    pub(super) fn reconnect_after(&self) -> Duration {
        #[derive(Deserialize)]
        struct Drain {
            reconnect_in_ms: u64,
        }
        self.data.to::<Drain>().map(|drain| Duration::from_millis(drain.reconnect_in_ms)).unwrap_or_default()
    }
}

/// Reads an envelope. Members that are not known are of a later day.
pub(super) fn envelope(text: &[u8]) -> Result<Envelope, ClientError> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        channel: Option<String>,
        cursor: Option<String>,
        event: Option<String>,
        #[serde(borrow)]
        data: &'a RawValue,
        encoding: Option<String>,
        at: Option<u64>,
        from: Option<String>,
        resume: Option<String>,
    }
    let wire: Wire<'_> = serde_json::from_slice(text)
        .map_err(|error| ClientError::Protocol(format!("what was received is no envelope: {error}")))?;
    let Wire { channel, cursor, event, data, encoding, at, from, resume } = wire;
    Ok(Envelope { channel, cursor, event, data: payload(data.get().as_bytes())?, encoding, at, from, resume })
}

/// What an answer says that tells of the end of all channels: an `@end` for each.
pub(super) fn ends(headers: &HeaderMap, channels: &[String]) -> Vec<Envelope> {
    let words = headers.get("plainwire-ended").and_then(|words| words.to_str().ok()).unwrap_or_default();
    let words = words.split(',').map(str::trim).filter(|word| !word.is_empty());
    let end = |(channel, word): (&String, &str)| Envelope {
        channel: Some(channel.clone()),
        ..Envelope::bare(Some("@end".to_owned()), None, Json::of(&serde_json::json!({ "reason": word })))
    };
    channels.iter().zip(words).map(end).collect()
}

/// Reads a payload.
pub(super) fn payload(text: &[u8]) -> Result<Json, ClientError> {
    Json::parse(text)
        .map_err(|error| ClientError::Protocol(format!("the data of a message is no JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_comes_out_as_it_went_in() {
        let text = r#"{"channel":"a","cursor":"0123456789.7","event":"edited","data":{"n":1e400},"at":5,"from":"ann"}"#;
        let received = envelope(text.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&received).unwrap(), text);
        let text = r#"{"event":"@ping","data":{}}"#;
        assert_eq!(serde_json::to_string(&envelope(text.as_bytes()).unwrap()).unwrap(), text);
    }

    #[test]
    fn unknown_members_are_passed_over_and_junk_is_not() {
        let many = br#"{"data":1,"resume":"0~*","later":true}"#;
        assert_eq!(envelope(many).unwrap().resume.as_deref(), Some("0~*"));
        for junk in ["", "1", "{}", "{\"data\":1", "{\"data\":1,\"cursor\":2}"] {
            assert!(envelope(junk.as_bytes()).is_err(), "{junk}");
        }
    }
}
