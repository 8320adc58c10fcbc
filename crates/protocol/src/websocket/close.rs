//! Close codes, and what ends a connection that broke the protocol.

use std::fmt;

/// Longest reason in a close frame, in bytes: a control frame's payload less the two bytes of the code (RFC 6455 §5.5).
pub const MAX_CLOSE_REASON: usize = 123;

/// A close status code (RFC 6455 §7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose was fulfilled.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// The server stops, or the browser leaves the page.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// A kind of message that is not taken, such as binary where text is expected.
    pub const UNSUPPORTED: CloseCode = CloseCode(1003);
    /// What an API reports when the close frame had no code. Never on the wire.
    pub const NO_STATUS: CloseCode = CloseCode(1005);
    /// What an API reports when the connection ended without a close frame. Never on the wire.
    pub const ABNORMAL: CloseCode = CloseCode(1006);
    /// Text that is not UTF-8, or compressed data that cannot be inflated.
    pub const INVALID_PAYLOAD: CloseCode = CloseCode(1007);
    /// Refused by policy.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// A frame or message above the limit.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// The client needs an extension that the server did not negotiate.
    pub const EXTENSION_REQUIRED: CloseCode = CloseCode(1010);
    /// The server failed.
    pub const INTERNAL: CloseCode = CloseCode(1011);
    /// The server restarts, or the connection's lifetime is over: reconnect.
    pub const RESTART: CloseCode = CloseCode(1012);
    /// The server is overloaded: reconnect later.
    pub const TRY_AGAIN: CloseCode = CloseCode(1013);
    /// A gateway got a bad answer from behind it.
    pub const BAD_GATEWAY: CloseCode = CloseCode(1014);

    /// The credential is missing, wrong or over: what HTTP says with 401 (IANA registry of close codes).
    pub const UNAUTHORIZED: CloseCode = CloseCode(3000);
    /// The credential does not permit it: what HTTP says with 403 (IANA registry).
    pub const FORBIDDEN: CloseCode = CloseCode(3003);

    /// Whether the code may stand in a close frame: those registered for it (§7.4.1 and the IANA registry),
    /// those of libraries (3000–3999) and private ones (4000–4999).
    pub const fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The peer broke the protocol or a limit: what to say in the close frame that ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The code to close with.
    pub code: CloseCode,
    /// The reason to close with, at most [`MAX_CLOSE_REASON`] bytes.
    pub reason: &'static str,
}

impl Fault {
    pub(super) const fn protocol(reason: &'static str) -> Fault {
        Fault { code: CloseCode::PROTOCOL_ERROR, reason }.checked()
    }

    pub(super) const fn payload(reason: &'static str) -> Fault {
        Fault { code: CloseCode::INVALID_PAYLOAD, reason }.checked()
    }

    pub(super) const fn too_big(reason: &'static str) -> Fault {
        Fault { code: CloseCode::TOO_BIG, reason }.checked()
    }

    const fn checked(self) -> Fault {
        assert!(self.reason.len() <= MAX_CLOSE_REASON && self.code.may_be_sent());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.reason)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_meant_for_the_wire_may_be_sent() {
        let sendable = |code: &u16| CloseCode(*code).may_be_sent();
        let expected: Vec<u16> =
            [1000, 1001, 1002, 1003].into_iter().chain(1007..=1014).chain(3000..=4999).collect();
        assert_eq!((0..=u16::MAX).filter(sendable).collect::<Vec<_>>(), expected);
    }
}
