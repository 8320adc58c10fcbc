//! The keys that an issuer publishes as a JWK Set (RFC 7517 §5) at a URL. One task fetches them; requests wait for it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AGE, CACHE_CONTROL, HeaderMap, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::Auth;
use super::key::Key;
use super::key_file::{Origin, key_set};
use crate::cause::chain;
use crate::tls::trust::{Trust, client_config};

/// Longest document, in bytes: a hundred keys with their certificates have half of it.
const MAX_DOCUMENT: usize = 1 << 20;
/// Shortest time that a set counts as fresh: an issuer that forbids caching is not asked for every request.
const MIN_FRESH: Duration = Duration::from_secs(10);
/// How long to wait after the first failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest wait after a failure: an issuer that is back is noticed within a minute.
const MAX_RETRY: Duration = Duration::from_secs(60);
/// How much longer than the fetch itself a request waits for its end.
const WAIT_MARGIN: Duration = Duration::from_secs(1);

/// How a set is fetched, as the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// Longest time that it counts as fresh.
    pub(super) max_age: Duration,
    /// Least time between two fetches for the sake of keys that are unknown.
    pub(super) cooldown: Duration,
    /// How long a fetch may take.
    pub(super) timeout: Duration,
}

/// What requests and the task that fetches tell each other.
pub(super) struct Fetches {
    gate: Mutex<Gate>,
    wanted: Notify,
    /// Counts fetches that have ended, in whichever way.
    ended: watch::Sender<u64>,
}

struct Gate {
    /// Whether a fetch is under way, or about to be.
    fetching: bool,
    /// When a request last asked for one.
    asked: Option<Instant>,
}

impl Fetches {
    /// `due`: whether the first fetch is about to begin.
    pub(super) fn new(due: bool) -> Fetches {
        Fetches {
            gate: Mutex::new(Gate { fetching: due, asked: None }),
            wanted: Notify::new(),
            ended: watch::Sender::new(0),
        }
    }

    /// Another configuration is in force; `due` if it has a set that was never fetched.
    pub(super) fn reconfigured(&self, due: bool) {
        self.gate.lock().fetching |= due;
        self.wanted.notify_one();
    }

    /// Waits for a fetch to end: one that is under way, or one that begins for the asking, unless one did so lately. Whether there
    /// was one.
    pub(super) async fn fetched_anew(&self, terms: &Terms) -> bool {
        let mut ended = self.ended.subscribe();
        {
            let mut gate = self.gate.lock();
            if !gate.fetching {
                if gate.asked.is_some_and(|asked| asked.elapsed() < terms.cooldown) {
                    return false;
                }
                gate.asked = Some(Instant::now());
                gate.fetching = true;
                self.wanted.notify_one();
            }
        }
        timeout(terms.timeout + WAIT_MARGIN, ended.changed()).await.is_ok()
    }

    /// Fetches although nobody asks, and waits for the end of it.
    #[cfg(test)]
    pub(super) async fn fetched_now(&self) {
        let mut ended = self.ended.subscribe();
        self.gate.lock().fetching = true;
        self.wanted.notify_one();
        ended.changed().await.expect("it is fetched");
    }

    fn begin(&self) {
        self.gate.lock().fetching = true;
    }

    fn end(&self) {
        self.gate.lock().fetching = false;
        self.ended.send_modify(|count| *count += 1);
    }
}

/// Fetches for as long as it is polled: at once, when a set is not fresh any more, and when a request asks for it.
pub(super) async fn keep_up(auth: &Auth) {
    let mut failures = 0;
    let mut of: Option<Uri> = None;
    let mut due = Instant::now();
    loop {
        let (uri, terms) = {
            let state = auth.state.load();
            (state.jwks.as_ref().map(|jwks| jwks.uri.clone()), state.terms.clone())
        };
        if of != uri {
            (failures, due) = (0, Instant::now());
            of.clone_from(&uri);
            if let Some(uri) = of.as_ref().filter(|uri| is_exposed(uri)) {
                tracing::warn!(url = %uri, "who can change this answer on its way can make tokens: use https");
            }
        }
        let Some(uri) = uri else {
            auth.fetches.wanted.notified().await;
            continue;
        };
        // A fetch that a request has asked for does not wait until it is due.
        let asked = auth.fetches.gate.lock().fetching;
        if !asked && Instant::now() < due {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = auth.fetches.wanted.notified() => {}
            }
            continue;
        }
        auth.fetches.begin();
        let fetched = fetch(&uri, &terms).await;
        let wait = match fetched {
            Ok((keys, fresh)) => {
                failures = 0;
                publish(auth, &uri, keys);
                fresh
            }
            Err(error) => {
                let wait = backoff(failures);
                failures += 1;
                tracing::warn!(url = %uri, %error, retry_in_ms = wait.as_millis(), "the keys of an issuer cannot be fetched");
                wait
            }
        };
        due = Instant::now() + wait;
        auth.fetches.end();
    }
}

/// Whether the answer travels a network as it is.
fn is_exposed(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    uri.scheme_str() == Some("http")
        && host != "localhost"
        && !address.is_ok_and(|address| address.is_loopback())
}

/// Puts what was fetched in force, if it is still asked for.
fn publish(auth: &Auth, uri: &Uri, keys: Vec<Key>) {
    auth.change(|state| {
        let mut next = state.clone();
        let jwks = next.jwks.as_mut().filter(|jwks| jwks.uri == *uri)?;
        if jwks.loaded && *jwks.keys == *keys {
            return None;
        }
        tracing::info!(url = %uri, keys = keys.len(), "the keys of an issuer were fetched");
        (jwks.keys, jwks.loaded) = (keys.into(), true);
        Some(next)
    });
}

/// Doubles with each failure, less a random part, so that nodes do not come back all at once.
fn backoff(failures: u32) -> Duration {
    let longest = FIRST_RETRY.saturating_mul(1 << failures.min(16)).min(MAX_RETRY);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Fetches a set, and says how long it is fresh.
async fn fetch(uri: &Uri, terms: &Terms) -> Result<(Vec<Key>, Duration), FetchError> {
    let fetching = async {
        let client = client(uri).await?;
        let request = Request::get(uri.clone())
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .header(USER_AGENT, concat!("plainwire/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(FetchError::of)?;
        let response = client.request(request).await.map_err(FetchError::of)?;
        let status = response.status();
        if status.is_redirection() {
            let why = format!("it answered {status}; redirects are not followed: configure where it leads");
            return Err(FetchError(why));
        }
        if status != StatusCode::OK {
            return Err(FetchError(format!("it answered {status}")));
        }
        let fresh = fresh_for(response.headers(), terms.max_age);
        let body = Limited::new(response.into_body(), MAX_DOCUMENT).collect().await;
        let body = body.map_err(|error| FetchError(chain(&*error)))?.to_bytes();
        Ok((key_set(&body, Origin::Network).map_err(FetchError)?, fresh))
    };
    match timeout(terms.timeout, fetching).await {
        Ok(fetched) => fetched,
        Err(_) => Err(FetchError(format!("it took longer than {} ms", terms.timeout.as_millis()))),
    }
}

/// A client for one fetch: they are minutes apart, and the machine's certificates may have changed since. Redirects are not followed.
async fn client(uri: &Uri) -> Result<Client<HttpsConnector<HttpConnector>, Empty<Bytes>>, FetchError> {
    let secure = uri.scheme_str() == Some("https");
    // Reading the machine's certificates takes milliseconds.
    let trust = if secure { Trust::Platform } else { Trust::Nobody };
    let config = tokio::task::spawn_blocking(move || client_config(trust)).await.map_err(FetchError::of)?;
    let connector = HttpsConnectorBuilder::new().with_tls_config(config.map_err(FetchError::of)?);
    let connector = if secure { connector.https_only() } else { connector.https_or_http() };
    let mut client = Client::builder(TokioExecutor::new());
    Ok(client.pool_max_idle_per_host(0).build(connector.enable_http1().build()))
}

/// How long a document is fresh by its `Cache-Control` (RFC 9111 §4.2.1), within bounds.
fn fresh_for(headers: &HeaderMap, most: Duration) -> Duration {
    let lines = headers.get_all(CACHE_CONTROL).into_iter().filter_map(|value| value.to_str().ok());
    let directives = lines.flat_map(|line| line.split(',')).map(|one| one.trim().to_ascii_lowercase());
    let mut fresh = None;
    for directive in directives {
        match directive.split_once('=') {
            Some(("max-age", seconds)) => fresh = fresh.or(seconds.trim_matches('"').parse().ok()),
            None if matches!(directive.as_str(), "no-store" | "no-cache") => fresh = Some(0),
            _ => {}
        }
    }
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.parse().ok()).unwrap_or(0);
    let fresh = fresh.map_or(most, |fresh: u64| Duration::from_secs(fresh.saturating_sub(age)));
    fresh.clamp(MIN_FRESH.min(most), most)
}

/// Why a set could not be fetched.
#[derive(Debug)]
struct FetchError(String);

impl FetchError {
    fn of(error: impl std::error::Error) -> FetchError {
        FetchError(chain(&error))
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(lines: &[(&str, &str)]) -> u64 {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        fresh_for(&headers, Duration::from_secs(600)).as_secs()
    }

    #[test]
    fn freshness_has_bounds() {
        assert_eq!(fresh(&[]), 600);
        assert_eq!(fresh(&[("cache-control", "public, max-age=300, must-revalidate")]), 300);
        assert_eq!(fresh(&[("cache-control", "max-age=300"), ("age", "100")]), 200);
        assert_eq!(fresh(&[("cache-control", "max-age=300"), ("age", "1000")]), 10);
        assert_eq!(fresh(&[("cache-control", "MAX-AGE=31536000")]), 600);
        assert_eq!(fresh(&[("cache-control", "max-age=0")]), 10);
        assert_eq!(fresh(&[("cache-control", "private, no-store")]), 10);
        assert_eq!(fresh(&[("cache-control", "max-age=soon, s-maxage=5")]), 600);
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        for url in ["http://localhost:1/a", "http://127.0.0.1/a", "http://[::1]:8/a", "https://i.example/a"] {
            assert!(!is_exposed(&url.parse().unwrap()), "{url}");
        }
        for url in ["http://i.example/a", "http://10.0.0.1/a", "http://[2001:db8::1]/a"] {
            assert!(is_exposed(&url.parse().unwrap()), "{url}");
        }
    }

    #[test]
    fn failures_are_spread() {
        for (failures, longest) in [(0, 1), (1, 2), (5, 32), (6, 60), (400, 60)] {
            let longest = Duration::from_secs(longest);
            for _ in 0..50 {
                let wait = backoff(failures);
                assert!(wait <= longest && wait >= longest / 2, "{failures}: {wait:?}");
            }
        }
    }
}
