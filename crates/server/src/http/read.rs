//! `GET`: short poll, page, long poll, streams, and the way into a WebSocket.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, IF_NONE_MATCH, VARY};
use http::request::Parts;
use http::{HeaderMap, Method, Response, Version};
use plainwire_hub::Start;
use plainwire_hub::access::Right;
use plainwire_hub::finite::Finish;
use plainwire_protocol::{ChannelName, Cursor, Point, Problem, ndjson, sse, websocket};

use super::Live;
use super::body::Body;
use super::query::{self, Live as Streamed, Query};
use super::reply::Keep;
use super::upgrade::How;
use super::{reply, upgrade};
use crate::access::Caller;
use crate::access_log::Record;
use crate::channels::OpenChannel;
use crate::limits::{StreamGuard, peer_of};
use crate::metrics::{Http, Transport};
use crate::node::Node;
use crate::operation::{Page, PageRequest, next_page, page, parse_since, start_of};
use crate::stream::{Framing, Opening, Resume};

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Where a read begins in each of its channels.
pub(super) struct Places {
    pub(super) channels: Vec<(ChannelName, Start)>,
    /// Whether the client said where.
    given: bool,
}

/// What a read begins with: channels that exist and may be read, and a place in each.
pub(super) struct Begin {
    pub(super) channels: Vec<(OpenChannel, Start)>,
    given: bool,
    pub(super) caller: Caller,
}

impl Begin {
    /// One that reads nothing yet.
    pub(super) fn nothing(caller: Caller) -> Begin {
        Begin { channels: Vec::new(), given: false, caller }
    }

    pub(super) fn opening(
        self,
        node: &Arc<Node>,
        framing: Framing,
        guard: Option<StreamGuard>,
        request: &Parts,
    ) -> Opening {
        Opening {
            node: node.clone(),
            caller: self.caller,
            watched: self.channels,
            framing,
            guard,
            http: http(request),
            record: record(request),
            relay: None,
        }
    }
}

/// Answers a read of channels: `many` for `/_/live`, whatever the number.
pub(super) async fn read(
    node: &Arc<Node>,
    caller: Caller,
    names: Vec<ChannelName>,
    many: bool,
    query: &Query<'_>,
    request: &mut Parts,
) -> Result<Response<Body>, Problem> {
    if names.is_empty() && !is_websocket(request) {
        return Err(query::bad("channel", "is missing: /_/live?channel=a&channel=b"));
    }
    let places = places(names, query, &request.headers)?;
    let permitted =
        places.channels.iter().try_for_each(|(name, _)| node.permit(&caller, Right::Watch, name, None));
    match permitted {
        // It may show its credential in its first message.
        Err(problem) if problem.status == 401 && is_websocket(request) => {
            return upgrade::await_credential(
                node,
                caller,
                places,
                How { many, raw: query.binary()? },
                request,
            );
        }
        permitted => permitted?,
    }
    let begin = open(node, caller, places).await?;
    if is_websocket(request) {
        return upgrade::upgrade(node, begin, How { many, raw: query.binary()? }, request);
    }
    if request.method == Method::CONNECT {
        return Err(Problem::new(405, "method", "CONNECT takes ':protocol' websocket (RFC 8441)")
            .with("allow", "GET"));
    }
    let live = if request.method == Method::HEAD { Streamed::No } else { query.live(&request.headers)? };
    if live != Streamed::No
        && let Some((cursor, endings)) = all_over(&begin)
    {
        return Ok(reply::nothing(&cursor, Some(&endings)));
    }
    match live {
        Streamed::No => poll(node, begin, many, query, request).await,
        live => stream(node, begin, many, live, request),
    }
}

/// Where all channels ended, and how, if the reader stands there already: nothing will come any more.
fn all_over(begin: &Begin) -> Option<(Cursor, Vec<Finish>)> {
    let over = |(channel, start): &(OpenChannel, Start)| {
        let (at, end) = channel.end()?;
        let Start::After(position) = *start else { return None };
        (channel.locate(position) == Some(at)).then(|| (Point::After(at), Finish::of(&end)))
    };
    let all = begin.channels.iter().map(over).collect::<Option<Vec<_>>>().filter(|all| !all.is_empty())?;
    let (points, endings): (Vec<Point>, Vec<Finish>) = all.into_iter().unzip();
    Some((points.into_iter().collect(), endings))
}

/// Over which version of HTTP a request came.
fn http(request: &Parts) -> Http {
    if request.version == Version::HTTP_2 { Http::Two } else { Http::One }
}

fn places(names: Vec<ChannelName>, query: &Query<'_>, headers: &HeaderMap) -> Result<Places, Problem> {
    let points = match query.since(headers)? {
        Some(since) => Some(parse_since(since, &names)?),
        None => None,
    };
    let last = query.last()?;
    let given = points.is_some() || last.is_some();
    let starts: Vec<Start> = match (points, last) {
        (Some(points), _) => points.into_iter().map(start_of).collect(),
        (None, Some(count)) => vec![Start::Last(count); names.len()],
        (None, None) => vec![Start::Now; names.len()],
    };
    let changes = query.delta()?;
    let starts: Vec<Start> =
        starts.into_iter().map(|start| if changes { start.as_changes() } else { start }).collect();
    Ok(Places { channels: names.into_iter().zip(starts).collect(), given })
}

async fn open(node: &Arc<Node>, caller: Caller, places: Places) -> Result<Begin, Problem> {
    let Places { channels, given } = places;
    let mut open = Vec::with_capacity(channels.len());
    if let [(name, start)] = &channels[..] {
        open.push(node.channels().open_at(name, *start).await?);
    } else {
        let all = channels.iter().map(|(name, start)| node.channels().open_at(name, *start));
        open = Box::pin(try_join_all(all)).await?;
    }
    let starts = channels.into_iter().map(|(_, start)| start);
    Ok(Begin { channels: open.into_iter().zip(starts).collect(), given, caller })
}

/// Counts a stream, as far as there is anything to count it for.
pub(super) fn count(node: &Node, request: &Parts, caller: &Caller) -> Result<Option<StreamGuard>, Problem> {
    node.admission().stream(&node.config(), peer_of(request), caller.address, caller.subject())
}

fn stream(
    node: &Arc<Node>,
    begin: Begin,
    many: bool,
    live: Streamed,
    request: &Parts,
) -> Result<Response<Body>, Problem> {
    let guard = count(node, request, &begin.caller)?;
    let points = begin.channels.iter().map(|(channel, start)| (channel.name().clone(), point_of(*start)));
    let resume = many.then(|| Resume::new(points.collect()));
    let (framing, media_type) = match live {
        Streamed::Sse => (Framing::sse(resume), sse::MEDIA_TYPE),
        _ => (Framing::ndjson(resume), ndjson::MEDIA_TYPE),
    };
    let transport = framing.transport();
    let mut response =
        Response::new(Body::stream(begin.opening(node, framing, guard, request)).of(transport));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    // An EventSource never looks into the cache; for `fetch` Chromium lets a second request of the same URL wait for
    // the first, which here never ends, unless nothing may be stored.
    let caching =
        if live == Streamed::Sse { "no-cache, no-transform" } else { "no-cache, no-transform, no-store" };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// The point of a feed of which nothing was delivered yet.
fn point_of(start: Start) -> Point {
    match start {
        Start::After(position) | Start::Changes(Some(position)) => Point::After(position),
        // More than was asked for, should the stream be cut before the first item; never less.
        Start::Oldest | Start::Last(_) => Point::Oldest,
        Start::Now | Start::Changes(None) => Point::Now,
    }
}

async fn poll(
    node: &Arc<Node>,
    begin: Begin,
    many: bool,
    query: &Query<'_>,
    request: &Parts,
) -> Result<Response<Body>, Problem> {
    let headers = &request.headers;
    if query.delta()? {
        return Err(query::bad("delta", "is for streams and WebSockets: a page has messages as they are"));
    }
    let limit = query.limit(&node.config())?;
    let wait = query.wait(headers, &node.config())?;
    let raw = query::wants_bytes(headers);
    if wait.is_some()
        && let Some((cursor, endings)) = all_over(&begin)
    {
        return Ok(reply::nothing(&cursor, Some(&endings)).map(|body| body.of(Transport::LongPoll)));
    }
    let Begin { mut channels, given, caller } = begin;
    // Only a page that begins at a position stays what it is: what is oldest, or newest, moves on, and newer messages replace
    // others where the channel conflates.
    let fixed = !many
        && channels
            .iter()
            .all(|(channel, start)| matches!(start, Start::After(_)) && channel.config().conflate.is_none());
    let keep = match (&caller.principal, fixed) {
        (Some(_), _) => Keep::Private,
        (None, true) => Keep::Full,
        (None, false) => Keep::Asking,
    };
    if wait.is_none() && !given {
        if let [(channel, _)] = &channels[..]
            && let Some((position, state)) = channel.snapshot()
        {
            let cursor = Cursor::from_iter([Point::After(position)]);
            return Ok(reply::state(headers, &cursor, &state, keep).map(|body| body.of(Transport::Poll)));
        }
        for (_, start) in &mut channels {
            *start = Start::Last(limit as u64);
        }
    }
    let Some(wait) = wait else {
        let _guard = node.admission().request(&node.config())?;
        let transport = if given { Transport::Page } else { Transport::Poll };
        let page = Box::pin(page(node.channels(), PageRequest { channels, limit })).await?;
        return Ok(reply::page(headers, page, raw, keep).map(|body| body.of(transport)));
    };
    let guard = count(node, request, &caller)?;
    let terms = PollTerms { limit, wait, keep, raw, if_none_match: headers.get(IF_NONE_MATCH).cloned() };
    let deadline = Instant::now() + wait;
    if super::is_takeable(request) {
        let poll = OpeningPoll { watched: channels, caller, terms, deadline, guard, record: record(request) };
        return Ok(Response::new(Body::live(Live::Poll(poll))));
    }
    let page = next_page(node, caller, PageRequest { channels, limit }, deadline.into(), http(request));
    let page = Box::pin(page).await;
    Ok(terms.answer(page))
}

/// A long poll that has not begun: whoever serves it begins it.
pub(crate) struct OpeningPoll {
    pub(crate) watched: Vec<(OpenChannel, Start)>,
    pub(crate) caller: Caller,
    pub(crate) terms: PollTerms,
    pub(crate) deadline: Instant,
    /// Its request, if that is told of.
    pub(crate) record: Option<Arc<Record>>,
    pub(crate) guard: Option<StreamGuard>,
}

/// What the answer to a long poll depends on, beside what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PollTerms {
    /// Most messages.
    pub(crate) limit: usize,
    wait: Duration,
    /// Who may keep the answer.
    keep: Keep,
    /// Whether bytes are sent as they are.
    raw: bool,
    if_none_match: Option<HeaderValue>,
}

impl PollTerms {
    /// The answer, when something came or the time is over.
    pub(crate) fn answer(&self, page: Result<Page, Problem>) -> Response<Body> {
        let page = match page {
            Ok(page) => page,
            Err(problem) => return reply::problem(&problem).map(|body| body.of(Transport::LongPoll)),
        };
        let mut response = if page.messages.is_empty() {
            reply::nothing(&page.cursor, page.endings.as_deref())
        } else {
            let mut headers = HeaderMap::new();
            headers.extend(self.if_none_match.clone().map(|tag| (IF_NONE_MATCH, tag)));
            reply::page(&headers, page, self.raw, self.keep)
        };
        let applied = format!("wait={}", self.wait.as_secs());
        let applied = HeaderValue::from_str(&applied).expect("ASCII");
        response.headers_mut().insert("preference-applied", applied);
        response.map(|body| body.of(Transport::LongPoll))
    }
}

/// What is told of a request, if it is.
fn record(request: &Parts) -> Option<Arc<Record>> {
    request.extensions.get::<Arc<Record>>().cloned()
}

/// Whether a request is a WebSocket handshake of either kind, in order or not.
pub(super) fn is_websocket(request: &Parts) -> bool {
    match request.method {
        Method::CONNECT => {
            let protocol = request.extensions.get::<hyper::ext::Protocol>();
            protocol.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case("websocket"))
        }
        _ => websocket::wants_websocket(&request.headers),
    }
}
