//! Driver of the interop scenarios for rumqttc. `interop-rumqttc PORT` speaks the line protocol that `driver.py` describes.

mod link;
mod v3;
mod v5;

use std::collections::HashMap;
use std::error::Error;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

use crate::link::{Answer, Link};

type Outcome = Result<Value, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).ok_or("usage: interop-rumqttc PORT")?.parse()?;
    let mut driver = Driver { port, links: HashMap::new() };
    // It takes a DISCONNECT without property length, as the standard allows it, for a malformed one.
    let cannot = ["disconnect reason"];
    println!(
        "{}",
        json!({ "driver": "rumqttc 0.25.1", "versions": ["3.1.1", "5.0"], "cannot": cannot })
    );
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let command: Value = serde_json::from_str(&line)?;
        match driver.run(&command).await {
            Ok(answer) => println!("{}", json!({ "id": command["id"], "ok": answer })),
            Err(error) => {
                println!("{}", json!({ "id": command["id"], "error": error.to_string() }))
            }
        }
    }
    Ok(())
}

struct Driver {
    port: u16,
    links: HashMap<String, Link>,
}

impl Driver {
    async fn run(&mut self, command: &Value) -> Outcome {
        let name = text(command, "client");
        let op = text(command, "op");
        if op == "connect" {
            return self.connect(name, command).await;
        }
        let link = self.links.get_mut(&name).ok_or("no such client")?;
        match op.as_str() {
            "subscribe" => {
                link.sender.subscribe(command).await?;
                link.answer().await?.reasons()
            }
            "unsubscribe" => {
                link.sender.unsubscribe(&text(command, "filter")).await?;
                link.answer().await?.reasons()
            }
            "publish" => {
                link.sender.publish(command).await?;
                link.answer().await?.reason()
            }
            "disconnect" => {
                link.leaves();
                link.sender.disconnect().await?;
                link.ended().await;
                Ok(json!({}))
            }
            "cut" => {
                link.cut().await;
                Ok(json!({}))
            }
            other => Err(format!("no such operation: {other}").into()),
        }
    }

    async fn connect(&mut self, name: String, command: &Value) -> Outcome {
        let mut link = match text(command, "version").as_str() {
            "3.1.1" => v3::connect(name.clone(), command, self.port),
            _ => v5::connect(name.clone(), command, self.port),
        };
        let answer = link.answer().await?;
        self.links.insert(name, link);
        match answer {
            Answer::Accepted(accepted) => Ok(accepted),
            other => Err(format!("instead of CONNACK: {other:?}").into()),
        }
    }
}

/// The text of a field; empty where it is absent.
fn text(object: &Value, field: &str) -> String {
    object[field].as_str().unwrap_or_default().to_owned()
}
