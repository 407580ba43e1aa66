//! One request from outside: to an endpoint, to the parking lot, or back with an error.
//!
//! Owns the order of these steps and the number of tries. Never chooses an endpoint by anything but
//! the capsule's draw, and never forwards what another node has forwarded.

use crate::answer;
use crate::body::{Held, InBody, OutBody};
use crate::capsule::{Capsule, Lease, Target};
use crate::core::{Core, HOST_KEY};
use crate::event::Event;
use crate::forward::{Payload, Sent};
use crate::hygiene::{self, CAPSULE, Host};
use crate::local;
use crate::park::{Mark, Not, Verdict};
use crate::replay::Tape;
use crate::socket::client_left;
use crate::stalled::Streams;
use crate::stats::{InFlight, Stats, count};
use http::header::{self, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use std::ops::ControlFlow;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nodes that are tried for one request without a pause.
const TRIES_AT_ONCE: u32 = 3;
/// The pause before a further try, times their number: Python may name an endpoint again that failed
/// just now, before it has heard of that.
const TRY_AGAIN: Duration = Duration::from_millis(5);

/// The client left while its request was parked; nobody reads an answer.
#[derive(Debug)]
pub struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the client left while its request was parked")
    }
}

impl std::error::Error for Gone {}

/// What all requests of a connection share.
pub struct Client {
    /// Its address, as it stands in `X-Forwarded-For`.
    pub address: HeaderValue,
    /// The socket, where hyper does not notice its end while a request is parked.
    pub fd: Option<RawFd>,
    /// The connection's requests, where they share it.
    pub streams: Option<Arc<Streams>>,
}

/// Answer a request that came from a client.
pub async fn outside(
    core: Arc<Core>,
    client: Arc<Client>,
    mut request: Request<Incoming>,
) -> Result<Response<OutBody>, Gone> {
    let arrived = Instant::now();
    let progress = client.streams.as_ref().map(Streams::watch);
    let host = match hygiene::host(&request) {
        Ok(host) => host,
        Err(bad) => {
            count(&core.bad_requests);
            return Ok(answer::bad(bad));
        }
    };
    let capsule = core
        .routes
        .load()
        .find(&host.name, request.uri().path())
        .cloned();
    if let Some(capsule) = &capsule {
        capsule.stats.request(arrived);
    }
    hygiene::strip(request.headers_mut());
    hygiene::introduce(request.headers_mut(), &client.address, &host.sent);
    let head_bytes = hygiene::head_bytes(&request);
    let (parts, body) = request.into_parts();
    let content = if body.is_end_stream() {
        Content::None
    } else {
        Content::Fresh(body)
    };
    let parked = Duration::ZERO;
    let mut exchange = Exchange {
        core,
        client,
        arrived,
        host,
        capsule,
        head_bytes,
        parked,
        marks: Vec::new(),
    };
    let answer = exchange.answer(parts, content).await?;
    Ok(exchange.finish(answer).map(|body| match progress {
        Some(progress) => body.watched(progress),
        None => body,
    }))
}

/// A request's body, by what was done to it.
enum Content {
    None,
    Fresh(Incoming),
    Taped(Tape),
}

impl Content {
    /// For a guest, which gets it once.
    fn for_guest(self, idle: Duration) -> falak_wasm::RequestBody {
        match self {
            Content::None => Empty::new().map_err(|never| match never {}).boxed_unsync(),
            Content::Fresh(body) => InBody::new(body, idle).boxed_unsync(),
            Content::Taped(tape) => tape
                .play()
                .map_err(|cut| falak_wasm::BodyError::InternalError(Some(cut.to_string())))
                .boxed_unsync(),
        }
    }
}

/// An answer, or another step.
type Step = ControlFlow<Answer>;

/// An answer, and whether a copy gave it.
struct Answer {
    response: Response<OutBody>,
    by_copy: bool,
}

impl Answer {
    fn own(response: Response<OutBody>) -> Step {
        Step::Break(Answer {
            response,
            by_copy: false,
        })
    }

    fn copy(response: Response<OutBody>) -> Step {
        Step::Break(Answer {
            response,
            by_copy: true,
        })
    }
}

struct Exchange {
    core: Arc<Core>,
    client: Arc<Client>,
    arrived: Instant,
    host: Host,
    capsule: Option<Arc<Capsule>>,
    head_bytes: usize,
    /// Time parked until now.
    parked: Duration,
    marks: Vec<Arc<Mark>>,
}

impl Exchange {
    async fn answer(
        &mut self,
        parts: http::request::Parts,
        mut content: Content,
    ) -> Result<Answer, Gone> {
        let mut tries = 0_u32;
        let ends = self.arrived + self.core.settings.park;
        loop {
            let Some(capsule) = self.capsule.clone() else {
                match self.park_for_route(parts.uri.path()).await? {
                    Step::Break(answer) => return Ok(answer),
                    Step::Continue(()) => continue,
                }
            };
            let Some(lease) = capsule.pick() else {
                match self.park_for_copy(&capsule, parts.uri.path()).await? {
                    Step::Break(answer) => return Ok(answer),
                    Step::Continue(()) => continue,
                }
            };
            if capsule.is_crowded(false) {
                self.core.sink.tell(crowded(&capsule));
            }
            let step = match lease.target().clone() {
                Target::Local { guest, .. } => {
                    let idle = self.core.settings.body_idle;
                    let request = Request::from_parts(parts, content.for_guest(idle));
                    let response = local::call(&capsule, guest, lease, request, idle).await;
                    return Ok(Answer {
                        response,
                        by_copy: true,
                    });
                }
                Target::Node { peer } => {
                    tries += 1;
                    let last = Instant::now() >= ends;
                    self.forward(&capsule, lease, &peer, &parts, &mut content, last)
                        .await
                }
            };
            if let Step::Break(answer) = step {
                return Ok(answer);
            }
            if tries >= TRIES_AT_ONCE {
                tokio::time::sleep(TRY_AGAIN * tries).await;
            }
        }
    }

    /// Count the answer, and tell of it where somebody waits for that.
    fn finish(&self, answer: Answer) -> Response<OutBody> {
        let total = self.arrived.elapsed();
        let stats = self.stats();
        if self.capsule.is_none() {
            stats.request(self.arrived);
        }
        stats.response(answer.response.status(), total);
        if answer.by_copy {
            for mark in &self.marks {
                mark.answered(self.core.sink.as_ref(), self.parked, total);
            }
        }
        answer.response
    }

    fn stats(&self) -> &Stats {
        self.capsule
            .as_ref()
            .map_or(&self.core.stray, |capsule| &capsule.stats)
    }

    async fn park_for_route(&mut self, path: &str) -> Result<Step, Gone> {
        let key: Arc<str> = format!("{HOST_KEY}{}", self.host.name).into();
        let core = self.core.clone();
        let name = self.host.name.clone();
        let find = || core.routes.load().find(&name, path).cloned();
        let step = self.park(&key, path, || find().is_none()).await?;
        if step.is_continue() {
            self.capsule = find();
            if let Some(capsule) = &self.capsule {
                capsule.stats.request(self.arrived);
            }
        }
        Ok(step)
    }

    async fn park_for_copy(&mut self, capsule: &Arc<Capsule>, path: &str) -> Result<Step, Gone> {
        self.park(capsule.name(), path, || capsule.is_empty()).await
    }

    async fn park(
        &mut self,
        key: &Arc<str>,
        path: &str,
        needed: impl FnOnce() -> bool,
    ) -> Result<Step, Gone> {
        let core = self.core.clone();
        let left = core.settings.park.saturating_sub(self.parked);
        let mut place = match core.lot.park(key, path, self.head_bytes, needed) {
            Ok(place) => place,
            Err(Not::Needed) => return Ok(Step::Continue(())),
            Err(Not::Full) => {
                count(&self.stats().shed);
                let why = format!("too many requests wait for {key} on this node");
                return Ok(Answer::own(answer::unavailable(&why)));
            }
        };
        let since = Instant::now();
        let parked = Parked::new(self.stats());
        let heard = tokio::select! {
            heard = place.wait(since + left) => heard,
            () = left_early(self.client.fd) => return Err(Gone),
        };
        parked.end();
        self.parked += since.elapsed();
        Ok(match heard {
            Some(Verdict::Go(mark)) => {
                self.marks.extend(mark);
                Step::Continue(())
            }
            Some(Verdict::Refused(refusal)) => Answer::own(answer::refused(&refusal)),
            None => {
                let ms = core.settings.park.as_millis();
                let why = format!("nothing could answer for {key} within {ms} ms");
                Answer::own(answer::unavailable(&why))
            }
        })
    }

    async fn forward(
        &self,
        capsule: &Arc<Capsule>,
        lease: Lease,
        peer: &Arc<str>,
        parts: &http::request::Parts,
        content: &mut Content,
        last: bool,
    ) -> Step {
        let in_flight = InFlight::new(capsule.clone());
        let Some(request) = self.outgoing(capsule, parts, content) else {
            return Answer::own(answer::unavailable(
                "the request's host cannot be passed on",
            ));
        };
        let (event, unsent) = match self.core.links.send(peer, request).await {
            Sent::Answered(response, share) => {
                count(&capsule.stats.forwarded);
                let held = Held::new(lease, in_flight, Some(share));
                let idle = self.core.settings.body_idle;
                let response = response.map(|body| OutBody::node(body, held, idle));
                return Answer::copy(local::outbound(response));
            }
            Sent::NotHere => {
                count(&capsule.stats.not_here);
                let (capsule, peer) = (capsule.name().to_string(), peer.to_string());
                (Event::NotHere { capsule, peer }, true)
            }
            Sent::Full(why) => return Answer::own(answer::unavailable(&why)),
            Sent::Unsent(why) => (unreachable(capsule, peer, why), true),
            Sent::Lost(why) => (unreachable(capsule, peer, why), false),
        };
        // Of all requests that fail at an endpoint, the first one tells.
        if capsule.remove(&lease) {
            self.core.sink.tell(event);
        }
        let again = match content {
            Content::Taped(tape) => tape.is_rewindable(),
            _ => true,
        };
        let safe = unsent || (parts.method.is_idempotent() && again);
        if !safe {
            return Answer::own(answer::lost(capsule.name()));
        }
        if last || !again {
            let why = format!("no node could take the request for {}", capsule.name());
            return Answer::own(answer::unavailable(&why));
        }
        Step::Continue(())
    }

    /// The request as another node gets it.
    fn outgoing(
        &self,
        capsule: &Capsule,
        parts: &http::request::Parts,
        content: &mut Content,
    ) -> Option<Request<Payload>> {
        let settings = &self.core.settings;
        *content = match std::mem::replace(content, Content::None) {
            Content::Fresh(body) => Content::Taped(Tape::new(
                body,
                settings.replay_max_bytes,
                settings.body_idle,
            )),
            other => other,
        };
        let payload = match content {
            Content::Taped(tape) => Payload::Taped(tape.play()),
            _ => Payload::None,
        };
        let mut request = Request::new(payload);
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = uri(&self.host, &parts.uri)?;
        *request.headers_mut() = parts.headers.clone();
        let headers = request.headers_mut();
        headers.remove(header::HOST);
        headers.insert(CAPSULE, HeaderValue::from_str(capsule.name()).ok()?);
        Some(request)
    }
}

fn uri(host: &Host, asked: &Uri) -> Option<Uri> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::try_from(host.sent.as_bytes()).ok()?);
    parts.path_and_query = asked.path_and_query().cloned();
    Uri::from_parts(parts).ok()
}

fn crowded(capsule: &Capsule) -> Event {
    let capsule = capsule.name().to_string();
    Event::Crowded { capsule }
}

fn unreachable(capsule: &Capsule, peer: &str, why: String) -> Event {
    Event::Unreachable {
        capsule: capsule.name().to_string(),
        peer: peer.to_string(),
        why,
    }
}

/// Resolves when the client has left; never where hyper notices by itself, or where it cannot be known.
async fn left_early(fd: Option<RawFd>) {
    if let Some(fd) = fd
        && client_left(fd).await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// A request in the lot, for the counters. Dropped before its end: the client left.
struct Parked<'a> {
    stats: &'a Stats,
    ended: bool,
}

impl<'a> Parked<'a> {
    fn new(stats: &'a Stats) -> Self {
        count(&stats.parked);
        count(&stats.parked_total);
        Parked {
            stats,
            ended: false,
        }
    }

    fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.stats
            .parked
            .fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        if !self.ended {
            count(&self.stats.gone);
        }
    }
}

/// Answer a request that another node has forwarded: by a copy here, or by saying that there is none.
pub async fn forwarded(core: Arc<Core>, mut request: Request<Incoming>) -> Response<OutBody> {
    let arrived = Instant::now();
    let name = request.headers_mut().remove(CAPSULE);
    let capsule = name.and_then(|name| core.known(name.to_str().ok()?));
    let found = capsule.and_then(|capsule| Some((capsule.pick_local()?, capsule)));
    let Some((lease, capsule)) = found else {
        return answer::not_here();
    };
    let Target::Local { guest, .. } = lease.target().clone() else {
        return answer::not_here();
    };
    if capsule.is_crowded(true) {
        core.sink.tell(crowded(&capsule));
    }
    capsule.stats.request(arrived);
    hygiene::strip(request.headers_mut());
    let idle = core.settings.body_idle;
    let request = request.map(|body| {
        let content = if body.is_end_stream() {
            Content::None
        } else {
            Content::Fresh(body)
        };
        content.for_guest(idle)
    });
    let response = local::call(&capsule, guest, lease, request, idle).await;
    capsule.stats.response(response.status(), arrived.elapsed());
    response.map(OutBody::for_node)
}
