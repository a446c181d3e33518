//! `dunlin acl` and `dunlin import`, as an administrator runs them.

use std::fs;

use crate::support::{File, Folder, output, refused};

const RULES: &str = "\
[roles.COMMAND_SENDER]
publish = [{ filter = \"{tenantId}/command/{clientId}/+\", qos_max = 1, retain = false }]
deny_publish = [\"{tenantId}/command/+/firmware\"]

[users.alice]
roles = [\"COMMAND_SENDER\"]
";

#[track_caller]
fn answers(arguments: &[&str], code: i32, expected: &str) {
    let output = output(arguments);
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{arguments:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}");
}

#[test]
fn rules_are_checked() {
    let good = File::new(RULES);
    let name = good.path();
    answers(&["acl", "check", name], 0, &format!("{name}: good, 2 rules\n"));
    let open = File::new("");
    let name = open.path();
    let expected = format!("{name}: good, but without rules: everybody may do everything\n");
    answers(&["acl", "check", name], 0, &expected);

    let wrong = File::new("[roles.a]\nsubscibe = ['x']\n");
    let name = wrong.path();
    let message = format!("{name}:2: unknown key `subscibe`: did you mean `subscribe`?");
    refused(&["acl", "check", name], 3, &message);
    let message = "nowhere.toml: cannot be read: No such file or directory (os error 2)";
    refused(&["acl", "check", "nowhere.toml"], 3, message);

    let theirs = File::new("user alice\ntopic read a/#\ntopic wrong b\n");
    let name = theirs.path();
    let remark = "`wrong` is none of read, write, readwrite, deny: the line is left out";
    let expected = format!("{name}:3: {remark}\n{name}: good, 1 rules\n");
    answers(&["acl", "check", "--mosquitto", name], 0, &expected);
}

#[test]
fn an_answer_is_explained_and_is_the_exit_code() {
    let rules = File::new(RULES);
    let name = rules.path();
    let ask = |topic| {
        let client = ["--user", "alice", "--tenant", "acme", "--client", "c1"];
        [&["acl", "explain", "--acl", name][..], &client, &["publish", topic]].concat()
    };
    let denied = format!(
        "refused: publish acme/command/c1/firmware at QoS 0: a rule denies it\n\
         rule: {name}:3: role COMMAND_SENDER: deny publish {{tenantId}}/command/+/firmware\n\
         roles: COMMAND_SENDER\n\
         {{tenantId}} = acme\n\
         {{clientId}} = c1\n\
         rules that are for this client:\n\
         \x20 {name}:2: role COMMAND_SENDER: allow publish {{tenantId}}/command/{{clientId}}/+ up to QoS 1, not retained \
         = acme/command/c1/+: applies\n\
         \x20 {name}:3: role COMMAND_SENDER: deny publish {{tenantId}}/command/+/firmware = acme/command/+/firmware: \
         applies\n\
         not listed: 0 rules for others, 0 about the other action\n"
    );
    answers(&ask("acme/command/c1/firmware"), 7, &denied);
    let allowed = output(&ask("acme/command/c1/reset"));
    assert_eq!(allowed.status.code(), Some(0));
    let text = String::from_utf8_lossy(&allowed.stdout).into_owned();
    assert!(text.starts_with("allowed: publish acme/command/c1/reset at QoS 0\n"), "{text}");
}

#[test]
fn a_configuration_of_mosquitto_is_imported_once() {
    let folder = Folder::new();
    fs::write(folder.at("acl"), "user alice\ntopic read a/#\ntopic a/+b\n").unwrap();
    fs::create_dir(folder.at("conf.d")).unwrap();
    let included = folder.at("conf.d");
    fs::write(folder.at("conf.d/limits.conf"), "max_queued_messages 7\ncolour blue\n").unwrap();
    fs::write(folder.at("conf.d/note.txt"), "not read\n").unwrap();
    let conf = folder.at("mosquitto.conf");
    let text = format!(
        "per_listener_settings true\nlistener 0x 127.0.0.1\nacl_file acl\nlistener 0 127.0.0.1\n\
         listener 1883 127.0.0.1\nallow_anonymous true\ninclude_dir {included}\n"
    );
    fs::write(&conf, text).unwrap();
    let to = folder.at("");
    let arguments = ["import", "mosquitto", "--conf", &conf, "--to", &to];
    let done = output(&arguments);
    assert_eq!(String::from_utf8_lossy(&done.stderr), "");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    for line in [
        format!("{conf}:2: `listener 0x 127.0.0.1`: not a port; the listener is left out"),
        format!("{}:2: `colour blue`: unknown here", folder.at("conf.d/limits.conf")),
        format!(
            "{}:3: topic filter has a wildcard at byte 2 that is not a level of its own: the line is left out",
            folder.at("acl")
        ),
    ] {
        assert!(said.contains(&format!("\n  {line}\n")), "{line}\n{said}");
    }
    assert!(!said.contains("note.txt"), "{said}");

    let written = folder.at("dunlin.toml");
    let text = fs::read_to_string(&written).unwrap();
    assert!(text.contains("\n[limits]\nqueue_messages_max = 7\n"), "{text}");
    assert!(text.contains("address = \"127.0.0.1:1883\"\nallow_anonymous = true\n"), "{text}");
    assert_eq!(output(&["check", "-c", &written]).status.code(), Some(0));
    let rules = folder.at("acl.toml");
    answers(&["acl", "check", &rules], 0, &format!("{rules}: good, 1 rules\n"));

    // What is there is not overwritten.
    fs::write(&written, "mine").unwrap();
    refused(&arguments, 1, &format!("{written}: File exists (os error 17)"));
    assert_eq!(fs::read_to_string(&written).unwrap(), "mine");
}
