//! Why a request did not do what it was meant to, and what helps.

use std::time::Duration;

use http::StatusCode;
use plainwire_protocol::Problem;
use plainwire_protocol::websocket::{CloseCode, ResponseError};
use thiserror::Error;

/// What went wrong. [`ClientError::remedy`] says what to do about it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The URL cannot be used. The sentence says why.
    #[error("{0}")]
    Url(String),
    /// The request cannot be made: an option has a value that does not fit into it.
    #[error("{0}")]
    Request(String),
    /// Nobody listens there, or nobody can be reached.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, std::io::Error),
    /// The server could not prove who it is, or does not speak TLS as it should.
    #[error("no safe connection to {0}: {1}")]
    Tls(String, String),
    /// The connection broke off.
    #[error("the connection broke off: {0}")]
    Broken(String),
    /// Nothing was heard for so long, not even a heartbeat.
    #[error("nothing was heard for {} s", .0.as_secs_f64())]
    Silent(Duration),
    /// The stream ended without a word.
    #[error("the server ended the stream")]
    Ended,
    /// The server asked to come back after this time: it restarts, or the stream's lifetime is over.
    #[error("the server asked to reconnect")]
    Drained(Duration),
    /// The server refused, and says why.
    #[error("{0}")]
    Refused(Problem),
    /// A finite stream was ended by whoever wrote it, as one that failed.
    #[error("the stream failed{0}")]
    Failed(String),
    /// The server closed the WebSocket.
    #[error("the server closed the WebSocket: {0} {1}")]
    Closed(CloseCode, String),
    /// What answered did not open a WebSocket.
    #[error("{0}")]
    Handshake(#[from] ResponseError),
    /// What was received is not what a Plainwire server sends.
    #[error("{0}")]
    Protocol(String),
    /// A line, an event or an answer that is longer than a client takes.
    #[error("the server sent more than {0} bytes in one piece")]
    TooLong(usize),
    /// Messages are missing, repeated or out of order, and the server did not say so: never seen with a correct server.
    #[error("'{channel}' has a gap: after {after} came {got}")]
    Gap {
        /// The channel.
        channel: String,
        /// The cursor of what was received before.
        after: String,
        /// The cursor of what came next.
        got: String,
    },
}

/// What helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Trying again: not before this time has passed, if there is one.
    Retry(Option<Duration>),
    /// Other credentials.
    Reauthenticate,
    /// Nothing but another request.
    Stop,
}

impl ClientError {
    /// What helps against it.
    pub fn remedy(&self) -> Remedy {
        match self {
            ClientError::Connect(..)
            | ClientError::Broken(_)
            | ClientError::Silent(_)
            | ClientError::Ended => Remedy::Retry(None),
            ClientError::Drained(after) => Remedy::Retry(Some(*after)),
            // One of our own requests, whose answer did not reach us.
            ClientError::Refused(problem) if problem.reason == "key_in_flight" => {
                Remedy::Retry(problem.retry_after)
            }
            ClientError::Refused(problem) => remedy_of(problem.status, problem.retry_after),
            ClientError::Closed(code, _) if is_passing(*code) => Remedy::Retry(None),
            ClientError::Handshake(ResponseError::Status(status)) => remedy_of(status.as_u16(), None),
            ClientError::Url(_)
            | ClientError::Request(_)
            | ClientError::Tls(..)
            | ClientError::Closed(..)
            | ClientError::Handshake(_)
            | ClientError::Protocol(_)
            | ClientError::TooLong(_)
            | ClientError::Failed(_)
            | ClientError::Gap { .. } => Remedy::Stop,
        }
    }

    /// The problem, if it is the server that refused.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            ClientError::Refused(problem) => Some(problem),
            _ => None,
        }
    }

    /// What a connection that broke off says, with its causes.
    pub(super) fn broken(error: &dyn std::error::Error) -> ClientError {
        ClientError::Broken(crate::cause::chain(error))
    }
}

/// A status that speaks of the moment, not of the request.
fn remedy_of(status: u16, after: Option<Duration>) -> Remedy {
    match StatusCode::from_u16(status) {
        Ok(StatusCode::UNAUTHORIZED) => Remedy::Reauthenticate,
        Ok(
            StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT,
        ) => Remedy::Retry(after),
        _ => Remedy::Stop,
    }
}

/// Close codes that speak of the server's moment, not of what we sent.
fn is_passing(code: CloseCode) -> bool {
    [
        CloseCode::NORMAL,
        CloseCode::GOING_AWAY,
        CloseCode::NO_STATUS,
        CloseCode::ABNORMAL,
        CloseCode::INTERNAL,
        CloseCode::RESTART,
        CloseCode::TRY_AGAIN,
        CloseCode::BAD_GATEWAY,
    ]
    .contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_remedy() {
        let after = Some(Duration::from_secs(3));
        let refused =
            |status| ClientError::Refused(Problem { retry_after: after, ..Problem::new(status, "x", "") });
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(refused(status).remedy(), Remedy::Retry(after), "{status}");
        }
        for status in [400, 403, 404, 405, 406, 409, 410, 412, 413, 415, 422, 426, 501] {
            assert_eq!(refused(status).remedy(), Remedy::Stop, "{status}");
        }
        assert_eq!(refused(401).remedy(), Remedy::Reauthenticate);
        let in_flight = ClientError::Refused(Problem::new(409, "key_in_flight", ""));
        assert_eq!(in_flight.remedy(), Remedy::Retry(None));
    }

    #[test]
    fn close_codes_that_blame_the_client_are_final() {
        let closed = |code| ClientError::Closed(CloseCode(code), String::new()).remedy();
        for code in [1001, 1005, 1006, 1011, 1012, 1013] {
            assert_eq!(closed(code), Remedy::Retry(None), "{code}");
        }
        for code in [1002, 1003, 1007, 1008, 1009, 4000] {
            assert_eq!(closed(code), Remedy::Stop, "{code}");
        }
    }
}
