//! Secrets of every setting that holds one: used, and shown to nobody.

use std::fs;
use std::process::Command;

use crate::support::{Folder, Running, dunlin, refused};
use crate::user::{connects, succeeds};

/// Each setting that holds a secret has one of its own, in which nothing needs an escape.
const SECRETS: [&str; 9] = [
    "jwt-secret-of-thirty-two-characters-and-more",
    "Bearer-of-the-http-service",
    "in-the-postgres-address",
    "beside-the-postgres-address",
    "in-the-mysql-address",
    "beside-the-mysql-address",
    "in-the-redis-address",
    "beside-the-redis-address",
    "of-who-searches-by-ldap",
];

/// Nobody listens on the port, so that each of these fails and says so.
fn configuration(written: impl Fn(&str) -> String) -> String {
    let [jwt, http, in_postgres, postgres, in_mysql, mysql, in_redis, redis, ldap] = SECRETS;
    let addresses = [
        format!("postgres://dunlin:{in_postgres}@127.0.0.1:9/users"),
        format!("mysql://dunlin:{in_mysql}@127.0.0.1:9/users"),
        format!("redis://dunlin:{in_redis}@127.0.0.1:9/0"),
    ];
    let [in_postgres, in_mysql, in_redis] = addresses.map(|address| written(&address));
    let [jwt, http, postgres, mysql, redis, ldap] =
        [jwt, http, postgres, mysql, redis, ldap].map(written);
    let query = "query = \"SELECT password_hash FROM users WHERE name = {username}\"";
    format!(
        "[auth.http]\nurl = \"http://127.0.0.1:9/\"\nauthorization = {http:?}\non_failure = \"pass_on\"\n\
         [auth.postgres]\nurl = {in_postgres:?}\npassword = {postgres:?}\n{query}\non_failure = \"pass_on\"\n\
         [auth.mysql]\nurl = {in_mysql:?}\npassword = {mysql:?}\n{query}\non_failure = \"pass_on\"\n\
         [auth.redis]\nurl = {in_redis:?}\npassword = {redis:?}\non_failure = \"pass_on\"\n\
         [auth.ldap]\nurl = \"ldap://127.0.0.1:9\"\nbase = \"dc=example\"\nbind_dn = \"cn=x\"\n\
         bind_password = {ldap:?}\non_failure = \"pass_on\"\n\
         [auth.jwt]\nsecret = {jwt:?}\n"
    )
}

#[track_caller]
fn shows_none(what: &str, text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{what} shows {secret:?}:\n{text}");
    }
}

/// Everything that the program says of a configuration, and while it runs with it.
#[track_caller]
fn check(folder: &Folder, text: &str, prepare: impl Fn(&mut Command)) -> String {
    let config = folder.at("dunlin.toml");
    fs::write(&config, text).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = dunlin(arguments);
        prepare(&mut command);
        command
    };
    let checked = command(&["check", "--config", &config]).output().unwrap();
    shows_none("dunlin check", &succeeds(&checked));
    shows_none("dunlin check", &String::from_utf8_lossy(&checked.stderr));
    let shown = succeeds(&command(&["config", "--config", &config]).output().unwrap());
    shows_none("dunlin config", &shown);

    let arguments = ["--config", &config, "--listen", "127.0.0.1:0", "--log", "trace"];
    let running = Running::start(&mut command(&arguments));
    // The password is wrong, so that the whole chain is gone through.
    assert_eq!(connects(running.address, "alice", "of-alice"), 4);
    running.signal("HUP");
    running.signal("TERM");
    let (code, out, log) = running.end();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("lookup_failed").count(), 4, "{log}");
    assert!(log.contains("callout_failed") && !log.contains("of-alice"), "{log}");
    shows_none("standard output", &out);
    shows_none("the log", &log);
    shown
}

#[test]
fn secrets_are_shown_to_nobody_wherever_they_are_kept() {
    let folder = Folder::new();
    let shown = check(&folder, &configuration(str::to_owned), |_| {});
    assert_eq!(shown.matches("\"(redacted)\"").count(), SECRETS.len(), "{shown}");

    // What is a part of an address is kept elsewhere with all of it. The places are numbered as they come.
    let kept = std::cell::RefCell::new(Vec::new());
    let place = |secret: &str| {
        let mut kept = kept.borrow_mut();
        kept.push(secret.to_owned());
        kept.len() - 1
    };
    let text = configuration(|secret| format!("${{SECRET_{}}}", place(secret)));
    let shown = check(&folder, &text, |command| {
        for (index, secret) in kept.borrow().iter().enumerate() {
            command.env(format!("SECRET_{index}"), secret);
        }
    });
    assert_eq!(shown.matches("${SECRET_").count(), SECRETS.len(), "{shown}");

    let keep = |secret: &str| {
        let name = format!("secret-{}", place(secret));
        fs::write(folder.at(&name), format!("{secret}\n")).unwrap();
        name
    };
    let text = configuration(|secret| format!("file://{}", folder.at(&keep(secret))));
    let shown = check(&folder, &text, |_| {});
    assert_eq!(shown.matches("\"file://").count(), SECRETS.len(), "{shown}");

    let text = configuration(|secret| format!("credential://{}", keep(secret)));
    let shown = check(&folder, &text, |command| {
        command.env("CREDENTIALS_DIRECTORY", folder.at(""));
    });
    assert_eq!(shown.matches("\"credential://").count(), SECRETS.len(), "{shown}");
}

#[test]
fn slips_about_databases_and_directories_are_answered() {
    let folder = Folder::new();
    let config = folder.at("dunlin.toml");
    let query = "query = \"SELECT 1 FROM u WHERE name = {username}\"";
    let search = "url = \"ldap://127.0.0.1\"\nbase = \"dc=x\"";
    let cases = [
        ("postgres", query.to_owned(), "says no `url`: the database's address"),
        (
            "postgres",
            "url = \"postgres://127.0.0.1/x\"".to_owned(),
            "says no `query`: who the client {username} is",
        ),
        (
            "postgres",
            format!("url = \"mysql://me:hunter2@127.0.0.1/x\"\n{query}"),
            "the address of the database is none: one looks as postgres://USER@HOST/DATABASE",
        ),
        (
            "postgres",
            format!("url = \"postgres://127.0.0.1/x?pasword=hunter2\"\n{query}"),
            "the address of the database has the parameter \"pasword\", which is none",
        ),
        (
            "postgres",
            format!("url = \"${{DUNLIN_AUTH_NOT_SET}}\"\n{query}"),
            "the environment variable DUNLIN_AUTH_NOT_SET is not set",
        ),
        (
            "mysql",
            "url = \"mysql://127.0.0.1/x\"\nquery = \"SELECT 1 FROM u WHERE name = '{username}'\""
                .to_owned(),
            "cannot use `query`: a place such as {username} stands without quotation marks: it is a parameter and no text",
        ),
        (
            "mysql",
            "url = \"mysql://127.0.0.1/x\"\nquery = \"SELECT 1 FROM u\"".to_owned(),
            "cannot use `query`: the query has no {username}: it would give the same answer about everybody",
        ),
        ("sqlite", query.to_owned(), "says no `path`: the file"),
        (
            "redis",
            "url = \"redis://127.0.0.1\"\nkey = \"users\"".to_owned(),
            "`key` has no {username}: it would be about the same user for everybody",
        ),
        (
            "redis",
            "url = \"http://:hunter2@127.0.0.1\"".to_owned(),
            "the address of the server is none: one looks as rediss://USER@HOST/0",
        ),
        (
            "ldap",
            "url = \"ldap://127.0.0.1\"".to_owned(),
            "says neither `user_dn`, by which a user's entry is known, nor `base`, below which it is searched for",
        ),
        (
            "ldap",
            "url = \"ldap://me:hunter2@127.0.0.1\"\nbase = \"dc=x\"".to_owned(),
            "the address of the directory is none: one looks as ldaps://HOST, without user and path",
        ),
        (
            "ldap",
            format!("{search}\nbind_dn = \"cn=x\""),
            "says one of `bind_dn` and `bind_password`: each needs the other",
        ),
        (
            "ldap",
            format!("{search}\nfilter = \"(uid={{user}})\""),
            "cannot use `filter`: it has a place that is none: there are {username}, {clientId} and, for groups, {dn}",
        ),
        (
            "ldap",
            format!("{search}\nuser_dn = \"uid={{username}}\""),
            "says both `user_dn` and how to search: `base` and `bind_dn` are for that",
        ),
        (
            "ldap",
            format!("{search}\ngroup_base = \"dc=x\"\ngroup_filter = \"(member=me)\""),
            "cannot use `group_filter`: it has neither {username} nor {dn}: it would mean the same for everybody",
        ),
        (
            "ldap",
            format!("{search}\nca_file = \"/nowhere\""),
            "/nowhere is no file with certificates: I/O error: No such file or directory (os error 2)",
        ),
    ];
    for (section, text, message) in cases {
        fs::write(&config, format!("[auth.{section}]\n{text}\n")).unwrap();
        refused(&["check", "--config", &config], 3, &format!("[auth.{section}]: {message}"));
    }
}
