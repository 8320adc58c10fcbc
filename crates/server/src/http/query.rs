//! What a read asks for, by its query and headers.

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderMap;
use http::header::ACCEPT;
use plainwire_protocol::{ChannelName, Problem, Target};

use crate::config::Config;
use crate::operation::DEFAULT_LIMIT;

/// The media type of bytes, and of pages in which they are as they are.
pub(super) const BYTES: &str = "application/octet-stream";

/// How changes of a state are told: RFC 7396.
pub(crate) const MERGE_PATCH: &str = "merge-patch";

/// A request's query, decoded.
#[derive(Debug, Default)]
pub(super) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// How an answer to a read is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Live {
    /// One answer, now or after a wait.
    No,
    Sse,
    Ndjson,
}

impl<'q> Query<'q> {
    pub(super) fn parse(query: Option<&'q str>) -> Query<'q> {
        Query(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect())
    }

    /// Text that is not UTF-8 means nothing: replaced by U+FFFD it would name something else than what was asked for.
    pub(super) fn check(query: Option<&str>) -> Result<(), Problem> {
        match percent_encoding::percent_decode_str(query.unwrap_or_default()).decode_utf8() {
            Ok(_) => Ok(()),
            Err(_) => Err(Problem::new(400, "query", "the query is not UTF-8")),
        }
    }

    /// The value of a parameter, which may be given once.
    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.0.iter().filter(|(n, _)| n == name).map(|(_, value)| &**value);
        let value = values.next();
        match values.next() {
            Some(_) => Err(bad(name, "is given twice")),
            None => Ok(value),
        }
    }

    /// The channels of `/_/live`, in the order of the request: at most so many.
    pub(super) fn channels(&self, most: usize) -> Result<Vec<ChannelName>, Problem> {
        let values = self.0.iter().filter(|(name, _)| name == "channel").map(|(_, value)| value);
        // First: looking for the same name twice takes the square of their number.
        if values.clone().count() > most {
            return Err(Problem::new(400, "query", format!("at most {most} channels over one connection")));
        }
        let names: Vec<_> = values.map(|value| channel_name(value)).collect::<Result<_, _>>()?;
        let repeated = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name));
        match repeated {
            Some((_, name)) => Err(bad("channel", &format!("names '{name}' twice"))),
            None => Ok(names),
        }
    }

    /// Where to begin: the first of `since`, `Last-Event-ID` and its two spellings as a parameter.
    pub(super) fn since<'a>(&'a self, headers: &'a HeaderMap) -> Result<Option<&'a str>, Problem> {
        if let Some(since) = self.get("since")? {
            return Ok(Some(since));
        }
        if let Some(id) = headers.get("last-event-id") {
            let id = id.to_str().map_err(|_| Problem::new(400, "cursor", "Last-Event-ID is not ASCII"))?;
            // An EventSource that has received no id yet sends none, but polyfills send an empty one.
            return Ok(Some(id).filter(|id| !id.is_empty()));
        }
        let id = self.get("last_event_id")?.or(self.get("lastEventId")?);
        Ok(id.filter(|id| !id.is_empty()))
    }

    pub(super) fn limit(&self, config: &Config) -> Result<usize, Problem> {
        let most = config.server.page_limit;
        match self.number("limit")? {
            None => Ok(DEFAULT_LIMIT.min(most)),
            Some(0) => Err(bad("limit", "must be at least 1")),
            Some(limit) => Ok(usize::try_from(limit).unwrap_or(usize::MAX).min(most)),
        }
    }

    pub(super) fn last(&self) -> Result<Option<u64>, Problem> {
        self.number("last")
    }

    /// How long to wait for a message: `?wait=` or `Prefer: wait=` (RFC 7240 §4.3), in seconds, bounded by the configuration.
    pub(super) fn wait(&self, headers: &HeaderMap, config: &Config) -> Result<Option<Duration>, Problem> {
        let preferred = || {
            let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
            let mut preferences = preferences.flat_map(|value| value.split([',', ';']));
            preferences.find_map(|one| {
                let (name, value) = one.split_once('=')?;
                let value = value.trim().trim_matches('"');
                // A preference that makes no sense is ignored (RFC 7240 §2).
                name.trim().eq_ignore_ascii_case("wait").then(|| value.parse().ok()).flatten()
            })
        };
        let seconds = self.number("wait")?.or_else(preferred);
        Ok(seconds
            .filter(|&seconds| seconds > 0)
            .map(|s| Duration::from_secs(s).min(config.server.long_poll_max)))
    }

    /// `?live=`, else what `Accept` asks for (RFC 9110 §12.5.1).
    pub(super) fn live(&self, headers: &HeaderMap) -> Result<Live, Problem> {
        match self.get("live")? {
            Some("sse") => return Ok(Live::Sse),
            Some("ndjson") => return Ok(Live::Ndjson),
            Some(_) => return Err(bad("live", "is 'sse' or 'ndjson'")),
            None => {}
        }
        let ranges =
            headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
        let mut best = (0.0, Live::No);
        for range in ranges {
            let mut parts = range.split(';');
            let media_type = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
            let weight =
                parts.find_map(|part| part.trim().strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
            let live = match media_type.as_str() {
                "text/event-stream" => Live::Sse,
                "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Live::Ndjson,
                "application/json" | "*/*" | "application/*" => Live::No,
                _ => continue,
            };
            if weight > best.0 {
                best = (weight, live);
            }
        }
        Ok(best.1)
    }

    /// Whether a WebSocket sends bytes as they are: `?binary=true`.
    pub(super) fn binary(&self) -> Result<bool, Problem> {
        match self.get("binary")? {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(bad("binary", "is 'true' or 'false'")),
        }
    }

    /// Whether changes of a state are asked for: `?delta=merge-patch`.
    pub(super) fn delta(&self) -> Result<bool, Problem> {
        match self.get("delta")? {
            None => Ok(false),
            Some(MERGE_PATCH) => Ok(true),
            Some(_) => Err(bad("delta", "is 'merge-patch'")),
        }
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        match self.get(name)? {
            None => Ok(None),
            Some(text) => match text.parse() {
                Ok(number) if digits(text) => Ok(Some(number)),
                _ => Err(bad(name, "must be a whole number")),
            },
        }
    }
}

/// Whether `Accept` asks for a page in which bytes are as they are.
pub(super) fn wants_bytes(headers: &HeaderMap) -> bool {
    let ranges = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = ranges.flat_map(|value| value.split(','));
    ranges.any(|range| {
        let media_type = range.split(';').next().unwrap_or_default().trim();
        media_type.eq_ignore_ascii_case(BYTES)
    })
}

/// A channel as a parameter or a WebSocket request names it: its path, or its name.
pub(crate) fn channel_name(text: &str) -> Result<ChannelName, Problem> {
    let name = match text.strip_prefix('/') {
        Some(_) => Target::parse(text).and_then(|target| match target.command {
            None => Ok(target.channel),
            Some(_) => Err(plainwire_protocol::NameError::Character(':')),
        }),
        None => ChannelName::requested(text),
    };
    name.map_err(|error| Problem::new(400, "channel_name", error))
}

/// Reads everything that a query and headers can say.
pub(crate) fn read_query(query: &str, headers: &HeaderMap, config: &Config) {
    let query = Query::parse(Some(query));
    let _ = (query.channels(config.server.max_channels_per_connection), query.since(headers));
    let _ = (query.limit(config), query.last(), query.wait(headers, config), query.live(headers));
}

pub(super) fn bad(name: &str, what: &str) -> Problem {
    Problem::new(400, "query", format!("the parameter '{name}' {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(accept: &str, query: &str) -> Result<Live, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        Query::parse(Some(query)).live(&headers)
    }

    #[test]
    fn the_transport_is_negotiated() {
        assert_eq!(live("*/*", ""), Ok(Live::No));
        assert_eq!(live("text/html, application/xhtml+xml, */*;q=0.8", ""), Ok(Live::No));
        assert_eq!(live("text/event-stream", ""), Ok(Live::Sse));
        assert_eq!(live("application/x-ndjson", ""), Ok(Live::Ndjson));
        assert_eq!(live("application/json;q=0.5, text/event-stream", ""), Ok(Live::Sse));
        assert_eq!(live("text/event-stream;q=0, application/json", ""), Ok(Live::No));
        assert_eq!(live("text/event-stream", "live=ndjson"), Ok(Live::Ndjson));
        assert_eq!(live("*/*", "live=telegraph").unwrap_err().reason, "query");
    }

    #[test]
    fn waiting_is_preferred_in_seconds() {
        let config = Config::dev();
        let wait = |prefer: &str, query: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", prefer.parse().unwrap());
            Query::parse(Some(query)).wait(&headers, &config)
        };
        assert_eq!(wait("wait=25", ""), Ok(Some(Duration::from_secs(25))));
        assert_eq!(wait("respond-async, wait=\"5\"", ""), Ok(Some(Duration::from_secs(5))));
        assert_eq!(wait("wait=25", "wait=3"), Ok(Some(Duration::from_secs(3))));
        assert_eq!(wait("wait=99999", ""), Ok(Some(config.server.long_poll_max)));
        assert_eq!(wait("wait=soon", ""), Ok(None));
        assert_eq!(wait("wait=0", ""), Ok(None));
        assert_eq!(wait("", "wait=soon").unwrap_err().reason, "query");
        assert_eq!(wait("", "wait=-1").unwrap_err().reason, "query");
    }

    #[test]
    fn parameters_are_given_once() {
        let query = Query::parse(Some("since=0&since=1&limit=x"));
        assert_eq!(query.since(&HeaderMap::new()).unwrap_err().reason, "query");
        assert_eq!(query.limit(&Config::dev()).unwrap_err().reason, "query");
    }
}
