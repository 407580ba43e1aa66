//! A request to a copy on this node, and what every answer goes through on its way out.

use crate::answer;
use crate::body::{Held, OutBody};
use crate::capsule::{Capsule, Lease};
use crate::hygiene;
use crate::stats::InFlight;
use falak_wasm::{Failure, Guest, RequestBody};
use http::{Request, Response, Version};
use std::sync::Arc;
use std::time::Duration;

/// Have a guest answer.
pub async fn call(
    capsule: &Arc<Capsule>,
    guest: Arc<Guest>,
    lease: Lease,
    request: Request<RequestBody>,
    body_idle: Duration,
) -> Response<OutBody> {
    let in_flight = InFlight::new(capsule.clone());
    match guest.call(request).await {
        // There is no way to say this over HTTP, and hyper would end the connection.
        Ok(response) if response.status().is_informational() => answer::failed(capsule.name()),
        Ok(response) => outbound(response.map(|body| {
            let held = Held::new(lease, in_flight, None);
            OutBody::guest(body, held, body_idle)
        })),
        Err(Failure::Busy) => answer::unavailable(&format!(
            "this node has no room for another instance of {}",
            capsule.name()
        )),
        Err(Failure::TimedOut) => answer::timed_out(capsule.name()),
        Err(Failure::Failed) => answer::failed(capsule.name()),
    }
}

/// An answer of a copy, here or elsewhere, as it may leave this node.
pub fn outbound(mut response: Response<OutBody>) -> Response<OutBody> {
    hygiene::strip(response.headers_mut());
    // hyper writes the version that the other side speaks; this one is of the hop behind.
    *response.version_mut() = Version::HTTP_11;
    response
}
