//! Calls of guests to the outside. Owns the allow list and a plain HTTP/1.1 client; never follows a
//! redirect, and never speaks TLS.

use crate::logs::Record;
use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderName, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, Result, WasiBody, WasiHttpHooks,
};

/// Where a guest did not say how long it waits, and at most if it did. Its own wall limit ends it sooner.
const CONNECT_MAX: Duration = Duration::from_secs(10);
const FIRST_BYTE_MAX: Duration = Duration::from_secs(600);
const HTTP_PORT: u16 = 80;

/// The hosts a capsule may call.
pub(crate) struct Allowed(Vec<String>);

impl Allowed {
    pub fn new(hosts: Vec<String>) -> Self {
        Allowed(
            hosts
                .into_iter()
                .map(|host| host.to_ascii_lowercase())
                .collect(),
        )
    }

    /// `name` allows every port of it, `name:port` that one.
    fn allows(&self, authority: &Authority) -> bool {
        let host = authority.host().to_ascii_lowercase();
        let port = authority.port_u16().unwrap_or(HTTP_PORT);
        self.0
            .iter()
            .any(|allowed| *allowed == host || *allowed == format!("{host}:{port}"))
    }
}

/// What wasi:http asks its embedder, for one request's guest.
pub(crate) struct Hooks {
    pub allowed: Arc<Allowed>,
    pub record: Arc<Record>,
}

type Connection = Box<dyn Future<Output = Result<()>> + Send>;
type Answer = Result<(Response<WasiBody>, Connection)>;

impl WasiHttpHooks for Hooks {
    /// The same names as by default, told apart by their length first: asked for every header of every
    /// request.
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        let text = name.as_str();
        matches!(text.len(), 4 | 7 | 10 | 14 | 16 | 17 | 18 | 19)
            && DEFAULT_FORBIDDEN_HEADERS
                .iter()
                .any(|forbidden| forbidden == name)
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Connection,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        match self.check(request.uri()) {
            Ok(authority) => Box::new(send(authority, request, options)),
            Err((error, why)) => {
                self.record
                    .complain(&format!("call to {} refused: {why}", request.uri()));
                Box::new(std::future::ready(Err(error)))
            }
        }
    }
}

impl Hooks {
    fn check(&self, uri: &Uri) -> std::result::Result<Authority, (Error, &'static str)> {
        let Some(authority) = uri.authority() else {
            return Err((Error::HttpRequestUriInvalid, "it names no host"));
        };
        if !self.allowed.allows(authority) {
            return Err((
                Error::HttpRequestDenied,
                "the capsule's outgoing list does not name the host",
            ));
        }
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err((
                Error::TlsProtocolError,
                "only http:// can be called, not https://",
            ));
        }
        Ok(authority.clone())
    }
}

async fn send(
    authority: Authority,
    mut request: Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Answer {
    let options = options.unwrap_or(RequestOptions {
        connect_timeout: None,
        first_byte_timeout: None,
        between_bytes_timeout: None,
    });
    let connect = options
        .connect_timeout
        .unwrap_or(CONNECT_MAX)
        .min(CONNECT_MAX);
    let first_byte = options
        .first_byte_timeout
        .unwrap_or(FIRST_BYTE_MAX)
        .min(FIRST_BYTE_MAX);
    let place = (authority.host(), authority.port_u16().unwrap_or(HTTP_PORT));
    let io = timeout(connect, TcpStream::connect(place)).await;
    let io = io
        .map_err(|_| Error::ConnectionTimeout)?
        .map_err(Error::Connect)?;
    io.set_nodelay(true).map_err(Error::Connect)?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .handshake(TokioIo::new(io))
        .await?;
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    // Driven here until the head is in; what is left of it is the guest's to drive.
    let mut connection = Box::pin(connection);
    let response = tokio::select! {
        biased;
        response = timeout(first_byte, sender.send_request(request)) => response,
        ended = &mut connection => {
            ended?;
            return Err(Error::ConnectionTerminated);
        }
    };
    let response = response.map_err(|_| Error::HttpResponseTimeout)??;
    let response = response.map(|body: hyper::body::Incoming| {
        body.map_err(Error::from)
            .map_frame(|frame| frame.map_data(Bytes::from))
            .boxed_unsync()
    });
    Ok((
        response,
        Box::new(async move { connection.await.map_err(Error::from) }),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forbidden_is_what_is_by_default() {
        let record = Arc::new(Record::new(1, 1));
        let mut hooks = Hooks {
            allowed: Arc::new(Allowed::new(vec![])),
            record,
        };
        for name in &DEFAULT_FORBIDDEN_HEADERS {
            assert!(hooks.is_forbidden_header(name), "{name}");
        }
        for name in [
            "date",
            "accept",
            "user-agent",
            "content-length",
            "x-forwarded-host",
        ] {
            assert!(
                !hooks.is_forbidden_header(&HeaderName::from_static(name)),
                "{name}"
            );
        }
    }

    #[test]
    fn only_listed_hosts_are_allowed() {
        let allowed = Allowed::new(vec!["Example.com".into(), "db:5000".into(), "[::1]".into()]);
        let allows = |text: &str| allowed.allows(&text.parse().unwrap());
        assert!(allows("example.com") && allows("EXAMPLE.com:8080"));
        assert!(allows("db:5000") && !allows("db") && !allows("db:5001"));
        assert!(allows("[::1]:7"));
        assert!(!allows("example.com.evil.test") && !allows("notexample.com"));
        assert!(!Allowed::new(vec![]).allows(&"example.com".parse().unwrap()));
    }
}
