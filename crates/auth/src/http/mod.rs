//! Clients whom a service of the installation's own knows: it is asked over HTTP, by one POST for each login.

mod answer;
mod callout;
mod client;

pub use crate::on_failure::OnFailure;
pub use answer::{ATTRIBUTES_MAX, ROLES_MAX, TEXT_BYTES_MAX};
pub use callout::{CalloutCacheConfig, CalloutConfig, CalloutFailure, HttpAuthenticator};
pub use client::{HttpConfig, HttpConfigError, Url, UrlError};

pub(crate) use client::{HttpClient, HttpError};
