//! What a gateway checks of a request's head, removes from heads, and adds to them. Owns no body and no
//! connection.

use crate::capsule::random;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Version};
use std::borrow::Cow;
use std::fmt::Write;

/// Says to another node which capsule a forwarded request is for. Such a request is never forwarded
/// again.
pub const CAPSULE: HeaderName = HeaderName::from_static("falak-capsule");
/// On an answer between nodes: there is no copy here.
pub const NOT_HERE: HeaderName = HeaderName::from_static("falak-not-here");
/// Headers of this beginning are between nodes only: nobody else may send them in or out.
const INTERNAL: &str = "falak-";
const HOST_MAX_BYTES: usize = 255;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Why a request is refused before anybody is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    NoHost,
    TwoHosts,
    OtherHost,
    NotAHost,
    TwoLengths,
    /// CONNECT and `*`: this is no proxy, and the gateway itself has nothing to tell.
    NotForACapsule,
}

impl Bad {
    pub fn text(self) -> &'static str {
        match self {
            Bad::NoHost => "the request has no Host header: it says for which capsule it is",
            Bad::TwoHosts => "the request has more than one Host header",
            Bad::OtherHost => "the request's target names another host than its Host header",
            Bad::NotAHost => "the request's Host header is not a host name with an optional port",
            Bad::TwoLengths => "the request has more than one Content-Length header",
            Bad::NotForACapsule => "only requests for a path are answered here, not CONNECT or *",
        }
    }
}

/// The host a request is for, as sent and as matched.
pub struct Host {
    /// With its port, if it was sent.
    pub sent: HeaderValue,
    /// Lower case, without the port.
    pub name: Box<str>,
}

/// The one host of a request, or why it is refused.
pub fn host<B>(request: &Request<B>) -> Result<Host, Bad> {
    if request.method() == Method::CONNECT || !request.uri().path().starts_with('/') {
        return Err(Bad::NotForACapsule);
    }
    if request
        .headers()
        .get_all(header::CONTENT_LENGTH)
        .iter()
        .count()
        > 1
    {
        return Err(Bad::TwoLengths); // HTTP/2 only: in HTTP/1 the guard has refused it.
    }
    let mut headers = request.headers().get_all(header::HOST).iter();
    let header = headers.next();
    if headers.next().is_some() {
        return Err(Bad::TwoHosts);
    }
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    let sent = match (authority, header) {
        (None, None) => return Err(Bad::NoHost),
        (None, Some(header)) => header.clone(),
        (Some(authority), None) if request.version() == Version::HTTP_2 => {
            HeaderValue::from_str(authority).map_err(|_| Bad::NotAHost)?
        }
        (Some(_), None) => return Err(Bad::NoHost),
        (Some(authority), Some(header)) => {
            if !header.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) {
                return Err(Bad::OtherHost);
            }
            header.clone()
        }
    };
    let name = sent.to_str().ok().and_then(name).ok_or(Bad::NotAHost)?;
    Ok(Host {
        name: name.into_owned().into_boxed_str(),
        sent,
    })
}

/// `name:port` or `[v6]:port` without the port, in lower case.
fn name(host: &str) -> Option<Cow<'_, str>> {
    let (name, port) = match host.rfind(']') {
        Some(end) => (&host[..=end], &host[end + 1..]),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port_good = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let inner = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let name_good = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.bytes().all(allowed),
    };
    if name.is_empty() || host.len() > HOST_MAX_BYTES || !port_good || !name_good {
        return None;
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(Cow::Owned(name.to_ascii_lowercase()));
    }
    Some(Cow::Borrowed(name))
}

/// Remove what is between two neighbours only, in either direction: the hop-by-hop headers, and what is
/// said between nodes. `Trailer` stays: it announces what passes through, and hyper sends only
/// trailers that were announced.
pub fn strip(headers: &mut HeaderMap) {
    // Most heads have nothing of this: one look at every name, and no search for each of the others.
    if !headers.keys().any(is_between_neighbours) {
        return;
    }
    let named = headers.get_all(header::CONNECTION).iter();
    let named = named
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let named = named.filter_map(|name| name.trim().parse::<HeaderName>().ok());
    let known = headers
        .keys()
        .filter(|name| is_between_neighbours(name) && **name != header::TE);
    for name in named.chain(known.cloned()).collect::<Vec<_>>() {
        headers.remove(name);
    }
    strip_te(headers);
}

fn is_between_neighbours(name: &HeaderName) -> bool {
    let text = name.as_str();
    match text.len() {
        2 => *name == header::TE,
        7 => *name == header::UPGRADE,
        10 => *name == header::CONNECTION || text == "keep-alive",
        17 if *name == header::TRANSFER_ENCODING => true,
        _ => text.starts_with("proxy-") || text.starts_with(INTERNAL),
    }
}

/// Of `TE` only `trailers` says something to whoever answers.
fn strip_te(headers: &mut HeaderMap) {
    let Some(value) = headers.get(header::TE) else {
        return;
    };
    let wanted = value.to_str().is_ok_and(|value| {
        value
            .split(',')
            .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
    });
    if wanted {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(header::TE);
    }
}

/// Remove what only nodes may say to one another.
pub fn strip_internal(headers: &mut HeaderMap) {
    let named = headers
        .keys()
        .filter(|name| name.as_str().starts_with(INTERNAL));
    for name in named.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

/// Say who asked, and how: for requests that come from outside, once.
pub fn introduce(headers: &mut HeaderMap, client: &HeaderValue, host: &HeaderValue) {
    let client = match headers.contains_key(FORWARDED_FOR) {
        true => appended(headers, client),
        false => client.clone(),
    };
    headers.insert(FORWARDED_FOR, client);
    headers.insert(FORWARDED_HOST, host.clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    if !headers.get(TRACEPARENT).is_some_and(is_traceparent) {
        headers.insert(TRACEPARENT, traceparent());
    }
}

fn appended(headers: &HeaderMap, client: &HeaderValue) -> HeaderValue {
    let before = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .map(HeaderValue::as_bytes);
    let all: Vec<_> = before.chain([client.as_bytes()]).collect();
    HeaderValue::from_bytes(&all.join(b", ".as_slice())).unwrap_or_else(|_| client.clone())
}

/// `00-TRACE-PARENT-FLAGS`, as the W3C has it. Later versions may be longer.
fn is_traceparent(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let known = |bytes: &[u8]| hex(bytes) && bytes.iter().any(|byte| *byte != b'0');
    bytes.len() >= 55
        && [bytes[2], bytes[35], bytes[52]] == *b"---"
        && hex(&bytes[..2])
        && &bytes[..2] != b"ff"
        && known(&bytes[3..35])
        && known(&bytes[36..52])
        && hex(&bytes[53..55])
        && (bytes.len() == 55 || (&bytes[..2] != b"00" && bytes[55] == b'-'))
}

fn traceparent() -> HeaderValue {
    let mut text = String::with_capacity(55);
    let (high, low, span) = (random(), random() | 1, random() | 1);
    // Writing to a string cannot fail.
    let _ = write!(text, "00-{high:016x}{low:016x}-{span:016x}-01");
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// About how many bytes a parked head holds.
pub fn head_bytes<B>(request: &Request<B>) -> usize {
    let pairs = request.headers().iter();
    let headers: usize = pairs
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    let path = request
        .uri()
        .path_and_query()
        .map_or(1, |path| path.as_str().len());
    headers + path + request.method().as_str().len() + 16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, version: Version, hosts: &[&str]) -> Request<()> {
        let mut builder = Request::builder().uri(uri).version(version);
        for host in hosts {
            builder = builder.header("host", *host);
        }
        builder.body(()).unwrap()
    }

    fn found(uri: &str, version: Version, hosts: &[&str]) -> Result<String, Bad> {
        host(&request(uri, version, hosts)).map(|host| host.name.into_string())
    }

    #[test]
    fn one_host_is_found() {
        let h1 = Version::HTTP_11;
        assert_eq!(found("/", h1, &["A.Test:80"]), Ok("a.test".into()));
        assert_eq!(found("/", h1, &["[::1]:8080"]), Ok("[::1]".into()));
        assert_eq!(
            found("http://a.test:80/x", h1, &["a.test:80"]),
            Ok("a.test".into())
        );
        assert_eq!(
            found("http://a.test/x", Version::HTTP_2, &[]),
            Ok("a.test".into())
        );
        assert_eq!(found("/", h1, &[]), Err(Bad::NoHost));
        assert_eq!(found("http://a.test/", h1, &[]), Err(Bad::NoHost));
        assert_eq!(found("/", h1, &["a", "a"]), Err(Bad::TwoHosts));
        assert_eq!(
            found("http://a.test/", h1, &["b.test"]),
            Err(Bad::OtherHost)
        );
        assert_eq!(
            found("http://a.test/", Version::HTTP_2, &["b.test"]),
            Err(Bad::OtherHost)
        );
        assert_eq!(found("*", h1, &["a"]), Err(Bad::NotForACapsule));
        let mut twice = request("/", Version::HTTP_2, &["a"]);
        twice
            .headers_mut()
            .append("content-length", HeaderValue::from_static("0"));
        assert!(host(&twice).is_ok());
        twice
            .headers_mut()
            .append("content-length", HeaderValue::from_static("1"));
        assert_eq!(
            host(&twice).map(|host| host.name).err(),
            Some(Bad::TwoLengths)
        );
        for odd in [
            "", "a b", "a/b", "a:x", "a,b", "[::1", "[x]", "user@a", ":80", "[::1]x",
        ] {
            assert_eq!(found("/", h1, &[odd]), Err(Bad::NotAHost), "{odd}");
        }
        assert_eq!(
            found("/", h1, &["a".repeat(256).as_str()]),
            Err(Bad::NotAHost)
        );
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn neighbours_talk_is_removed() {
        let mut all = headers(&[
            ("connection", "close, X-Mine"),
            ("connection", "x-other"),
            ("x-mine", "1"),
            ("x-other", "2"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "secret"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("te", "gzip, Trailers"),
            ("trailer", "x-sum"),
            ("falak-capsule", "other"),
            ("falak-anything", "1"),
            ("x-stays", "3"),
        ]);
        strip(&mut all);
        let mut left: Vec<_> = all.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["te", "trailer", "x-stays"]);
        assert_eq!(all["te"], "trailers");
        let mut all = headers(&[("te", "gzip")]);
        strip(&mut all);
        assert!(all.is_empty());
    }

    #[test]
    fn the_client_is_introduced_once() {
        let mut all = headers(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "https"),
            (
                "traceparent",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            ),
        ]);
        let host = HeaderValue::from_static("a.test:80");
        introduce(&mut all, &HeaderValue::from_static("3.3.3.3"), &host);
        assert_eq!(all["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 3.3.3.3");
        assert_eq!(all.get_all("x-forwarded-for").iter().count(), 1);
        assert_eq!(all["x-forwarded-proto"], "http");
        assert_eq!(all["x-forwarded-host"], "a.test:80");
        assert!(all["traceparent"].to_str().unwrap().starts_with("00-4bf9"));
    }

    #[test]
    fn a_trace_is_made_where_none_is_usable() {
        let good = HeaderValue::from_static;
        assert!(is_traceparent(&traceparent()));
        assert!(is_traceparent(&good(
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"
        )));
        for bad in [
            "",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert!(!is_traceparent(&good(bad)), "{bad}");
        }
        let mut all = headers(&[("traceparent", "nonsense")]);
        introduce(&mut all, &good("1.1.1.1"), &good("a"));
        assert!(is_traceparent(&all["traceparent"]));
    }
}
