//! Mosquitto's configuration: no panic on any text, what is made of it is TOML, and remarks name lines that are there.

#![no_main]

use libfuzzer_sys::fuzz_target;

/// Stands in an input where a secret does.
const SECRET: &str = "hunter2hunter2";

fuzz_target!(|text: &str| {
    let imported = dunlin::import_mosquitto(text);
    toml::de::DeTable::parse(&imported.configuration).expect("what is written is TOML");
    let lines = text.lines().count();
    for remark in &imported.remarks {
        let place = remark.strip_prefix("mosquitto.conf:").and_then(|rest| rest.split_once(':'));
        if let Some((line, _)) = place {
            let line: usize = line.parse().expect("a number");
            assert!((1..=lines).contains(&line), "{remark}");
        }
    }
    // Passwords of bridges, and options of plug-ins.
    for line in text.lines() {
        let said = line.trim_ascii().split_once([' ', '\t']);
        let is_secret = |keyword: &str| {
            keyword == "remote_password"
                || keyword == "bridge_psk"
                || keyword.starts_with("auth_opt_")
        };
        let holds =
            said.is_some_and(|(keyword, value)| is_secret(keyword) && value.contains(SECRET));
        if holds && text.matches(SECRET).count() == 1 {
            let shown = imported.remarks.iter().any(|remark| remark.contains(SECRET));
            assert!(!shown && !imported.configuration.contains(SECRET), "{line}");
        }
    }
});
