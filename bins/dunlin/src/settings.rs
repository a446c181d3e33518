//! Every setting, once: its key, its words for the file, and how it is read and written.
//!
//! The file, the environment, the default file and the messages about slips are all made from these tables, so that a
//! setting cannot exist in one of them only.

use dunlin_broker::ListenerConfig;

use crate::authentication::{AuthKind, AuthSettings};
use crate::configuration::{Configuration, ExportDraft, RuleDraft};
use crate::notation::{
    Address, Count, FilePath, Files, Filter, Folder, FreeText, Hidden, KeepAlive, Level, NameList,
    Needed, Notation, OrAll, OrAuto, OrNone, Origins, Permissions, QosDigit, Ranges,
    ServiceAddress, Size, Switch, TenantRules, Time, Topic, VersionList, Word,
};
use crate::quota::{PerTime, QuotaDraft, Somebody};

/// One key of a section whose values live in a `T`.
pub(crate) struct Setting<T> {
    pub(crate) key: &'static str,
    /// One or more lines, each with a blank before it.
    pub(crate) about: &'static str,
    /// The value in TOML.
    pub(crate) write: fn(&T) -> String,
    /// Sets the value, or says what it must be.
    pub(crate) read: fn(&mut T, &str) -> Result<(), String>,
}

/// A table of the file. The first one has no name: its keys stand above all tables.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) settings: &'static [Setting<Configuration>],
}

impl Section {
    /// The name under which messages, variables and origins know `key`.
    pub(crate) fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

macro_rules! settings {
    // Each key says where its value lives.
    (|$owner:ident: $type:ty| $($(#[doc = $about:literal])+ $key:ident: $notation:ty = $place:expr,)+) => {
        &[$(Setting {
            key: stringify!($key),
            about: concat!($($about, "\n"),+),
            write: |$owner: &$type| <$notation as Notation<_>>::write(&$place),
            read: |$owner: &mut $type, text| {
                $place = read::<$notation, _>(text)?;
                Ok(())
            },
        }),+]
    };
    // All keys are the fields of one struct.
    (|$owner:ident: $type:ty| $home:expr; $($(#[doc = $about:literal])+ $key:ident: $notation:ty,)+) => {
        settings! { |$owner: $type| $($(#[doc = $about])+ $key: $notation = $home.$key,)+ }
    };
}

fn read<N: Notation<T>, T>(text: &str) -> Result<T, String> {
    N::read(text).ok_or_else(N::expected)
}

/// The sections of the file in their order. Listeners have sections of their own, made of [`LISTENER`].
pub(crate) const SECTIONS: &[Section] = &[
    Section { name: "", about: "", settings: TOP },
    Section {
        name: "store",
        about: " What survives a restart, and what an acknowledgement promises: docs/DURABILITY.md.\n",
        settings: STORE,
    },
    Section { name: "log", about: " The log, on standard error.\n", settings: LOG },
    Section {
        name: "reload",
        about: " Taking a changed configuration while the broker runs: at SIGHUP, and by itself if it watches the file.\n",
        settings: RELOAD,
    },
    Section { name: "runtime", about: " How the process runs.\n", settings: RUNTIME },
    Section {
        name: "logins",
        about: " What holds for every login, whichever section [auth.NAME] it is judged by.\n",
        settings: LOGINS,
    },
    Section {
        name: "audit",
        about: " The log of security and administrative events: docs/AUDIT.md.\n",
        settings: AUDIT,
    },
    Section {
        name: "sys",
        about: " The $SYS tree: the broker's own numbers as retained messages.\n",
        settings: SYS,
    },
    Section {
        name: "access",
        about: " Who may publish and subscribe to what: docs/ACCESS.md.\n",
        settings: ACCESS,
    },
    Section {
        name: "tenants",
        about: " Tenants share the broker and nothing in it: client ids, topics, shared groups and $SYS are each one's own.\n",
        settings: TENANTS,
    },
    Section {
        name: "bans",
        about: " Who is kept out for a while: docs/LIMITS.md. `dunlin ban` lists, adds and takes back bans.\n",
        settings: BANS,
    },
    Section {
        name: "limits",
        about: " Every bound, and what happens at it. What is dropped or refused is counted by reason.\n",
        settings: LIMITS,
    },
];

const TOP: &[Setting<Configuration>] = settings! { |all: Configuration| all;
    /// Where sessions, queues and retained messages are kept. Made if it is not there; one broker uses it at a time.
    data_dir: Folder,
};

const STORE: &[Setting<Configuration>] = settings! { |all: Configuration|
    /// "disk" keeps everything in data_dir. "memory" keeps it in memory and loses it with the process.
    backend: Word = all.store.backend,
    /// What an acknowledgement promises where neither a rule [[durability]] nor the listener says otherwise. "fsync": the
    /// message is on stable storage and survives a loss of power. "os": it is with the operating system and survives the end
    /// of the process. "memory": it survives nothing. The state of sessions is written with this level.
    durability: Word = all.broker.durability,
    /// How often what was written at level "os" is brought to stable storage: what a loss of power may cost.
    sync_interval: Time = all.store.sync_interval,
    /// Bytes of the store on disk. At the limit no message is taken until there is room. "none": as the disk allows.
    max_bytes: OrNone<Size> = all.store.max_bytes,
    /// Bytes of the disk set aside, so that acknowledgements and removals still find room when the disk is full.
    ballast_bytes: Size = all.store.ballast_bytes,
    /// What happens to an MQTT 3.x client whose message finds no room: "hold" lets it wait for its acknowledgement,
    /// "disconnect" closes its connection. 5.0 clients get 0x97.
    full_3x: Word = all.broker.store_full_3x,
};

/// What a rule `[[durability]]` holds.
pub(crate) const RULE: &[Setting<RuleDraft>] = settings! { |rule: RuleDraft| rule;
    /// The topics that it is about. Of several rules that match, the first counts.
    filter: Needed<Filter>,
    /// Their level, as store.durability: "fsync", "os" or "memory". It counts before that of the listener.
    level: Needed<Word>,
};

/// What a rule `[[quotas]]` holds.
pub(crate) const QUOTA: &[Setting<QuotaDraft>] = settings! { |draft: QuotaDraft|
    /// Whom it is for: "broker", "listener NAME", "tenant NAME", "role NAME" (for each user that has it), "user NAME" and
    /// "client ID" (in each tenant another one), or "each listener", "each tenant", "each user", "each client".
    for: Needed<Somebody> = draft.whom,
    /// Connections at a time, of all in it together. A further client is refused: 0x97 (3.x: "server unavailable").
    connections_max: OrNone<Count> = draft.rule.quotas.connections,
    /// How often clients may connect, all together: "10/s", "100/min", with what can be saved up "10/s burst 50". Beyond:
    /// 0x9F (3.x: "server unavailable"). A login that fails uses none up.
    connects: OrNone<PerTime<Count>> = draft.rule.quotas.connects,
    /// How many PUBLISHes they may send, all together. Beyond, they are read more slowly; then over_rate counts.
    messages_in: OrNone<PerTime<Count>> = draft.rule.quotas.messages_in,
    /// How many bytes they may send, all together: "64 KiB/s". The rule is the same.
    bytes_in: OrNone<PerTime<Size>> = draft.rule.quotas.bytes_in,
    /// What happens to a client of which more waits than it may send for longer than patience: "wait" goes on reading it more
    /// slowly, "drop" drops what is too much (QoS 1 and 2 of 5.0 with 0x97; of 3.x they wait), "disconnect" closes (0x96).
    over_rate: Word = draft.rule.over_rate,
    /// How long it is only read more slowly before that.
    patience: Time = draft.rule.patience,
    /// How many messages they are sent, all together. Beyond, messages wait in their queues, whose own limits hold.
    messages_out: OrNone<PerTime<Count>> = draft.rule.quotas.messages_out,
    /// How many bytes they are sent, all together. The rule is the same.
    bytes_out: OrNone<PerTime<Size>> = draft.rule.quotas.bytes_out,
    /// For tenants: retained messages. One for a further topic is not kept, and a QoS 1 or 2 publisher of 5.0 told 0x97.
    retained_messages_max: OrNone<Count> = draft.rule.quotas.retained_messages,
    /// For tenants: bytes of retained messages, topic and properties included. The rule is the same.
    retained_bytes_max: OrNone<Size> = draft.rule.quotas.retained_bytes,
    /// Subscriptions of each session. A further one is answered 0x97 (3.1.1: 0x80).
    subscriptions_max: OrNone<Count> = draft.rule.quotas.subscriptions,
    /// Levels of a topic filter. A deeper one is answered 0x8F (3.1.1: 0x80).
    filter_levels_max: OrNone<Count> = draft.rule.quotas.filter_levels,
    /// Bytes of a topic name. A message with a longer one is answered 0x90; of 3.x it closes the connection.
    topic_bytes_max: OrNone<Size> = draft.rule.quotas.topic_bytes,
    /// Messages waiting for each session. At the limit `overflow` of [limits] decides.
    queue_messages_max: OrNone<Count> = draft.rule.quotas.queue_messages,
    /// Bytes of the messages waiting for each session. The rule is the same.
    queue_bytes_max: OrNone<Size> = draft.rule.quotas.queue_bytes,
    /// Bytes of a packet, for clients that connect afterwards; 5.0 clients are told. A larger one closes the connection: 0x95.
    packet_bytes_max: OrNone<Size> = draft.rule.quotas.packet_bytes,
    /// QoS 1 and 2 messages under way in each direction, for clients that connect afterwards; 5.0 clients are told.
    inflight_max: OrNone<Count> = draft.rule.quotas.inflight,
    /// The shortest Keep Alive, for clients that connect afterwards. 5.0 clients that ask for a shorter one are told this one;
    /// those of 3.x are refused: "server unavailable".
    keep_alive_min: OrNone<Time> = draft.rule.quotas.keep_alive_min,
    /// The longest Keep Alive, for clients that connect afterwards. 5.0 clients are told; those of 3.x keep theirs.
    keep_alive_max: OrNone<Time> = draft.rule.quotas.keep_alive_max,
    /// The longest session expiry, for clients that connect afterwards; 3.x clients with Clean Session 0 get it too.
    session_expiry_max: OrNone<Time> = draft.rule.quotas.session_expiry_max,
};

/// What a rule `[[tenants.exports]]` holds.
pub(crate) const EXPORT: &[Setting<ExportDraft>] = settings! { |rule: ExportDraft| rule;
    /// The tenant whose clients publish.
    from: Needed<FreeText>,
    /// The topics that cross. Those that begin with $ never do.
    filter: Needed<Filter>,
    /// The tenant whose clients get them too. Of several rules from one tenant to another, the first that matches counts.
    to: Needed<FreeText>,
    /// Where they stand there: with "shared/weather" the topic public/wind is shared/weather/public/wind. "none": by their own
    /// names.
    below: OrNone<Topic>,
};

/// What such a rule may leave out.
pub(crate) const EXPORT_OPTIONAL: &str = "below";

const LOG: &[Setting<Configuration>] = settings! { |all: Configuration| all.log;
    /// "error", "warn", "info", "debug", "trace" or "off"; by module: "info,dunlin_broker=debug".
    level: Level,
    /// "text" for people, "json" for machines. One line per event in both.
    format: Word,
};

const RELOAD: &[Setting<Configuration>] = settings! { |all: Configuration| all.reload;
    /// Reloads by itself when the file has changed.
    watch: Switch,
    /// How often it looks at the file. A change is taken when two looks in a row find it the same.
    watch_interval: Time,
    /// What a lowered limit does to those above it: false names them and leaves them, true closes connections beyond
    /// connections_max and drops the oldest messages of queues beyond queue_messages_max and queue_bytes_max.
    enforce_limits: Switch,
};

const RUNTIME: &[Setting<Configuration>] = settings! { |all: Configuration| all.runtime;
    /// Threads that serve connections. "auto": one per core.
    worker_threads: OrAuto<Count>,
};

const LOGINS: &[Setting<Configuration>] = settings! { |all: Configuration| all.logins;
    /// Threads that compute password hashes, and nothing else. "auto": half as many as there are cores, at least one.
    hash_threads: OrAuto<Count>,
    /// Passwords that wait for those threads. At the limit the newest of the address that has most of them waiting is refused:
    /// server busy.
    hash_waiting_max: Count,
    /// Passwords of one address that wait. A further one is refused: server busy.
    hash_waiting_per_address_max: Count,
    /// Makes who fails too often wait: its next logins are refused unseen, with "connection rate exceeded".
    throttle: Switch,
    /// Failed logins from one address, or one IPv6 network of 64 bits, before it has to wait. So many may fail again in each
    /// address_failures_per.
    address_failures_max: Count,
    /// The time in which as many may fail again.
    address_failures_per: Time,
    /// Failed logins of one user from one address before this user has to wait there. From elsewhere it comes in.
    user_failures_max: Count,
    /// The time in which as many may fail again.
    user_failures_per: Time,
};

const AUDIT: &[Setting<Configuration>] = settings! { |all: Configuration| all.audit;
    /// The file to which security and administrative events are appended as lines of JSON, opened anew at SIGHUP. "none": they
    /// stand in the log only.
    file: OrNone<Folder>,
};

/// What every section `[auth.NAME]` may hold, whatever its kind.
pub(crate) const AUTH: &[Setting<AuthSettings>] = settings! { |auth: AuthSettings| auth;
    /// How clients are known: "file", "peer", "jwt", "http", "postgres", "mysql", "sqlite", "redis" or "ldap". Left out, the
    /// section's name says it.
    kind: Needed<Word>,
};

/// What a section of one kind holds beside that.
pub(crate) struct KindSettings {
    pub(crate) kind: AuthKind,
    /// One or more lines, each with a blank before it.
    pub(crate) about: &'static str,
    pub(crate) settings: &'static [Setting<AuthSettings>],
    /// Settings that several kinds have.
    pub(crate) shared: &'static [Setting<AuthSettings>],
}

impl KindSettings {
    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Setting<AuthSettings>> + use<> {
        self.settings.iter().chain(self.shared)
    }
}

/// The kinds of sections `[auth.NAME]`.
pub(crate) const KINDS: &[KindSettings] = &[
    KindSettings {
        kind: AuthKind::File,
        about: " A file of users, made by `dunlin user`, or a password file of Mosquitto.\n",
        settings: AUTH_FILE,
        shared: &[],
    },
    KindSettings {
        kind: AuthKind::Peer,
        about: " The client's certificate, the owner of its process behind a Unix socket, or what a proxy said.\n",
        settings: AUTH_PEER,
        shared: &[],
    },
    KindSettings {
        kind: AuthKind::Jwt,
        about: " JSON Web Tokens: who issued one says who its bearer is. docs/AUTHENTICATION.md.\n",
        settings: AUTH_JWT,
        shared: &[],
    },
    KindSettings {
        kind: AuthKind::Http,
        about: " A service that is asked over HTTP about each login. docs/AUTHENTICATION.md.\n",
        settings: AUTH_HTTP,
        shared: &[],
    },
    KindSettings {
        kind: AuthKind::Postgres,
        about: " A PostgreSQL database that is asked about each login. docs/AUTHENTICATION.md.\n",
        settings: AUTH_SQL,
        shared: AUTH_LOOKUP,
    },
    KindSettings {
        kind: AuthKind::MySql,
        about: " A MySQL or MariaDB database that is asked about each login. docs/AUTHENTICATION.md.\n",
        settings: AUTH_SQL,
        shared: AUTH_LOOKUP,
    },
    KindSettings {
        kind: AuthKind::Sqlite,
        about: " A file of SQLite that is asked about each login. docs/AUTHENTICATION.md.\n",
        settings: AUTH_SQLITE,
        shared: AUTH_LOOKUP,
    },
    KindSettings {
        kind: AuthKind::Redis,
        about: " A Redis server that is asked about each login. docs/AUTHENTICATION.md.\n",
        settings: AUTH_REDIS,
        shared: AUTH_LOOKUP,
    },
    KindSettings {
        kind: AuthKind::Ldap,
        about: " A directory that is asked by LDAP about each login. docs/AUTHENTICATION.md.\n",
        settings: AUTH_LDAP,
        shared: AUTH_LOOKUP,
    },
];

const AUTH_PEER: &[Setting<AuthSettings>] = settings! { |auth: AuthSettings| auth.peer;
    /// What is looked at: of the certificate "cn", "dn", "dns", "uri", "email", "serial" or "fingerprint"; "uid" or "gid" of the
    /// process behind a Unix socket; "proxy_cn", the name in the certificate that a proxy verified.
    field: Needed<Word>,
    /// What it must be. Each * stands for any text. Clients that do not fit are passed on.
    pattern: FreeText,
    /// The user's name. {value} is the whole field, {1} to {9} are what the stars of the pattern stood for.
    user: FreeText,
    /// The tenant, made in the same way.
    tenant: OrNone<FreeText>,
    /// The roles, each made in the same way.
    roles: NameList,
};

const AUTH_FILE: &[Setting<AuthSettings>] = settings! { |auth: AuthSettings| auth.file;
    /// The file. A client that is in it comes in by its password or not at all; others are passed on.
    path: Needed<Folder>,
    /// Takes MQTT 5.0 clients with the Authentication Method SCRAM-SHA-256, where the file has a verifier of them.
    scram: Switch,
    /// How often is looked whether the file has changed.
    watch_interval: Time,
    /// Right passwords that are remembered as an HMAC, and wrong ones as many, so that they need not be hashed again. At the
    /// limit the oldest is forgotten; all are when the file changes. 0: none is remembered.
    cache_entries_max: Count,
    /// How long each is remembered.
    cache_ttl: Time,
};

const AUTH_JWT: &[Setting<AuthSettings>] = settings! { |auth: AuthSettings| auth.jwt;
    /// Files with keys that tokens are signed by: a public key in PEM, or JSON (JWK, JWKS). "ID=FILE" gives a key in PEM the
    /// `kid` ID; without one it is for any.
    key_files: NameList,
    /// The secret of HS256, HS384 and HS512, at least 32, 48 and 64 bytes. "none": tokens are not signed by a secret.
    secret: OrNone<Hidden>,
    /// An HTTPS address with the issuer's keys (JWKS). While it does not answer, the last ones stay. "none": there is none.
    jwks_url: OrNone<ServiceAddress>,
    /// How often they are fetched. An unknown `kid` has them fetched at once, every 30 s at most.
    jwks_refresh: Time,
    /// Certificates (PEM) of who may vouch for that address. "none": those of the system.
    jwks_ca_file: OrNone<Folder>,
    /// The algorithms that are taken: HS, RS, PS and ES with 256, 384 and 512, EdDSA. Empty: each that a key is for.
    algorithms: NameList,
    /// Where tokens are looked for: "password", "user_name", and "auth" for an Authentication Method of MQTT 5.0.
    token_in: NameList,
    /// The name of that method.
    method: FreeText,
    /// Issuers that are taken (`iss`); tokens of others are passed on. Empty: any.
    issuers: NameList,
    /// Audiences of which a token has to name one (`aud`). Empty: it is not looked at.
    audiences: NameList,
    /// By how much the clocks of issuer and broker may differ: `exp` and `nbf` count as that much later and earlier.
    leeway: Time,
    /// Takes tokens without `exp`. Their connections do not end by themselves.
    allow_without_expiry: Switch,
    /// The claim that becomes the user. "a.b" is the claim b of the object a.
    user_claim: FreeText,
    /// The claim that becomes the tenant, which a token must then have. "none": tokens say nothing of it.
    tenant_claim: OrNone<FreeText>,
    /// The claim that lists the roles, as a list or as one text with blanks. "none": tokens say nothing of them.
    roles_claim: OrNone<FreeText>,
    /// Claims that rules can use: "site" as {claims.site}, "place=address.city" as {claims.place}.
    attribute_claims: NameList,
    /// Bytes of a token. A longer one is refused.
    token_bytes_max: Size,
};

const AUTH_HTTP: &[Setting<AuthSettings>] = settings! { |auth: AuthSettings| auth.http;
    /// The service's address. Passwords are sent to it: it begins with https unless it is on this machine.
    url: Needed<ServiceAddress>,
    /// The value of the header Authorization. "none": none is sent.
    authorization: OrNone<Hidden>,
    /// Certificates (PEM) of who may vouch for the service. "none": those of the system.
    ca_file: OrNone<Folder>,
    /// How long an answer may take, waiting for a turn and connecting included. Later it is a failure.
    timeout: Time,
    /// Bytes of an answer. A longer one is a failure.
    answer_bytes_max: Size,
    /// Connections that are kept open. Further ones are closed after use.
    idle_connections_max: Count,
    /// Questions at once. Further clients wait for their turn.
    questions_max: Count,
    /// Clients that wait for their turn. For a further one the service has failed.
    waiting_max: Count,
    /// What becomes of a client when the service fails: "refuse", "pass_on" to the next step, or "accept" under the name that
    /// it gives, unproven.
    on_failure: Word,
    /// Answers that are kept, each by an HMAC of what was asked. At the limit the oldest is forgotten. 0: none is kept.
    cache_entries_max: Count,
    /// How long one that accepts is kept.
    cache_accepted: Time,
    /// How long one that refuses or passes on is kept.
    cache_refused: Time,
};

const SYS: &[Setting<Configuration>] = settings! { |all: Configuration| all.broker.sys;
    /// How often the numbers are published. "none": there is no $SYS tree.
    interval: OrNone<Time>,
    /// What happens to an MQTT 3.x client that publishes below $SYS/: "drop" (counted) or "close". 5.0 clients get 0x87.
    publish_3x: Word,
};

const ACCESS: &[Setting<Configuration>] = settings! { |all: Configuration|
    /// The file of rules. What none of them allows is refused. "none": everybody may do everything.
    file: OrNone<FilePath> = all.access.file,
    /// A client that connects with the client id of a session that another identity made: "refuse" does not let it in, "allow"
    /// gives it the session.
    foreign_sessions: Word = all.broker.access.foreign_sessions,
};

const TENANTS: &[Setting<Configuration>] = settings! { |all: Configuration| all.broker.tenants;
    /// Which tenant a client belongs to, by the first of these that names one. "identity": who authenticated it says so;
    /// "attribute claims.sub": that attribute of it; "server_name .mqtt.example.com": what stands before this in the host name
    /// of its TLS handshake; "user_name /": what stands before this character in the user name that it proved;
    /// "listener lan=acme": all clients of that listener; "everybody acme": all whom no rule before concerned.
    rules: TenantRules,
    /// A client for which no rule names a tenant: "default" is a tenant like others, in whose $SYS the whole broker's numbers
    /// are and into which the first four rules never lead; "refuse" does not let it in.
    otherwise: Word,
    /// Tenants beside "default". A client of one more is refused. Those that a client once came into stay, over restarts too.
    tenants_max: Count,
};

const AUTH_SQL: &[Setting<AuthSettings>] = settings! { |auth: AuthSettings| auth.sql;
    /// The database's address, such as "postgres://dunlin@db.example/users?sslmode=verify-full" or
    /// "mysql://dunlin@db.example/users?ssl-mode=VERIFY_IDENTITY". It may hold a password, and so counts as a secret.
    url: Needed<Hidden>,
    /// The password for the database. "none": the address has it, or there is none.
    password: OrNone<Hidden>,
    /// Who a client is: a query with {username}, and with {clientId}, {address} and {listener} if need be, which become bound
    /// parameters. Its columns are password_hash, user_name, tenant, roles, and any other one as an attribute.
    query: Needed<FreeText>,
};

const AUTH_SQLITE: &[Setting<AuthSettings>] = settings! { |auth: AuthSettings| auth.sqlite;
    /// The file of the database. It is only read.
    path: Needed<FilePath>,
    /// Who a client is, as for the other databases.
    query: Needed<FreeText>,
};

const AUTH_REDIS: &[Setting<AuthSettings>] = settings! { |auth: AuthSettings| auth.redis;
    /// The server's address, such as "rediss://dunlin@redis.example/0". It may hold a password, and so counts as a secret.
    url: Needed<Hidden>,
    /// The password for the server. "none": the address has it, or there is none.
    password: OrNone<Hidden>,
    /// Certificates (PEM) of who may vouch for the server. "none": those of the system.
    ca_file: OrNone<FilePath>,
    /// The key of a user, with {username}. It is a hash with the fields password_hash, user_name, tenant and roles.
    key: FreeText,
    /// Further fields that rules can use: "site" as {claims.site}.
    attributes: NameList,
};

const AUTH_LDAP: &[Setting<AuthSettings>] = settings! { |auth: AuthSettings| auth.ldap;
    /// The directory's address: "ldaps://HOST", "ldap://HOST" or "ldapi://%2FPATH".
    url: Needed<ServiceAddress>,
    /// Begins TLS on a connection to ldap:// before anything is said.
    starttls: Switch,
    /// Certificates (PEM) of who may vouch for the directory. "none": those of the system.
    ca_file: OrNone<FilePath>,
    /// The name of a user's entry, such as "uid={username},ou=people,dc=example". "none": it is searched for.
    user_dn: OrNone<FreeText>,
    /// The name of who searches. "none": nobody by name.
    bind_dn: OrNone<FreeText>,
    /// Its password.
    bind_password: OrNone<Hidden>,
    /// The entry below which users are searched for.
    base: OrNone<FreeText>,
    /// Which entry is a user's, with {username} and {clientId}. Where several fit, the client is refused.
    filter: FreeText,
    /// The attribute that says who the user is, since directories take "alice" and "ALICE" for the same and rules do not.
    /// "none": the User Name as the client gives it.
    user_attribute: OrNone<FreeText>,
    /// The attribute that names the tenant.
    tenant_attribute: OrNone<FreeText>,
    /// The attribute that lists the roles, such as "memberOf". Of the name of an entry its first part counts: "ops" of
    /// "cn=ops,ou=groups,dc=example".
    roles_attribute: OrNone<FreeText>,
    /// Further attributes that rules can use: "l" as {claims.l}, "site=l" as {claims.site}.
    attributes: NameList,
    /// The entry below which a user's groups are searched for, which are roles too. "none": they are not.
    group_base: OrNone<FreeText>,
    /// Which groups are a user's, with {dn}, the name of its entry, {username} and {clientId}.
    group_filter: FreeText,
    /// The attribute of a group that is the role.
    group_attribute: FreeText,
};

const AUTH_LOOKUP: &[Setting<AuthSettings>] = settings! { |auth: AuthSettings| auth.lookup;
    /// How long an answer may take, waiting for a turn and connecting included. Later the database has failed. All steps
    /// together have limits.hook_deadline.
    timeout: Time,
    /// Connections, and questions at once. Further clients wait for their turn.
    connections_max: Count,
    /// Clients that wait for their turn. For a further one the database has failed.
    waiting_max: Count,
    /// What becomes of a client while the database is away: "refuse", "pass_on" to the next step, or "accept" under the name
    /// that it gives, unproven. One about which it answers what cannot be used is refused.
    on_failure: Word,
    /// What becomes of a client whose name the database does not have: "pass_on" to the next step, or "refuse".
    unknown_user: Word,
    /// Answers that are kept, each by an HMAC of what was asked: so many that let in, and as many others. At the limit the
    /// oldest is forgotten. 0: none is kept.
    cache_entries_max: Count,
    /// How long an answer is kept that lets a client in.
    cache_accepted: Time,
    /// How long another one is kept.
    cache_refused: Time,
};

const BANS: &[Setting<Configuration>] = settings! { |all: Configuration| all.broker.bans;
    /// A client that connects so often in flap_within is banned by its client id, in its tenant: 2 to 64. Only connects that
    /// pass authentication count. "none": nobody is.
    flap_connects: OrNone<Count>,
    /// The time in which they count.
    flap_within: Time,
    /// For how long it is banned.
    flap_ban: Time,
    /// An address, or an IPv6 network of 64 bits, from which so many logins fail in failures_within is banned: 2 to 64. Never a
    /// user, who may come from elsewhere. "none": none is.
    failures: OrNone<Count>,
    /// The time in which they count.
    failures_within: Time,
    /// For how long it is banned.
    failures_ban: Time,
    /// Addresses that are never banned for failed logins, such as that of a proxy by which many come: ["10.0.0.0/8"].
    exempt: Ranges,
};

const LIMITS: &[Setting<Configuration>] = settings! { |all: Configuration| all.broker.limits;
    /// The largest packet taken from a client. A larger one closes its connection.
    packet_bytes_max: Size,
    /// The same before its CONNECT is accepted.
    packet_bytes_max_before_connect: Size,
    /// Levels in a topic. Deeper ones are refused.
    topic_levels_max: Count,
    /// Bytes in a client id. A longer one is refused.
    client_id_bytes_max: Count,
    /// Takes control characters in topics and client ids.
    allow_control_characters: Switch,
    /// Takes code points that are no characters, such as U+FFFF, in topics and client ids.
    allow_non_characters: Switch,
    /// Open connections. A further one is closed. "auto": as many as file descriptors allow.
    connections_max: OrAuto<Count>,
    /// From connecting to CONNECT accepted. Later the connection is closed.
    connect_deadline: Time,
    /// The longest keep alive. 5.0 clients that ask for more, or for none, are told. "none": as they ask.
    keep_alive_max: OrNone<KeepAlive>,
    /// A client that takes no byte for so long while bytes wait for it is closed.
    write_stall_max: Time,
    /// How long connections may drain when the broker stops.
    shutdown_drain_max: Time,
    /// How long accepting pauses when the process has no file descriptor left.
    accept_pause: Time,
    /// How long a hook or an authenticator may take. Then the answer is no.
    hook_deadline: Time,
    /// QoS 1 and 2 messages taken from a client and not yet acknowledged. A 5.0 client that sends more is closed, a 3.x
    /// client is not read further.
    receive_maximum: Count,
    /// QoS 1 and 2 messages sent to a client and not yet acknowledged. Further ones wait in its queue.
    inflight_max: Count,
    /// Topic aliases that a client may set. A higher one closes its connection.
    topic_alias_maximum: Count,
    /// Topic aliases set towards a client that allows them. Further topics are sent in full.
    topic_alias_out_maximum: Count,
    /// Bytes of topics behind the aliases of a connection, each way. More closes it; towards it, topics are sent in full.
    alias_bytes_max: Size,
    /// Sessions, connected or not. A client that would make one more is refused.
    sessions_max: Count,
    /// The longest session expiry; 3.x clients with Clean Session 0 get it too. "none": as they ask, for ever included.
    session_expiry_max: OrNone<Time>,
    /// Subscriptions of a session. A further one is refused.
    subscriptions_max: Count,
    /// Messages waiting for a session. At the limit `overflow` decides.
    queue_messages_max: Count,
    /// Bytes of the messages waiting for a session. At the limit `overflow` decides.
    queue_bytes_max: Size,
    /// Messages of a durable session's queue that are in memory. Those behind them are in the store until their turn comes.
    queue_memory_messages_max: Count,
    /// Bytes of those messages. The rule is the same.
    queue_memory_bytes_max: Size,
    /// "drop_new" drops the message that does not fit, "drop_oldest" makes room for it, "disconnect" drops it and the
    /// client's connection, not its session.
    overflow: Word,
    /// Queues QoS 0 messages for clients that are away. Otherwise they are dropped.
    queue_qos0: Switch,
    /// QoS 0 bytes waiting for a connected client before those who publish them are read more slowly.
    qos0_lane_bytes_soft: Size,
    /// QoS 0 bytes waiting for a connected client. Further QoS 0 messages for it are dropped.
    qos0_lane_bytes_hard: Size,
    /// The longest that a publisher waits for slower receivers: it is read more slowly, or gets its acknowledgements later.
    publisher_slow_max: Time,
    /// Messages waiting in a shared group when no member can take them. Further ones are dropped.
    shared_group_queue_messages_max: Count,
    /// Bytes of those messages. Further ones are dropped.
    shared_group_queue_bytes_max: Size,
    /// Topics for which a connection remembers the receivers.
    route_cache_entries_max: Count,
    /// Retained messages. One for a further topic is not kept; its publisher is told at QoS 1 and 2.
    retained_messages_max: Count,
    /// Bytes of retained messages; the same happens. "auto": half of memory_bytes_max.
    retained_bytes_max: OrAuto<Size>,
    /// How far the sending of retained messages to new subscriptions runs ahead of their client, at most 128 KiB.
    replay_bytes_ahead: Size,
    /// Memory for messages and sessions. Near it, in this order: no new connections, loud publishers slowed, QoS 0 dropped,
    /// QoS 1 and 2 refused. "auto": half of the memory of the machine or control group.
    memory_bytes_max: OrAuto<Size>,
    /// Messages waiting for the store's next commit. At the limit their publishers wait.
    commit_queue_messages_max: Count,
    /// Bytes that one commit takes together.
    commit_batch_bytes_max: Size,
    /// Wills published in one second of those that become due while their clients are away, say after a restart. Further
    /// ones wait their turn.
    wills_per_second_max: Count,
};

/// What a section `[listeners.NAME]` holds.
pub(crate) const LISTENER: &[Setting<ListenerConfig>] = settings! { |listener: ListenerConfig| listener;
    /// The IP address and port. Port 0 takes a free one. 0.0.0.0 is every IPv4 address of the machine, [::] every IPv6 one and
    /// no IPv4 one. "quic:0.0.0.0:14567" is MQTT over QUIC, "unix:/run/dunlin/mqtt.sock" a Unix socket, "systemd:mqtt" what the
    /// service manager hands over.
    address: Address,
    /// "mqtt", "websocket" or "auto": both on one port, told apart by the first bytes.
    protocol: Word,
    /// Lets clients in without credentials. Left out: true on 127.0.0.0/8, ::1 and Unix sockets while nobody is asked who clients
    /// are. Elsewhere it must be said, or somebody be asked: nobody could come in otherwise.
    allow_anonymous: Switch,
    /// Keeps the sessions of this listener's anonymous clients from those of listeners with another anonymous user. "none":
    /// they are open to the anonymous clients of all listeners that name none.
    anonymous_user: OrNone<FreeText>,
    /// The sections [auth.NAME] that are asked who a client is, in this order. "all": each, in the order in which they stand.
    authentication: OrAll<NameList>,
    /// The MQTT versions served.
    versions: VersionList,
    /// The highest QoS: 0, 1 or 2.
    maximum_qos: QosDigit,
    /// Whether clients may publish retained messages.
    retain_available: Switch,
    /// Whether filters may hold + and #.
    wildcard_subscription_available: Switch,
    /// Whether 5.0 clients may number their subscriptions.
    subscription_identifiers_available: Switch,
    /// Whether $share/group/filter is served.
    shared_subscription_available: Switch,
    /// What 5.0 clients that ask for Response Information get: by convention how the topics for responses begin.
    response_information: OrNone<FreeText>,
    /// Connections that have not completed CONNECT. At the limit accepting pauses.
    handshakes_max: Count,
    /// Open connections here. A further one is closed. "none": only limits.connections_max counts.
    connections_max: OrNone<Count>,
    /// Connections that the kernel holds until they are accepted.
    backlog: Count,
    /// How long all that comes before MQTT may take, from accepting on, waiting for its turn included. Later it is closed.
    handshake_deadline: Time,
    /// The certificate chain, the server's own certificate first, as a PEM file: with one, TLS is spoken. Of several files in a
    /// list the one is shown whose name the client asks for, else the first.
    tls_certificate: Files,
    /// The private key, or the keys in the same order: PEM, not encrypted.
    tls_key: Files,
    /// Whether clients show certificates: "off", "optional" or "required".
    tls_client_certificates: Word,
    /// Authorities that issue the clients' certificates: PEM, one or more in a file.
    tls_client_authorities: Files,
    /// Lists of revoked certificates: PEM. If there are any, each certificate of a client's chain has to be covered by one.
    tls_client_revocations: Files,
    /// The oldest version of TLS: "1.2" or "1.3".
    tls_minimum: Word,
    /// Gives clients tickets, by which they come back with a shorter handshake.
    tls_tickets: Switch,
    /// How often these files are looked at. Changed ones are used for whoever connects from then on, if they are good.
    tls_watch_interval: Time,
    /// The path of WebSocket requests.
    websocket_path: FreeText,
    /// The pages whose scripts may connect, such as ["https://app.example"], or "any". Other programs are not asked, and an
    /// origin that is the server's own IP address or localhost is let in. "auto": none where anonymous clients are let in,
    /// else any.
    websocket_origins: OrAuto<Origins>,
    /// Refuses WebSocket requests that do not name the subprotocol mqtt.
    websocket_require_subprotocol: Switch,
    /// The head of a WebSocket request. A longer one is refused.
    websocket_head_bytes_max: Size,
    /// Proxies that are believed when they name the client in X-Forwarded-For or X-Real-IP, such as ["10.0.0.0/8"].
    websocket_trusted_proxies: Ranges,
    /// Addresses of proxies that begin each connection with a PROXY header (v1 or v2). Everybody else is refused. "none": there
    /// is no such header.
    proxy_protocol_from: OrNone<Ranges>,
    /// Whether small writes leave at once.
    tcp_nodelay: Switch,
    /// Silence after which a peer is probed, every 15 s and four times, so that dead ones go. "none": never.
    tcp_keepalive: OrNone<Time>,
    /// How long a peer's system may leave bytes unacknowledged (on Linux). "none": as long as the kernel tries.
    tcp_user_timeout: OrNone<Time>,
    /// How long a QUIC client may be silent before its connection is lost. It may ask for less.
    quic_idle_timeout: Time,
    /// How often a silent QUIC client is asked for a sign of life, which also keeps ways through NATs open. "none": never.
    quic_keep_alive: OrNone<Time>,
    /// Lets other processes of the same user listen on the same address, the kernel spreading clients over them.
    reuse_port: Switch,
    /// The kernel's receive buffer of each client. "none": the kernel sizes it.
    receive_buffer_bytes: OrNone<Size>,
    /// The kernel's send buffer of each client. "none": the kernel sizes it.
    send_buffer_bytes: OrNone<Size>,
    /// Permissions of the file of a Unix socket, in octal digits: who may write may connect.
    unix_mode: Permissions,
    /// Its owner, by name or number. "none": whoever runs the broker.
    unix_user: OrNone<FreeText>,
    /// Its group, by name or number. "none": that of whoever runs the broker.
    unix_group: OrNone<FreeText>,
    /// What an acknowledgement promises to clients that publish here: "fsync", "os" or "memory". "none": store.durability.
    durability: OrNone<Word>,
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Debug;

    use dunlin_broker::config::{Applies, Limits, SysConfig};
    use dunlin_broker::{BansConfig, TenantsConfig};

    use crate::reload::effect;

    use super::*;

    /// The fields of a struct as its Debug output names them.
    fn fields(value: &impl Debug) -> BTreeSet<String> {
        let text = format!("{value:#?}");
        let own = text
            .lines()
            .filter_map(|line| line.strip_prefix("    "))
            .filter(|line| !line.starts_with(' '));
        own.filter_map(|line| Some(line.split_once(": ")?.0.to_owned())).collect()
    }

    fn keys<T>(settings: &[Setting<T>]) -> BTreeSet<String> {
        settings.iter().map(|setting| setting.key.to_owned()).collect()
    }

    #[test]
    fn every_field_of_the_library_is_a_setting() {
        assert_eq!(keys(LIMITS), fields(&Limits::default()));
        assert_eq!(keys(SYS), fields(&SysConfig::default()));
        let mut tenants = fields(&TenantsConfig::default());
        assert!(tenants.remove("exports"), "they are tables of their own");
        assert_eq!(keys(TENANTS), tenants);
        assert_eq!(keys(BANS), fields(&BansConfig::default()));
        let mut listener = fields(&ListenerConfig::default());
        assert!(listener.remove("name"), "the name is the section's");
        assert_eq!(keys(LISTENER), listener);
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut configuration = Configuration::default();
        for section in SECTIONS {
            for setting in section.settings {
                let text = (setting.write)(&configuration);
                let text = text.trim_matches(['"', '[', ']']);
                (setting.read)(&mut configuration, text).expect(setting.key);
            }
        }
        assert_eq!(configuration, Configuration::default());
    }

    /// `docs/CONFIGURATION.md` has a row for each setting, with these words.
    #[test]
    fn the_reference_says_what_the_tables_say() {
        let reference = include_str!("../../../docs/CONFIGURATION.md");
        let configuration = Configuration::default();
        let global = SECTIONS.iter().flat_map(|section| {
            section.settings.iter().map(move |setting| (section.path(setting.key), setting))
        });
        let global = global.map(|(path, setting)| {
            (setting.key, path, setting.about, (setting.write)(&configuration))
        });
        let listener = ListenerConfig::default();
        let local = LISTENER.iter().map(|setting| {
            let default = (setting.write)(&listener);
            (setting.key, format!("listeners.x.{}", setting.key), setting.about, default)
        });
        let section = AuthSettings::default();
        let kinds = KINDS.iter().flat_map(KindSettings::all);
        let auth = AUTH.iter().chain(kinds).map(|setting| {
            let default = match (setting.write)(&section) {
                unsaid if unsaid == "\"\"" => String::new(),
                said => said,
            };
            (setting.key, format!("auth.x.{}", setting.key), setting.about, default)
        });
        let rules = || "durability".to_owned();
        let rule = RULE.iter().map(|setting| (setting.key, rules(), setting.about, String::new()));
        let draft = QuotaDraft::default();
        let quota = QUOTA.iter().map(|setting| {
            let default = match (setting.write)(&draft) {
                unsaid if unsaid == "\"\"" => String::new(),
                said => said,
            };
            (setting.key, "quotas".to_owned(), setting.about, default)
        });
        let export = EXPORT.iter().map(|setting| {
            let default = if setting.key == EXPORT_OPTIONAL { "\"none\"" } else { "" };
            (setting.key, "tenants.exports".to_owned(), setting.about, default.to_owned())
        });
        let all = global.chain(local).chain(auth).chain(rule).chain(quota).chain(export);
        for (key, path, about, default) in all {
            let about = about.lines().map(str::trim).collect::<Vec<_>>().join(" ");
            let default = match key {
                "kind" => "(the name)".to_owned(),
                _ if key == "address" || default.is_empty() => "(must be given)".to_owned(),
                "allow_anonymous" => "(`true` on loopback)".to_owned(),
                _ => format!("`{default}`"),
            };
            let applies = match effect(&path).expect("every setting says when it takes effect") {
                Applies::Live => "at once",
                other @ (Applies::NewConnections | Applies::Restart) => other.name(),
            };
            let row = format!("| `{key}` | {default} | {applies} | {about} |");
            assert!(
                reference.lines().any(|line| line == row),
                "docs/CONFIGURATION.md lacks: {row}"
            );
        }
    }
}
