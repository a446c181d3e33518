//! Sections `[auth.NAME]` of kind "jwt": from what one says to the step that takes tokens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_auth::SecretSource;
use dunlin_auth::http::Url;
use dunlin_auth::jwt::{
    Algorithm, JwksConfig, JwtAuthenticator, JwtConfig, KEY_BYTES_MAX, Key, KeySet, Origin,
    RemoteKeys, TokenPlace, TokenRules,
};

/// What a section about tokens says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct JwtSettings {
    pub(crate) key_files: Vec<String>,
    pub(crate) secret: Option<SecretSource>,
    pub(crate) jwks_url: Option<String>,
    pub(crate) jwks_refresh: Duration,
    pub(crate) jwks_ca_file: Option<PathBuf>,
    pub(crate) algorithms: Vec<String>,
    pub(crate) token_in: Vec<String>,
    pub(crate) method: String,
    pub(crate) issuers: Vec<String>,
    pub(crate) audiences: Vec<String>,
    pub(crate) leeway: Duration,
    pub(crate) allow_without_expiry: bool,
    pub(crate) user_claim: String,
    pub(crate) tenant_claim: Option<String>,
    pub(crate) roles_claim: Option<String>,
    pub(crate) attribute_claims: Vec<String>,
    pub(crate) token_bytes_max: usize,
}

impl Default for JwtSettings {
    fn default() -> Self {
        let TokenRules { claims, names, token_bytes_max, .. } = TokenRules::default();
        Self {
            key_files: Vec::new(),
            secret: None,
            jwks_url: None,
            // As [`JwksConfig::new`] has it.
            jwks_refresh: Duration::from_secs(15 * 60),
            jwks_ca_file: None,
            algorithms: Vec::new(),
            token_in: vec!["password".to_owned(), "auth".to_owned()],
            method: "JWT".to_owned(),
            issuers: claims.issuers,
            audiences: claims.audiences,
            leeway: claims.leeway,
            allow_without_expiry: claims.allow_without_expiry,
            user_claim: names.user,
            tenant_claim: names.tenant,
            roles_claim: names.roles,
            attribute_claims: Vec::new(),
            token_bytes_max,
        }
    }
}

/// The step that a section asks for. Keys from an address are not fetched yet.
pub(crate) fn open(settings: &JwtSettings) -> Result<Arc<JwtAuthenticator>, String> {
    let algorithms = algorithms(&settings.algorithms)?;
    let fixed = fixed_keys(settings, &algorithms)?;
    let remote = match &settings.jwks_url {
        Some(url) => Some(remote_keys(settings, url, algorithms)?),
        None => None,
    };
    if fixed.is_empty() && remote.is_none() {
        return Err("says no key: `key_files`, `secret` and `jwks_url` each give some".to_owned());
    }
    let config = JwtConfig { rules: rules(settings), places: places(settings)? };
    Ok(Arc::new(JwtAuthenticator::new(config, fixed, remote)))
}

/// The files that a section reads beside keys that are fetched; none if it fetches none, so that nothing is lost by opening it
/// anew.
pub(crate) fn files_beside_keys(settings: &JwtSettings) -> Option<Vec<PathBuf>> {
    settings.jwks_url.as_ref()?;
    let keys = settings.key_files.iter().map(|named| {
        let path = named.split_once('=').map_or(named.as_str(), |(_, path)| path);
        PathBuf::from(path)
    });
    Some(keys.chain(settings.jwks_ca_file.clone()).collect())
}

fn algorithms(names: &[String]) -> Result<Vec<Algorithm>, String> {
    let parse = |name: &String| {
        let known = || Algorithm::ALL.map(Algorithm::name).join(", ");
        Algorithm::parse(name).ok_or_else(|| format!("`algorithms` may name {}", known()))
    };
    names.iter().map(parse).collect()
}

fn places(settings: &JwtSettings) -> Result<Vec<TokenPlace>, String> {
    let place = |name: &String| match name.as_str() {
        "password" => Ok(TokenPlace::Password),
        "user_name" => Ok(TokenPlace::UserName),
        "auth" => Ok(TokenPlace::Method(settings.method.clone())),
        _ => Err("`token_in` may name \"password\", \"user_name\" and \"auth\"".to_owned()),
    };
    settings.token_in.iter().map(place).collect()
}

fn rules(settings: &JwtSettings) -> TokenRules {
    let mut rules = TokenRules::default();
    rules.claims.issuers.clone_from(&settings.issuers);
    rules.claims.audiences.clone_from(&settings.audiences);
    rules.claims.leeway = settings.leeway;
    rules.claims.allow_without_expiry = settings.allow_without_expiry;
    rules.names.user.clone_from(&settings.user_claim);
    rules.names.tenant.clone_from(&settings.tenant_claim);
    rules.names.roles.clone_from(&settings.roles_claim);
    let attribute = |named: &String| match named.split_once('=') {
        Some((name, claim)) => (claim.to_owned(), name.to_owned()),
        None => (named.clone(), named.clone()),
    };
    rules.names.attributes = settings.attribute_claims.iter().map(attribute).collect();
    rules.token_bytes_max = settings.token_bytes_max;
    rules
}

fn fixed_keys(settings: &JwtSettings, algorithms: &[Algorithm]) -> Result<KeySet, String> {
    let mut keys = KeySet::default();
    for named in &settings.key_files {
        let (id, path) = match named.split_once('=') {
            Some((id, path)) => (Some(id.to_owned()), Path::new(path)),
            None => (None, Path::new(named)),
        };
        keys.extend(
            key_file(id, path, algorithms).map_err(|message| {
                format!("cannot use the keys of {}: {message}", path.display())
            })?,
        );
    }
    if let Some(secret) = &settings.secret {
        let resolved = secret.resolve().map_err(|error| error.to_string())?;
        let key = Key::secret(None, &resolved, algorithms)
            .map_err(|error| format!("cannot use the secret {secret}: {error}"))?;
        keys.extend(KeySet::new(vec![key]));
    }
    Ok(keys)
}

/// A public key in PEM, or keys in JSON.
fn key_file(id: Option<String>, path: &Path, algorithms: &[Algorithm]) -> Result<KeySet, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    // Sets of keys may be longer, and are held to their own bound.
    if size > 16 * KEY_BYTES_MAX as u64 {
        return Err("it is too long".to_owned());
    }
    let content = std::fs::read(path).map_err(|error| error.to_string())?;
    if content.trim_ascii_start().starts_with(b"{") {
        return KeySet::from_json(&content, Origin::File, algorithms)
            .map_err(|error| error.to_string());
    }
    let key = Key::public_pem(id, &content, algorithms).map_err(|error| error.to_string())?;
    Ok(KeySet::new(vec![key]))
}

fn remote_keys(
    settings: &JwtSettings,
    url: &str,
    algorithms: Vec<Algorithm>,
) -> Result<RemoteKeys, String> {
    let url = Url::parse(url).map_err(|error| format!("cannot use `jwks_url`: {error}"))?;
    let mut config = JwksConfig::new(url);
    config.refresh = settings.jwks_refresh;
    config.algorithms = algorithms;
    config.http.ca_file.clone_from(&settings.jwks_ca_file);
    RemoteKeys::new(config).map_err(|error| format!("cannot use `jwks_url`: {error}"))
}
