//! Long poll and short poll: one request after the other over one connection.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use plainwire_protocol::{Json, Position};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::connection::{Connection, collect, expect_media_type, get, refusal};
use super::error::ClientError;
use super::transport::Opening;
use super::update::{Envelope, ends, envelope, payload};
use crate::From;

/// How long a long poll waits, in seconds: as long as a stream's heartbeat, so that the same watchdog fits.
const WAIT_SECONDS: &str = "wait=25";
const PREFER: HeaderName = HeaderName::from_static("prefer");
const CURSOR: &str = "plainwire-cursor";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Long,
    Short,
}

/// A connection over which one page after the other is asked for.
pub(super) struct Pages {
    connection: Connection,
    mode: Mode,
    said: VecDeque<Envelope>,
    /// Whether everything that there was has been received.
    live: bool,
    /// What to ask for next.
    asking: Asking,
    /// The `@reset` that is to be said as soon as it is known whether there is a state to go on with.
    lost: Option<Envelope>,
    /// The version of the state that was received.
    etag: Option<HeaderValue>,
    /// How long to wait before asking.
    pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    /// The newest there is: a state, or else a cursor to go on from.
    Newest,
    /// The messages after the place reached.
    After,
}

impl Pages {
    pub(super) async fn open(opening: &Opening<'_>, mode: Mode) -> Result<Pages, ClientError> {
        let connection = Connection::open(opening.client, opening.endpoint, opening.version()).await?;
        // Whoever watches from now on by short polls wants states, where there are some.
        let newest = match mode {
            Mode::Long => opening.place.from() == From::Now,
            Mode::Short => opening.place.began_now(),
        };
        Ok(Pages {
            connection,
            mode,
            said: VecDeque::new(),
            live: false,
            asking: if newest { Asking::Newest } else { Asking::After },
            etag: opening
                .place
                .cursor()
                .and_then(|cursor| HeaderValue::try_from(format!("\"{cursor}\"")).ok()),
            lost: None,
            pause: Duration::ZERO,
        })
    }

    pub(super) async fn next(&mut self, opening: &Opening<'_>) -> Result<Envelope, ClientError> {
        loop {
            if let Some(envelope) = self.said.pop_front() {
                return Ok(envelope);
            }
            tokio::time::sleep(std::mem::take(&mut self.pause)).await;
            self.ask(opening).await?;
        }
    }

    /// Asks once, and takes what the answer says.
    async fn ask(&mut self, opening: &Opening<'_>) -> Result<(), ClientError> {
        let (uri, headers) = self.request(opening);
        let response = self.connection.ask(get(uri, headers), opening.patience).await?;
        let cursor =
            response.headers().get(CURSOR).and_then(|cursor| cursor.to_str().ok()).map(str::to_owned);
        let ends = ends(response.headers(), opening.place.channels());
        if self.mode == Mode::Short {
            self.pause = opening.interval;
        }
        match response.status() {
            StatusCode::OK => {
                expect_media_type(&response, "application/json")?;
                let etag = response.headers().get(ETAG).cloned();
                let body = collect(response.into_body(), opening.patience).await?;
                self.answer(opening, &body, cursor, etag)?;
                // A page that reaches the end has it among its messages.
                if self.asking == Asking::After && !self.said.iter().any(is_message) {
                    self.said.extend(ends);
                }
                Ok(())
            }
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => {
                collect(response.into_body(), opening.patience).await?;
                self.caught_up(opening, cursor);
                self.said.extend(ends);
                Ok(())
            }
            StatusCode::GONE => {
                let error = refusal(response, opening.patience).await;
                self.reset(opening, error)
            }
            _ => Err(refusal(response, opening.patience).await),
        }
    }

    fn request(&self, opening: &Opening<'_>) -> (Uri, HeaderMap) {
        let mut headers = HeaderMap::new();
        if self.asking == Asking::Newest {
            // Of several channels there is no newest page that ends at one moment, but there is a cursor.
            let parameter = if opening.endpoint.is_live() { ("last", "0") } else { ("limit", "1") };
            headers.extend(self.etag.clone().map(|etag| (IF_NONE_MATCH, etag)));
            return (opening.endpoint.uri(&[parameter]), headers);
        }
        if self.mode == Mode::Long && self.live {
            headers.insert(PREFER, HeaderValue::from_static(WAIT_SECONDS));
        }
        (opening.uri(), headers)
    }

    fn answer(
        &mut self,
        opening: &Opening<'_>,
        body: &Bytes,
        cursor: Option<String>,
        etag: Option<HeaderValue>,
    ) -> Result<(), ClientError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Page<'a> {
            #[serde(borrow)]
            messages: Vec<&'a RawValue>,
            cursor: String,
            #[serde(default)]
            skipped: u64,
        }
        let page = serde_json::from_slice::<Page<'_>>(body)
            .ok()
            .filter(|page| cursor.as_ref() == Some(&page.cursor));
        match (page, self.asking) {
            // A page is what a channel without a state answers.
            (Some(_), Asking::Newest) => {
                self.asking = Asking::After;
                if let Some(reset) = self.lost.take() {
                    self.said.push_back(reset);
                    self.pause = Duration::ZERO;
                    return Ok(());
                }
                match opening.place.cursor() {
                    Some(_) => self.pause = Duration::ZERO,
                    None => self.caught_up(opening, cursor),
                }
            }
            (None, Asking::Newest) => {
                self.etag = etag;
                // Until the state is there, the reader is where it was.
                self.said.extend(self.lost.take().map(|reset| Envelope { cursor: None, ..reset }));
                self.said.push_back(Envelope::bare(
                    Some("@state".to_owned()),
                    cursor.clone(),
                    payload(body)?,
                ));
                self.name(opening);
                if self.mode == Mode::Long {
                    self.asking = Asking::After;
                }
                self.caught_up(opening, cursor);
            }
            (Some(page), Asking::After) if page.messages.is_empty() => self.caught_up(opening, cursor),
            (Some(page), Asking::After) => {
                for message in page.messages {
                    let message = envelope(message.get().as_bytes())?;
                    if page.skipped > 0 {
                        self.skipped_before(opening, &message);
                    }
                    self.said.push_back(message);
                }
                // There may be more, which is worth no pause.
                self.pause = Duration::ZERO;
            }
            (None, Asking::After) => {
                return Err(ClientError::Protocol("the server's answer is no page of messages".to_owned()));
            }
        }
        Ok(())
    }

    /// Says what newer messages replaced before this one, as a stream does: a page has their number alone.
    fn skipped_before(&mut self, opening: &Opening<'_>, message: &Envelope) {
        let cursor = message.cursor.as_ref().and_then(|cursor| cursor.parse::<Position>().ok());
        let (Some(at), Some(channel)) = (cursor, &message.channel) else { return };
        let said = self.said.iter().rev().find(|said| said.channel == message.channel);
        let reached = match said.and_then(|said| said.cursor.as_ref()?.parse().ok()) {
            Some(position) => Some(position),
            None => opening.place.reached(channel),
        };
        let before = Position::new(at.epoch, at.offset.minus(1));
        let Some(count) =
            reached.map(|reached| before.offset.since(reached.offset)).filter(|count| *count > 0)
        else {
            return;
        };
        let data = Json::of(&json!({ "count": count }));
        let skipped = Envelope::bare(Some("@skipped".to_owned()), Some(before.to_string()), data);
        self.said.push_back(Envelope { channel: message.channel.clone(), ..skipped });
    }

    /// Says once that everything up to the cursor was received, as a stream does.
    fn caught_up(&mut self, opening: &Opening<'_>, cursor: Option<String>) {
        if std::mem::replace(&mut self.live, true) {
            return;
        }
        let live = Envelope::bare(Some("@live".to_owned()), None, Json::of(&json!({})));
        self.said.push_back(match opening.endpoint.is_live() {
            true => Envelope { resume: cursor, ..live },
            false => Envelope { cursor, ..live },
        });
        self.name(opening);
    }

    /// A page whose cursor leads nowhere says where to go on: what streams say in-band.
    /// Of several channels it is about one; of a further one the next answer tells.
    fn reset(&mut self, opening: &Opening<'_>, error: ClientError) -> Result<(), ClientError> {
        let ClientError::Refused(problem) = &error else { return Err(error) };
        let member = |name: &str| problem.more.get(name).and_then(|value| value.as_str());
        let points = member("cursor").unwrap_or_default().split('~');
        let reset = match opening.place.channels() {
            [only] => Some(only).zip(member("cursor")),
            several => several.iter().zip(points).find(|(channel, _)| member("channel") == Some(channel)),
        };
        let Some((channel, point)) = reset else { return Err(error) };
        let reason = Json::of(&json!({ "reason": problem.reason }));
        let reset = Envelope::bare(Some("@reset".to_owned()), Some(point.to_owned()), reason);
        let reset = Envelope { channel: Some(channel.clone()), ..reset };
        if opening.endpoint.is_live() {
            self.said.push_back(reset);
        } else {
            (self.lost, self.asking, self.etag) = (Some(reset), Asking::Newest, None);
        }
        self.pause = Duration::ZERO;
        self.live = false;
        Ok(())
    }

    /// Names the channel of what was said last, where there is but one.
    fn name(&mut self, opening: &Opening<'_>) {
        if let (Some(last), [channel]) = (self.said.back_mut(), opening.place.channels())
            && !opening.endpoint.is_live()
        {
            last.channel = Some(channel.clone());
        }
    }
}

/// Whether it is of the channel's log.
fn is_message(envelope: &Envelope) -> bool {
    envelope.at.is_some()
}
