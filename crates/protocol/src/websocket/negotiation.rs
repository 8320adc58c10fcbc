//! Agreeing on permessage-deflate (RFC 7692 §7.1).

use std::fmt::Write;

use super::extension::{Extension, Malformed, parse_extensions};
use super::{Deflater, Inflater, Role};

const PERMESSAGE_DEFLATE: &str = "permessage-deflate";

/// The largest window, 32 KiB, and what a peer that says nothing uses.
const MAX_WINDOW_BITS: u8 = 15;

/// What a server allows, or a client asks for, of permessage-deflate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateConfig {
    /// Whether messages may be compressed at all.
    pub enabled: bool,
    /// The server's messages may refer to those before. Off by default: then one compressed message serves all subscribers.
    pub server_context_takeover: bool,
    /// The client's messages may refer to those before. Off by default: then nothing is held between messages.
    pub client_context_takeover: bool,
    /// The largest window that the server compresses with, 8 to 15 bits.
    pub server_max_window_bits: u8,
    /// The smallest window that the server compresses with, 8 to 15 bits: an offer that wants a smaller one is declined. A server that
    /// shares its compressed messages sets it to the window that it shares them at.
    pub server_min_window_bits: u8,
    /// The largest window that the client compresses with, 8 to 15 bits, if it can be told.
    pub client_max_window_bits: u8,
}

impl Default for DeflateConfig {
    fn default() -> DeflateConfig {
        DeflateConfig {
            enabled: true,
            server_context_takeover: false,
            client_context_takeover: false,
            server_max_window_bits: MAX_WINDOW_BITS,
            server_min_window_bits: 8,
            client_max_window_bits: MAX_WINDOW_BITS,
        }
    }
}

/// What both ends agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The server's messages may refer to those before.
    pub server_context_takeover: bool,
    /// The client's messages may refer to those before.
    pub client_context_takeover: bool,
    /// The server's window.
    pub server_window_bits: u8,
    /// The client's window.
    pub client_window_bits: u8,
}

/// The parameters of an offer or a response, each at most once.
#[derive(Clone, Copy, Debug, Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// `Some(None)`: without a value, as only an offer may have it.
    client_max_window_bits: Option<Option<u8>>,
}

impl DeflateConfig {
    /// No compression.
    pub const OFF: DeflateConfig = DeflateConfig {
        enabled: false,
        server_context_takeover: false,
        client_context_takeover: false,
        server_max_window_bits: MAX_WINDOW_BITS,
        server_min_window_bits: 8,
        client_max_window_bits: MAX_WINDOW_BITS,
    };

    /// What a client puts into `Sec-WebSocket-Extensions`; `None` if it wants no compression.
    pub fn offer(&self) -> Option<String> {
        let parameters = Parameters {
            server_no_context_takeover: !self.server_context_takeover,
            client_no_context_takeover: !self.client_context_takeover,
            server_max_window_bits: below_max(self.server_max_window_bits),
            // Without a value it says that the client can be told.
            client_max_window_bits: Some(below_max(self.client_max_window_bits)),
        };
        self.enabled.then(|| parameters.header())
    }

    /// A server's choice among the offers in the lines of `Sec-WebSocket-Extensions`: the first that can be accepted, with
    /// the line to answer.
    pub(super) fn choose<'a>(
        &self,
        lines: impl Iterator<Item = &'a str>,
    ) -> Result<Option<(Agreed, String)>, Malformed> {
        let mut chosen = None;
        // The whole header must be well-formed, whatever is chosen.
        for line in lines {
            for offer in parse_extensions(line)? {
                chosen = chosen.or_else(|| self.answer(&offer));
            }
        }
        Ok(chosen)
    }

    fn answer(&self, offer: &Extension) -> Option<(Agreed, String)> {
        let offer = Parameters::of(offer).filter(|_| self.enabled)?;
        let server_bits =
            self.server_max_window_bits.min(offer.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS));
        if server_bits < self.server_min_window_bits {
            return None;
        }
        // A client that did not say so cannot be told which window to use.
        let client_bits = offer
            .client_max_window_bits
            .map(|bits| self.client_max_window_bits.min(bits.unwrap_or(MAX_WINDOW_BITS)));
        let response = Parameters {
            server_no_context_takeover: offer.server_no_context_takeover || !self.server_context_takeover,
            client_no_context_takeover: offer.client_no_context_takeover || !self.client_context_takeover,
            server_max_window_bits: offer
                .server_max_window_bits
                .map_or(below_max(server_bits), |_| Some(server_bits)),
            client_max_window_bits: client_bits.and_then(below_max).map(Some),
        };
        Some((response.agreed(), response.header()))
    }

    /// A client's check of the response to its [`offer`](DeflateConfig::offer): the sentence says what is wrong.
    pub(super) fn check<'a>(
        &self,
        lines: impl Iterator<Item = &'a str>,
    ) -> Result<Option<Agreed>, &'static str> {
        let mut extensions = Vec::new();
        for line in lines {
            extensions
                .extend(parse_extensions(line).map_err(|Malformed| "Sec-WebSocket-Extensions is malformed")?);
        }
        let response = match extensions.as_slice() {
            [] => return Ok(None),
            [response] if self.enabled && response.name == PERMESSAGE_DEFLATE => Parameters::of(response),
            _ => return Err("the server answered an extension that was not offered"),
        };
        let response = response.ok_or("the server answered permessage-deflate with invalid parameters")?;
        let server_bits = response.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS);
        if response.client_max_window_bits == Some(None) {
            return Err("the server answered client_max_window_bits without a value");
        }
        if !self.server_context_takeover && !response.server_no_context_takeover {
            return Err("the server did not agree to server_no_context_takeover");
        }
        if server_bits > self.server_max_window_bits {
            return Err("the server did not agree to server_max_window_bits");
        }
        if response.client_max_window_bits.flatten().is_some_and(|bits| bits > self.client_max_window_bits) {
            return Err("the server answered a larger client_max_window_bits than offered");
        }
        let agreed = response.agreed();
        Ok(Some(Agreed {
            client_context_takeover: agreed.client_context_takeover && self.client_context_takeover,
            client_window_bits: agreed.client_window_bits.min(self.client_max_window_bits),
            ..agreed
        }))
    }
}

impl Agreed {
    /// Inflates what the other end sends.
    pub fn inflater(&self, role: Role) -> Inflater {
        match role {
            Role::Server => Inflater::new(self.client_window_bits, self.client_context_takeover),
            Role::Client => Inflater::new(self.server_window_bits, self.server_context_takeover),
        }
    }

    /// Deflates what this end sends.
    pub fn deflater(&self, role: Role) -> Deflater {
        match role {
            Role::Server => Deflater::new(self.server_window_bits, self.server_context_takeover),
            Role::Client => Deflater::new(self.client_window_bits, self.client_context_takeover),
        }
    }
}

impl Parameters {
    /// The parameters of permessage-deflate; `None` if it is another extension, or one of them is unknown, repeated or invalid
    /// (RFC 7692 §7.1 has such an offer declined and such a response refused).
    fn of(extension: &Extension) -> Option<Parameters> {
        let mut found = Parameters::default();
        for (name, value) in &extension.parameters {
            let repeated = match (name.as_str(), value.as_deref()) {
                ("server_no_context_takeover", None) => {
                    std::mem::replace(&mut found.server_no_context_takeover, true)
                }
                ("client_no_context_takeover", None) => {
                    std::mem::replace(&mut found.client_no_context_takeover, true)
                }
                ("server_max_window_bits", Some(bits)) => {
                    found.server_max_window_bits.replace(parse_bits(bits)?).is_some()
                }
                ("client_max_window_bits", None) => found.client_max_window_bits.replace(None).is_some(),
                ("client_max_window_bits", Some(bits)) => {
                    found.client_max_window_bits.replace(Some(parse_bits(bits)?)).is_some()
                }
                _ => return None,
            };
            if repeated {
                return None;
            }
        }
        (extension.name == PERMESSAGE_DEFLATE).then_some(found)
    }

    fn agreed(&self) -> Agreed {
        Agreed {
            server_context_takeover: !self.server_no_context_takeover,
            client_context_takeover: !self.client_no_context_takeover,
            server_window_bits: self.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS),
            client_window_bits: self.client_max_window_bits.flatten().unwrap_or(MAX_WINDOW_BITS),
        }
    }

    fn header(&self) -> String {
        let mut header = PERMESSAGE_DEFLATE.to_owned();
        if self.server_no_context_takeover {
            header.push_str("; server_no_context_takeover");
        }
        if self.client_no_context_takeover {
            header.push_str("; client_no_context_takeover");
        }
        if let Some(bits) = self.server_max_window_bits {
            let _ = write!(header, "; server_max_window_bits={bits}");
        }
        match self.client_max_window_bits {
            Some(Some(bits)) => drop(write!(header, "; client_max_window_bits={bits}")),
            Some(None) => header.push_str("; client_max_window_bits"),
            None => {}
        }
        header
    }
}

/// A window as a parameter, left out where it is the largest anyway.
fn below_max(bits: u8) -> Option<u8> {
    (bits < MAX_WINDOW_BITS).then_some(bits)
}

/// 8 to 15, without leading zeros (RFC 7692 §7.1.2.1).
fn parse_bits(text: &str) -> Option<u8> {
    match text {
        "8" | "9" => text.parse().ok(),
        "10" | "11" | "12" | "13" | "14" | "15" => text.parse().ok(),
        _ => None,
    }
}
