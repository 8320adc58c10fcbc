//! Server-Sent Events and NDJSON: one answer that does not end.

use std::collections::VecDeque;

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::body::Incoming;
use plainwire_protocol::{ndjson, sse};

use super::connection::{Connection, Driver, chunk, expect_media_type, get, refusal};
use super::error::ClientError;
use super::lines::Lines;
use super::sse::{Event, Parsed, Parser};
use super::transport::{Opening, Said};
use super::update::{Envelope, ends, envelope, payload};

/// How a stream's bytes are read.
pub(super) enum Framing {
    /// Events whose data is the bare payload.
    Sse(Parser, String),
    /// Events whose data is the envelope.
    SseMany(Parser),
    Ndjson(Lines),
}

/// A stream under way.
pub(super) struct Stream {
    body: Incoming,
    framing: Framing,
    said: VecDeque<Said>,
    _driver: Driver,
}

impl Framing {
    fn media_type(&self) -> &'static str {
        match self {
            Framing::Sse(..) | Framing::SseMany(_) => sse::MEDIA_TYPE,
            Framing::Ndjson(_) => ndjson::MEDIA_TYPE,
        }
    }

    /// Takes the next bytes and gives what they complete.
    fn push(&mut self, bytes: &[u8], out: &mut VecDeque<Said>) -> Result<(), ClientError> {
        let (parser, channel) = match self {
            Framing::Sse(parser, channel) => (parser, Some(&*channel)),
            Framing::SseMany(parser) => (parser, None),
            Framing::Ndjson(lines) => {
                let mut whole = Vec::new();
                lines.push(bytes, &mut whole)?;
                for line in whole {
                    out.push_back(Said::Envelope(envelope(&line)?));
                }
                return Ok(());
            }
        };
        let mut parsed = Vec::new();
        parser.push(bytes, &mut parsed)?;
        for parsed in parsed {
            out.push_back(match parsed {
                Parsed::Retry(after) => Said::Retry(after),
                Parsed::Event(event) => Said::Envelope(enveloped(event, channel)?),
            });
        }
        Ok(())
    }
}

/// The envelope of an event: its parts on a stream of one channel, its data on a stream of several.
fn enveloped(event: Event, channel: Option<&String>) -> Result<Envelope, ClientError> {
    match channel {
        Some(channel) => {
            let bare = Envelope::bare(event.name, event.id, payload(event.data.as_bytes())?);
            Ok(Envelope { channel: Some(channel.clone()), ..bare })
        }
        None => Ok(Envelope { resume: event.id, ..envelope(event.data.as_bytes())? }),
    }
}

impl Stream {
    pub(super) async fn open(opening: &Opening<'_>, framing: Framing) -> Result<Stream, ClientError> {
        let mut connection = Connection::open(opening.client, opening.endpoint, opening.version()).await?;
        let media_type = framing.media_type();
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(media_type))]);
        let response = connection.ask(get(opening.uri(), headers), opening.patience).await?;
        let mut said = VecDeque::new();
        match response.status() {
            StatusCode::OK => expect_media_type(&response, media_type)?,
            // All channels ended before, and nothing will come.
            StatusCode::NO_CONTENT => {
                let ends = ends(response.headers(), opening.place.channels());
                said.extend(ends.into_iter().map(Said::Envelope));
            }
            _ => return Err(refusal(response, opening.patience).await),
        }
        let body = response.into_body();
        Ok(Stream { body, framing, said, _driver: connection.into_driver() })
    }

    pub(super) async fn next(&mut self, opening: &Opening<'_>) -> Result<Said, ClientError> {
        loop {
            if let Some(said) = self.said.pop_front() {
                return Ok(said);
            }
            let bytes = chunk(&mut self.body, opening.patience).await?.ok_or(ClientError::Ended)?;
            self.framing.push(&bytes, &mut self.said)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut framing: Framing, text: &str) -> Vec<Said> {
        let mut said = VecDeque::new();
        framing.push(text.as_bytes(), &mut said).unwrap();
        said.into()
    }

    #[test]
    fn every_framing_gives_envelopes() {
        let one = "retry: 5\n\nid: x.1\nevent: e\ndata: {\"a\":1}\n\n";
        let [Said::Retry(_), Said::Envelope(envelope)] =
            &read(Framing::Sse(Parser::default(), "a".into()), one)[..]
        else {
            panic!("a retry and an event")
        };
        let text = r#"{"channel":"a","cursor":"x.1","event":"e","data":{"a":1}}"#;
        assert_eq!(serde_json::to_string(envelope).unwrap(), text);

        let many = format!("id: 0~x.1\nevent: e\ndata: {text}\n\n");
        let [Said::Envelope(envelope)] = &read(Framing::SseMany(Parser::default()), &many)[..] else {
            panic!("one event")
        };
        assert_eq!((envelope.resume.as_deref(), envelope.cursor.as_deref()), (Some("0~x.1"), Some("x.1")));

        let [Said::Envelope(envelope)] = &read(Framing::Ndjson(Lines::default()), &format!("{text}\n"))[..]
        else {
            panic!("one line")
        };
        assert_eq!(envelope.channel.as_deref(), Some("a"));
    }

    #[test]
    fn data_that_is_no_json_is_not_passed_on() {
        let mut framing = Framing::Sse(Parser::default(), "a".into());
        let error = framing.push(b"data: hello\n\n", &mut VecDeque::new()).unwrap_err();
        assert!(matches!(error, ClientError::Protocol(_)), "{error}");
    }
}
