//! Who a client is by what lies between it and MQTT: its certificate, the owner of its process, a proxy's word.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use dunlin_broker::{
    AuthRequest, Authenticator, BoxFuture, Certificate, Decision, Identity, Peer, Step,
};

/// Stars of a pattern, so that each can be named by a digit.
pub const PEER_STARS_MAX: usize = 9;

/// The attribute that holds the Common Name, by which rules of access ask for it.
const CERT_CN: &str = "cert.cn";

/// What a rule looks at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PeerField {
    /// The Common Name of the client's certificate.
    Cn,
    /// The Distinguished Name of the subject, the most specific part last.
    Dn,
    /// The DNS names among its alternative names, one after the other.
    Dns,
    /// The URIs among them.
    Uri,
    /// The e-mail addresses among them.
    Email,
    /// The certificate's serial number in lower-case hexadecimal digits.
    Serial,
    /// SHA-256 of the certificate in lower-case hexadecimal digits.
    Fingerprint,
    /// The user's number at the other end of a Unix socket.
    Uid,
    /// The group's number there.
    Gid,
    /// The Common Name of the certificate that a trusted proxy verified.
    ProxyCn,
}

impl PeerField {
    /// Every field under its name in a configuration.
    pub const ALL: [(&'static str, Self); 10] = [
        ("cn", Self::Cn),
        ("dn", Self::Dn),
        ("dns", Self::Dns),
        ("uri", Self::Uri),
        ("email", Self::Email),
        ("serial", Self::Serial),
        ("fingerprint", Self::Fingerprint),
        ("uid", Self::Uid),
        ("gid", Self::Gid),
        ("proxy_cn", Self::ProxyCn),
    ];

    /// What the peer has of it; several alternative names are several values.
    fn values(self, peer: &Peer) -> Vec<String> {
        let Some(details) = &peer.details else { return Vec::new() };
        let certificate = details.certificate.as_ref();
        let names = |names: fn(&Certificate) -> &Vec<Box<str>>| -> Vec<String> {
            certificate.map(names).into_iter().flatten().map(ToString::to_string).collect()
        };
        let one = |value: Option<String>| value.into_iter().collect();
        match self {
            Self::Cn => {
                one(certificate.and_then(|each| each.common_name.as_ref()).map(ToString::to_string))
            }
            Self::Dn => one(certificate.map(|each| each.distinguished_name.to_string())),
            Self::Dns => names(|each| &each.dns_names),
            Self::Uri => names(|each| &each.uris),
            Self::Email => names(|each| &each.emails),
            Self::Serial => one(certificate.map(|each| each.serial.to_string())),
            Self::Fingerprint => one(certificate.map(|each| hex(&each.fingerprint))),
            Self::Uid => one(details.credentials.map(|each| each.uid.to_string())),
            Self::Gid => one(details.credentials.map(|each| each.gid.to_string())),
            Self::ProxyCn => {
                let proxy = details.proxy.as_ref();
                one(proxy.and_then(|each| each.common_name.as_ref()).map(ToString::to_string))
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Accepts clients of whom a field of the peer fits a pattern, and passes on all others.
///
/// A `*` of the pattern stands for any text, also for none; everything else stands for itself, upper and lower case included.
/// The user, the tenant and the roles may hold `{1}` to `{9}` for what the stars stood for, from the left, and `{value}` for the
/// whole. Each star takes as little as it can. A client whose user or tenant would be empty is passed on. What the client says
/// as User Name and Password does not matter to this rule, and neither does an Authentication Method: such a client is passed
/// on.
///
/// The attribute `cert.cn` is the Common Name of the certificate, if there is one.
///
/// ```
/// use dunlin_auth::{PeerField, PeerRule};
///
/// let rule = PeerRule::new(PeerField::Cn, "sensor-*.*.example", "{1}", Some("{2}"), &["sensor"])?;
/// # let _ = rule;
/// # Ok::<(), dunlin_auth::InvalidPeerRule>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerRule {
    field: PeerField,
    pattern: Pattern,
    user: Template,
    tenant: Option<Template>,
    roles: Vec<Template>,
}

/// Why a rule cannot be.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidPeerRule {
    /// The pattern has more than [`PEER_STARS_MAX`] stars.
    #[error("a pattern may hold {PEER_STARS_MAX} stars at the most")]
    Stars,
    /// A brace is not closed, or holds what is not known.
    #[error("there are {{value}} and {{1}} to {{9}}, as many as the pattern has stars")]
    Placeholder,
    /// There is no such field.
    #[error("there is no such field of a peer")]
    Field,
}

impl PeerRule {
    /// A rule.
    ///
    /// # Errors
    ///
    /// [`InvalidPeerRule`] when the pattern has too many stars, or a text asks for what the pattern does not have.
    pub fn new(
        field: PeerField,
        pattern: &str,
        user: &str,
        tenant: Option<&str>,
        roles: &[&str],
    ) -> Result<Self, InvalidPeerRule> {
        let pattern = Pattern::new(pattern)?;
        let template = |text: &str| Template::new(text, pattern.stars());
        let user = template(user)?;
        let tenant = tenant.map(template).transpose()?;
        let roles = roles.iter().map(|role| template(role)).collect::<Result<_, _>>()?;
        Ok(Self { field, pattern, user, tenant, roles })
    }

    /// Who a client with this peer is, if the rule knows it.
    #[must_use]
    pub fn identify(&self, peer: &Peer) -> Option<Identity> {
        self.field.values(peer).iter().find_map(|value| {
            let stars = self.pattern.find(value)?;
            let filled = |template: &Template| template.fill(value, &stars);
            let user = filled(&self.user);
            let tenant = self.tenant.as_ref().map(filled);
            if user.is_empty() || tenant.as_ref().is_some_and(String::is_empty) {
                return None;
            }
            let mut identity = Identity::named(user);
            identity.tenant = tenant;
            identity.roles =
                self.roles.iter().map(filled).filter(|role| !role.is_empty()).collect();
            if let Some(name) = peer.certificate().and_then(|each| each.common_name.as_deref()) {
                identity.attributes.push((CERT_CN.to_owned(), name.to_owned()));
            }
            Some(identity)
        })
    }
}

impl Authenticator for PeerRule {
    fn authenticate(&self, request: AuthRequest) -> BoxFuture<'_, Step> {
        Box::pin(async move {
            let known = match request.method {
                None => self.identify(&request.peer),
                Some(_) => None,
            };
            let decision = match known {
                Some(identity) => Decision::Accept { identity, data: None },
                None => Decision::PassOn,
            };
            Step { decision, request }
        })
    }
}

impl FromStr for PeerField {
    type Err = InvalidPeerRule;

    fn from_str(text: &str) -> Result<Self, InvalidPeerRule> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, field)| *field).ok_or(InvalidPeerRule::Field)
    }
}

impl fmt::Display for PeerField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.iter().find(|(_, field)| field == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}

/// A text with stars.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Pattern {
    /// Before the first star; the whole where there is none.
    head: Box<str>,
    /// Behind each star up to the next.
    rest: Vec<Box<str>>,
}

impl Pattern {
    fn new(text: &str) -> Result<Self, InvalidPeerRule> {
        let mut parts = text.split('*').map(Box::from);
        let head = parts.next().unwrap_or_default();
        let rest: Vec<Box<str>> = parts.collect();
        if rest.len() > PEER_STARS_MAX {
            Err(InvalidPeerRule::Stars)
        } else {
            Ok(Self { head, rest })
        }
    }

    fn stars(&self) -> usize {
        self.rest.len()
    }

    /// What each star stands for; none if the value does not fit. Each part is looked for from where the one before ended, and
    /// the last one at the end: what a star took is never given back, so that the time is that of one walk.
    fn find<'a>(&self, value: &'a str) -> Option<Vec<&'a str>> {
        let mut left = value.strip_prefix(&*self.head)?;
        let Some((last, between)) = self.rest.split_last() else {
            return left.is_empty().then(Vec::new);
        };
        let mut stars = Vec::with_capacity(self.rest.len());
        for part in between {
            let (star, behind) = left.split_once(&**part)?;
            stars.push(star);
            left = behind;
        }
        stars.push(left.strip_suffix(&**last)?);
        Some(stars)
    }
}

/// A text with places to be filled.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Template(Vec<Piece>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Text(Box<str>),
    Value,
    /// Counted from 0.
    Star(usize),
}

impl Template {
    fn new(text: &str, stars: usize) -> Result<Self, InvalidPeerRule> {
        let mut pieces = Vec::new();
        let mut left = text;
        while let Some((before, rest)) = left.split_once('{') {
            let (name, behind) = rest.split_once('}').ok_or(InvalidPeerRule::Placeholder)?;
            pieces.push(Piece::Text(before.into()));
            pieces.push(match name.as_bytes() {
                b"value" => Piece::Value,
                [digit @ b'1'..=b'9'] if usize::from(digit - b'1') < stars => {
                    Piece::Star(usize::from(digit - b'1'))
                }
                _ => return Err(InvalidPeerRule::Placeholder),
            });
            left = behind;
        }
        pieces.push(Piece::Text(left.into()));
        Ok(Self(pieces))
    }

    fn fill(&self, value: &str, stars: &[&str]) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.to_string(),
            Piece::Value => value.to_owned(),
            Piece::Star(index) => stars.get(*index).map_or_else(String::new, ToString::to_string),
        };
        self.0.iter().map(piece).collect()
    }
}

#[cfg(test)]
mod tests {
    use dunlin_broker::{Credentials, Details, ProxyFacts};
    use proptest::prelude::*;

    use super::*;

    fn peer() -> Peer {
        let certificate = Certificate {
            common_name: Some("sensor-7.north.example".into()),
            distinguished_name: "O=Example,CN=sensor-7.north.example".into(),
            dns_names: vec!["a.example".into(), "b.example".into()],
            uris: vec!["urn:dev:7".into()],
            emails: vec!["seven@example".into()],
            serial: "0a".into(),
            fingerprint: [0xab; 32],
        };
        let proxy = ProxyFacts { common_name: Some("behind".into()), ..ProxyFacts::default() };
        let details = Details {
            certificate: Some(certificate),
            credentials: Some(Credentials { uid: 1_000, gid: 100, pid: None }),
            proxy: Some(proxy),
            ..Details::default()
        };
        Peer { details: Some(Box::new(details)), ..Peer::default() }
    }

    #[test]
    fn each_field_can_say_who_it_is() {
        let fingerprint = "ab".repeat(32);
        for (field, pattern, user, expected) in [
            ("cn", "sensor-*.*.example", "{2}/{1}", Some("north/7")),
            ("cn", "Sensor-*", "{1}", None),
            ("cn", "sensor-7.north.example", "it", Some("it")),
            ("cn", "sensor-7", "it", None),
            ("dn", "O=Example,*", "{1}", Some("CN=sensor-7.north.example")),
            ("dns", "b.*", "{value}", Some("b.example")),
            ("uri", "urn:dev:*", "{1}", Some("7")),
            ("email", "*@example", "{1}", Some("seven")),
            ("serial", "0a", "it", Some("it")),
            ("fingerprint", fingerprint.as_str(), "it", Some("it")),
            ("uid", "1000", "it", Some("it")),
            ("uid", "100", "it", None),
            ("gid", "100", "staff", Some("staff")),
            ("proxy_cn", "*", "{1}", Some("behind")),
            // Nobody has an empty name.
            ("proxy_cn", "behind*", "{1}", None),
        ] {
            let field: PeerField = field.parse().expect(field);
            let rule = PeerRule::new(field, pattern, user, None, &[]).expect("legal");
            let found = rule.identify(&peer()).map(|identity| identity.user);
            assert_eq!(found.as_deref(), expected, "{field} {pattern}");
            assert_eq!(rule.identify(&Peer::default()), None);
        }
    }

    #[test]
    fn tenant_and_roles_are_filled_and_the_common_name_is_kept() {
        let roles = ["sensor", "of-{2}"];
        let rule = PeerRule::new(PeerField::Cn, "sensor-*.*.example", "{1}", Some("t-{2}"), &roles);
        let identity = rule.expect("legal").identify(&peer()).expect("known");
        let mut expected = Identity::named("7");
        expected.tenant = Some("t-north".to_owned());
        expected.roles = vec!["sensor".to_owned(), "of-north".to_owned()];
        expected.attributes = vec![("cert.cn".to_owned(), "sensor-7.north.example".to_owned())];
        assert_eq!(identity, expected);
    }

    #[test]
    fn rules_that_cannot_be() {
        let rule =
            |pattern: &str, user: &str| PeerRule::new(PeerField::Cn, pattern, user, None, &[]);
        for (pattern, user, expected) in [
            ("**********", "a", InvalidPeerRule::Stars),
            ("*", "{2}", InvalidPeerRule::Placeholder),
            ("a", "{1}", InvalidPeerRule::Placeholder),
            ("*", "{0}", InvalidPeerRule::Placeholder),
            ("*", "{cn}", InvalidPeerRule::Placeholder),
            ("*", "a{1", InvalidPeerRule::Placeholder),
        ] {
            assert_eq!(rule(pattern, user), Err(expected), "{pattern} {user}");
        }
        assert_eq!("CN".parse::<PeerField>(), Err(InvalidPeerRule::Field));
    }

    /// Tries every end of every star.
    fn fits(pattern: &str, value: &str) -> bool {
        match pattern.split_once('*') {
            None => pattern == value,
            Some((head, rest)) => value.strip_prefix(head).is_some_and(|left| {
                let ends = left.char_indices().map(|(index, _)| index).chain([left.len()]);
                ends.into_iter().any(|end| fits(rest, &left[end..]))
            }),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_finds_what_the_oracle_finds(pattern in "[ab*]{0,8}", value in "[ab\u{e9}]{0,10}") {
            let found = Pattern::new(&pattern).expect("few stars").find(&value);
            prop_assert_eq!(found.is_some(), fits(&pattern, &value));
            if let Some(stars) = found {
                let mut stars = stars.into_iter();
                let mut filled = String::new();
                for letter in pattern.chars() {
                    match letter {
                        '*' => filled.push_str(stars.next().expect("one for each")),
                        other => filled.push(other),
                    }
                }
                prop_assert_eq!(filled, value);
            }
        }
    }
}
