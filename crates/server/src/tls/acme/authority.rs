//! The authority as a server: reached over HTTPS, and given so long.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{HeaderMap, RETRY_AFTER};
use http::{Method, Request};
use http_body_util::Limited;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::super::TlsError;
use super::super::trust::{Trust, client_config};
use super::Orders;

/// How long one answer may take, and how many bytes it may have. The longest is a chain of a few KiB.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ANSWER: usize = 1 << 20;

/// A client for one order: they are weeks apart, and the machine's certificates may have changed since. Redirects are not followed.
#[derive(Clone)]
pub(super) struct Authority {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    /// What it said last when it refused.
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl Authority {
    pub(super) async fn of(orders: &Orders) -> Result<Authority, TlsError> {
        let root = orders.root.clone();
        // Reading the machine's certificates takes milliseconds.
        let config = tokio::task::spawn_blocking(move || match &root {
            Some(root) => client_config(Trust::File(root)),
            None => client_config(Trust::Platform),
        });
        let config = config.await.map_err(|error| TlsError(error.to_string()))??;
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1();
        let client = Client::builder(TokioExecutor::new()).build(connector.build());
        Ok(Authority { client, retry_after: Arc::default() })
    }

    /// How long it wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        *self.retry_after.lock()
    }
}

impl HttpClient for Authority {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (is_directory, url) = (request.method() == Method::GET, request.uri().clone());
        let asked = self.client.request(request);
        let refused = self.retry_after.clone();
        Box::pin(async move {
            let late = || format!("{url} gave no answer within {} s", ANSWER_TIMEOUT.as_secs());
            let answered = timeout(ANSWER_TIMEOUT, asked).await.map_err(|_| Error::Other(late().into()))?;
            let response = answered.map_err(|error| Error::Other(error.into()))?;
            let status = response.status();
            if !status.is_success() {
                *refused.lock() = retry_after(response.headers(), SystemTime::now());
            }
            if is_directory && !status.is_success() {
                return Err(Error::Other(format!("{url} answered {status}").into()));
            }
            Ok(response.map(|body| Limited::new(body, MAX_ANSWER)).into())
        })
    }
}

/// How long a refusal is to be minded (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse().map(Duration::from_secs);
    seconds.ok().or_else(|| httpdate::parse_http_date(text).ok()?.duration_since(now).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_how_long() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 09:49:37 GMT", Some(3600)),
            ("Sun, 06 Nov 1994 07:49:37 GMT", None),
            ("soon", None),
            ("-1", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().expect("a value"))]);
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
