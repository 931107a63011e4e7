//! One request and its answer.

use std::time::{Duration, SystemTime};

use ureq::Agent;
use ureq::http::{HeaderMap, Uri};
use ureq::tls::{RootCerts, TlsConfig};

use crate::{Kind, Trouble};

/// Larger answers are not read.
const MAX_ANSWER: u64 = 64 << 20;

/// Posts JSON to one address. Shared freely between threads; connections are kept and used again.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    url: String,
    bearer: Option<String>,
    timeout: Duration,
}

/// A whole answer with a status of success.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Its body.
    pub body: Vec<u8>,
}

impl Client {
    /// A client of `url`, each request limited to `timeout` from connecting to the end of the answer. Certificates are
    /// held against those of the system (`SSL_CERT_FILE` names others); no proxy is used.
    ///
    /// # Errors
    /// What is wrong with the address, in words.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, String> {
        let wrong = || format!("must be an address http://host:port/path or https://..., not `{url}`");
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        if !known || uri.host().is_none_or(str::is_empty) {
            return Err(wrong());
        }
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .tls_config(tls)
            .build();
        Ok(Self { agent: config.into(), url: url.to_owned(), bearer: None, timeout })
    }

    /// Sends `Authorization: Bearer KEY` with each request.
    #[must_use]
    pub fn with_bearer(mut self, key: Option<String>) -> Self {
        self.bearer = key;
        self
    }

    /// The address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Posts a body of JSON.
    ///
    /// # Errors
    /// No whole answer with a status of success.
    pub fn post(&self, body: &[u8]) -> Result<Reply, Trouble> {
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        if let Some(key) = &self.bearer {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request.send(body).map_err(|error| self.trouble(&error))?;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        let body = body.map_err(|error| self.trouble(&error))?;
        if status.is_success() {
            return Ok(Reply { body });
        }
        let busy = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
        let kind = if busy { Kind::Busy } else { Kind::Refused(status.as_u16()) };
        Err(Trouble { why: format!("status {status}: {}", quoted(&body)), kind, retry_after })
    }

    fn trouble(&self, error: &ureq::Error) -> Trouble {
        use std::io::ErrorKind;
        let kind = match error {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => Kind::Unreachable,
            ureq::Error::Timeout(_) => Kind::Slow,
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::Tls(_) => {
                Kind::Unreachable
            }
            ureq::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => Kind::Unreachable,
            _ => Kind::Broken,
        };
        let why = match kind {
            Kind::Slow => format!("no answer within {:?}", self.timeout),
            _ => error.to_string(),
        };
        Trouble { why, kind, retry_after: None }
    }
}

/// `Retry-After` as seconds or as a date (RFC 9110, 10.2.3); `retry-after-ms`, which OpenAI sends, is finer.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let seconds = |x: f64| Duration::try_from_secs_f64(x).ok();
    if let Some(ms) = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return seconds(ms / 1000.0);
    }
    let text = text("retry-after")?;
    match text.parse::<f64>() {
        Ok(x) => seconds(x),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

/// The beginning of what was said, for messages.
pub fn quoted(bytes: &[u8]) -> String {
    const MOST: usize = 160;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * MOST)]).into_owned();
    let short: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if short.len() < bytes.len() { format!("`{short} ...`") } else { format!("`{short}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let client = |url| Client::new(url, Duration::from_secs(1));
        for good in ["http://127.0.0.1:1/x", "https://example.org/v1/chat/completions"] {
            assert_eq!(client(good).unwrap().url(), good);
        }
        for bad in ["", "example.org/v1", "ftp://example.org", "http://a b", "http://"] {
            assert!(client(bad).unwrap_err().contains("must be an address"), "{bad}");
        }
    }

    #[test]
    fn waits_that_servers_ask_for() {
        let wait = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(wait("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("retry-after", " 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(wait("retry-after-ms", "40"), Some(Duration::from_millis(40)));
        assert_eq!(wait("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert!(wait("retry-after", "Sat, 06 Nov 2094 08:49:37 GMT") > Some(Duration::from_secs(1 << 30)));
        for bad in ["soon", "-1", "nan", "1e300"] {
            assert_eq!(wait("retry-after", bad), None, "{bad}");
        }
    }
}
