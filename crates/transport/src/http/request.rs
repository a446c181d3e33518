//! What a request says, and whether it may become a WebSocket.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use httparse::{EMPTY_HEADER, Error, Header, Request, Status};

use super::answer::{is_key, switching};
use super::{HttpRefusal, Upgrade, UpgradeRules, forwarded};
use crate::peer::WebSocketFacts;

/// Header fields of a request; above that the answer is 431.
pub const HEADERS_MAX: usize = 64;

/// The subprotocols of MQTT, the better first.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Judges a complete head, of whose bytes the last `consumed` came with the last input.
pub(super) fn judge(
    head: &[u8],
    rules: &UpgradeRules,
    from: Option<IpAddr>,
    consumed: usize,
) -> Result<Upgrade, HttpRefusal> {
    let mut fields = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut fields);
    match request.parse(head) {
        Ok(Status::Complete(_)) => {}
        Err(Error::TooManyHeaders) => return Err(HttpRefusal::TooLarge),
        Ok(Status::Partial) | Err(_) => return Err(HttpRefusal::Malformed),
    }
    let headers = &*request.headers;
    if request.method != Some("GET") {
        return Err(HttpRefusal::Method);
    }
    if has_body(headers) {
        return Err(HttpRefusal::Body);
    }
    if !has_token(headers, "upgrade", b"websocket") || !has_token(headers, "connection", b"upgrade")
    {
        return Err(HttpRefusal::NotUpgrade);
    }
    if request.version != Some(1) {
        return Err(HttpRefusal::HttpVersion);
    }
    let host = sole(headers, "host").ok_or(HttpRefusal::Host)?;
    let path = path(request.path.unwrap_or_default());
    if path != &*rules.path {
        return Err(HttpRefusal::Path);
    }
    if sole(headers, "sec-websocket-version") != Some(b"13") {
        return Err(HttpRefusal::Version);
    }
    let key = sole(headers, "sec-websocket-key").filter(|key| is_key(key));
    let key = key.ok_or(HttpRefusal::Key)?;
    let mut origins = values(headers, "origin");
    if !origins.all(|origin| rules.origins.contains(origin) || is_own(origin, host)) {
        return Err(HttpRefusal::Origin);
    }
    let subprotocol = subprotocol(headers, rules)?;
    let origin = values(headers, "origin").next_back();
    Ok(Upgrade {
        consumed,
        answer: switching(key, subprotocol),
        facts: WebSocketFacts {
            path: path.into(),
            origin: origin.map(|origin| String::from_utf8_lossy(origin).into()),
            subprotocol: subprotocol.map(Into::into),
        },
        client: forwarded::client(headers, from, &rules.trusted_proxies),
    })
}

/// The subprotocol that is agreed on.
// [MQTT-6.0.0-3] [MQTT-6.0.0-3 @3.1.1] The client offers it; a client of 3.1 may offer `mqttv3.1`.
// [MQTT-6.0.0-4] [MQTT-6.0.0-4 @3.1.1] The server selects it.
fn subprotocol(
    headers: &[Header<'_>],
    rules: &UpgradeRules,
) -> Result<Option<&'static str>, HttpRefusal> {
    const NAME: &str = "sec-websocket-protocol";
    let offers = |name: &&str| tokens(headers, NAME).any(|offered| offered == name.as_bytes());
    let selected = SUBPROTOCOLS.into_iter().find(offers);
    let is_acceptable =
        selected.is_some() || rules.without_subprotocol && values(headers, NAME).next().is_none();
    if is_acceptable { Ok(selected) } else { Err(HttpRefusal::Subprotocol) }
}

/// Whether an origin is this very server, named by its address or as `localhost`. Only a page that is served here has it, and
/// there are none; but some programs that are no browser say so of themselves. By another name it proves nothing, since whoever
/// owns a name can point it here.
fn is_own(origin: &[u8], host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let is_address = host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4())
        || host.parse::<SocketAddr>().is_ok()
        || host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .is_some_and(|host| host.parse::<Ipv6Addr>().is_ok());
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    if !is_address && !name.eq_ignore_ascii_case("localhost") {
        return false;
    }
    ["http://", "https://"].iter().any(|scheme| {
        origin.split_at_checked(scheme.len()).is_some_and(|(begin, rest)| {
            begin.eq_ignore_ascii_case(scheme.as_bytes())
                && rest.eq_ignore_ascii_case(host.as_bytes())
        })
    })
}

/// The values of a field, in the order they stand. `name` is in small letters.
pub(super) fn values<'a>(
    headers: &'a [Header<'a>],
    name: &'static str,
) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value)
}

/// The value of a field that is there once.
fn sole<'a>(headers: &'a [Header<'a>], name: &'static str) -> Option<&'a [u8]> {
    let mut values = values(headers, name);
    let value = values.next()?;
    values.next().is_none().then(|| value.trim_ascii())
}

/// The members of all lists in a field.
fn tokens<'a>(headers: &'a [Header<'a>], name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    values(headers, name)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

fn has_token(headers: &[Header<'_>], name: &'static str, token: &[u8]) -> bool {
    tokens(headers, name).any(|one| one.eq_ignore_ascii_case(token))
}

fn has_body(headers: &[Header<'_>]) -> bool {
    values(headers, "transfer-encoding").next().is_some()
        || values(headers, "content-length").any(|length| length.trim_ascii() != b"0")
}

/// The path in a request's target, which may be an absolute URI, without its query.
fn path(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
        }
        _ => target,
    };
    path.split_once('?').map_or(path, |(path, _)| path)
}
