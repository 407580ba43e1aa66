//! Answers that the gateway itself gives. Owns their words: what happened, and what to do.

use crate::body::OutBody;
use crate::hygiene::{Bad, NOT_HERE};
use crate::park::Refusal;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

/// When to try again after an answer that is about now, not about the request.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

fn plain(status: StatusCode, text: String) -> Response<OutBody> {
    let mut response = Response::new(OutBody::text(format!("{text}\n")));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The request is wrong; its connection ends.
pub fn bad(bad: Bad) -> Response<OutBody> {
    let mut response = plain(StatusCode::BAD_REQUEST, format!("falak: {}", bad.text()));
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// 503, and when to come again.
pub fn unavailable(why: &str) -> Response<OutBody> {
    let mut response = plain(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("falak: {why}; try again"),
    );
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, RETRY_AFTER);
    response
}

/// What Python decided for every request of a key.
pub fn refused(refusal: &Refusal) -> Response<OutBody> {
    let mut response = plain(refusal.status, refusal.reason.clone());
    if refusal.retry_after_s > 0 {
        let seconds = HeaderValue::from(refusal.retry_after_s);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

/// 502: the other node took the request and did not answer it.
pub fn lost(capsule: &str) -> Response<OutBody> {
    let text = format!("falak: the node that ran {capsule} failed while it had the request");
    plain(StatusCode::BAD_GATEWAY, text)
}

/// 500: the capsule's own fault. Its log says more than strangers should read.
pub fn failed(capsule: &str) -> Response<OutBody> {
    let text = format!("falak: {capsule} failed; `falak logs {capsule}` says why");
    plain(StatusCode::INTERNAL_SERVER_ERROR, text)
}

/// 504: the capsule took more time than it may.
pub fn timed_out(capsule: &str) -> Response<OutBody> {
    let text = format!("falak: {capsule} took more time than its limit");
    plain(StatusCode::GATEWAY_TIMEOUT, text)
}

/// To another node: there is no copy here. From outside nothing leads to this answer.
pub fn not_here() -> Response<OutBody> {
    let mut response = Response::new(OutBody::empty());
    *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
    response
        .headers_mut()
        .insert(NOT_HERE, HeaderValue::from_static("1"));
    response
}

/// Whether another node's answer is the one above.
pub fn is_not_here<B>(response: &Response<B>) -> bool {
    response.headers().contains_key(NOT_HERE)
}
