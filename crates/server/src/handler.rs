//! An app that decides a channel's commands itself: asked over HTTP, its refusals are passed on as they are.
//!
//! ```text
//! POST /the/handler HTTP/1.1
//! content-type: application/json
//!
//! {"channel":"seats/7","command":"book","args":{"seats":2},"state":{"left":40},"cursor":"k3f9x7q2mz.12"}
//! ```
//! A 2xx answers with `{"state":…}`, and perhaps `event` and `data` for the message that tells of it. The channel's `schema` and
//! rules hold for that state too. A 4xx is the answer to whoever sent the command, word for word. Anything else is 502 or 504. In
//! each case but the first nothing happened. The app may be asked again for the same command, if the channel moved on meanwhile.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use plainwire_hub::machine::MAX_STATE_BYTES;
use plainwire_protocol::{ChannelName, EventName, Json, Position, Problem, Verbatim};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::tls::trust::{Trust, client_config};

/// Bytes of an app's answer: a state, and what surrounds it.
const MAX_ANSWER: usize = 2 * MAX_STATE_BYTES;
/// How long an unused connection to an app is kept: less than most servers keep theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Where an app is asked.
pub struct Handler {
    uri: Uri,
    timeout: Duration,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// What an app is asked.
pub(crate) struct Question<'a> {
    pub(crate) channel: &'a ChannelName,
    pub(crate) command: &'a str,
    /// The command's body: a JSON object, or nothing.
    pub(crate) args: &'a [u8],
    pub(crate) state: &'a Json,
    pub(crate) position: Position,
}

/// What an app decided, for the state that it was asked about.
#[derive(Clone, Debug)]
pub(crate) enum Decision {
    Change { state: Json, event: Option<EventName>, data: Option<Json> },
    Refusal(Problem),
}

impl Handler {
    /// An app at a URL, given so long to answer.
    pub(crate) fn new(url: &str, timeout: Duration) -> Result<Handler, String> {
        let uri: Uri = url.parse().map_err(|error| format!("not a URL: {error}"))?;
        let config = match uri.scheme_str().filter(|_| uri.host().is_some()) {
            // Never asked for: the connector goes by the URL.
            Some("http") => client_config(Trust::Nobody),
            Some("https") => client_config(Trust::Platform),
            _ => return Err("an http:// or https:// URL is expected".to_owned()),
        };
        let config = config.map_err(|error| error.to_string())?;
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build();
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_idle_timeout(IDLE_TIMEOUT).pool_timer(TokioTimer::new());
        Ok(Handler { uri, timeout, client: builder.build(connector) })
    }

    /// How long the app may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks the app.
    ///
    /// # Errors
    /// It failed, or cannot be asked this of any state.
    pub(crate) async fn decide(&self, question: &Question<'_>) -> Result<Decision, Problem> {
        let body = question.to_json()?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let asked = async {
            let response = self.client.request(request).await.map_err(|error| self.failed(&error))?;
            let (parts, body) = response.into_parts();
            let body =
                Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| self.failed(&*error))?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        let late = |_| {
            let detail =
                format!("the app did not answer within {} ms; nothing was changed", self.timeout.as_millis());
            Problem::new(504, "handler_timeout", detail)
        };
        let response = timeout(self.timeout, asked).await.map_err(late)??;
        self.judge(&response)
    }

    fn judge(&self, response: &Response<Bytes>) -> Result<Decision, Problem> {
        match response.status().as_u16() {
            200..300 => read_decision(response.body()).map_err(|error| self.failed(&*error)),
            status @ 400..500 => {
                let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
                let said = Verbatim {
                    media_type: media_type.unwrap_or("application/octet-stream").to_owned(),
                    body: response.body().clone(),
                };
                let mut problem = Problem::new(status, "handler", "refused by the app");
                problem.verbatim = Some(Box::new(said));
                Ok(Decision::Refusal(problem))
            }
            status => Err(self.failed(&format!("it answered {status}"))),
        }
    }

    fn failed(&self, error: &(impl fmt::Display + ?Sized)) -> Problem {
        tracing::warn!(handler = %self.uri, %error, "an app could not decide a command");
        Problem::new(502, "handler", "the app that decides this command failed; nothing was changed")
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler")
            .field("uri", &self.uri)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Question<'_> {
    fn to_json(&self) -> Result<Bytes, Problem> {
        let args = if self.args.is_empty() { b"{}" } else { self.args };
        let args = Json::parse(args).map_err(|error| Problem::new(400, "body_json", error))?;
        if !args.as_bytes().starts_with(b"{") {
            return Err(Problem::new(400, "arguments", "the arguments of a command are a JSON object"));
        }
        let channel = Json::of(self.channel);
        let (command, state, cursor) = (Json::of(self.command), self.state, self.position);
        let text = format!(
            "{{\"channel\":{channel},\"command\":{command},\"args\":{args},\"state\":{state},\"cursor\":\"{cursor}\"}}"
        );
        Ok(text.into())
    }
}

fn read_decision(body: &[u8]) -> Result<Decision, Box<dyn std::error::Error + Send + Sync>> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        state: &'a RawValue,
        event: Option<String>,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    let answer: Answer<'_> = serde_json::from_slice(body)?;
    Ok(Decision::Change {
        state: Json::parse(answer.state.get().as_bytes())?,
        event: answer.event.as_deref().map(EventName::parse).transpose()?,
        data: answer.data.map(|data| Json::parse(data.get().as_bytes())).transpose()?,
    })
}
