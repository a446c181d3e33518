//! A broker with one listener for each kind of connection, and what the kernel and `$SYS` say of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};

use crate::Outcome;
use crate::clients::{Kind, connect};

/// Ends with the value.
pub(crate) struct Broker {
    process: Child,
    folder: tempfile::TempDir,
    ports: BTreeMap<Kind, u16>,
}

impl Broker {
    pub(crate) fn start(binary: &str) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let key = KeyPair::generate()?;
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
        fs::write(folder.path().join("chain.pem"), certificate.pem())?;
        fs::write(folder.path().join("key.pem"), key.serialize_pem())?;
        // What a burst piles up for one client is more than is allowed elsewhere.
        let mut file = "[sys]\ninterval = \"1s\"\n[store]\nbackend = \"memory\"\n\
            [limits]\nqueue_messages_max = 1000000\nqueue_bytes_max = \"8 GiB\"\n"
            .to_owned();
        for kind in Kind::ALL {
            file +=
                &format!("[listeners.{kind}]\naddress = \"127.0.0.1:0\"\nallow_anonymous = true\n");
            if kind.has_tls() {
                let path = folder.path().display();
                file += &format!(
                    "tls_certificate = \"{path}/chain.pem\"\ntls_key = \"{path}/key.pem\"\n"
                );
            }
            if kind.has_websocket() {
                file += "protocol = \"websocket\"\n";
            }
        }
        let path = folder.path().join("dunlin.toml");
        fs::write(&path, file)?;
        let mut process = Command::new(binary)
            .arg("--config")
            .arg(&path)
            .args(["--log", "error"])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
        let mut ports = BTreeMap::new();
        while ports.len() < Kind::ALL.len() {
            let line = lines.next().ok_or("the broker ended before it listened")??;
            if let Some((place, name)) =
                line.strip_prefix("listening on ").and_then(|l| l.split_once(" ("))
            {
                let name = name.split([',', ')']).next().unwrap_or_default();
                let port = place.rsplit(':').next().unwrap_or_default();
                ports.insert(name.parse()?, port.parse()?);
            }
        }
        // What it says later is of no interest, and must not stop it either.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { process, folder, ports })
    }

    pub(crate) fn port(&self, kind: Kind) -> u16 {
        self.ports.get(&kind).copied().unwrap_or_default()
    }

    /// The file with the certificate that clients have to trust.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("chain.pem")
    }

    pub(crate) fn resident_bytes(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(1024 * line.trim().trim_end_matches(" kB").parse::<u64>()?)
    }

    pub(crate) fn cpu_seconds(&self) -> Outcome<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/schedstat", self.process.id()))?;
        let main: f64 = stat.split(' ').next().ok_or("no schedstat")?.parse()?;
        let mut nanos = main;
        for task in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let task = task?;
            if task.file_name().to_string_lossy() != self.process.id().to_string() {
                let stat = fs::read_to_string(task.path().join("schedstat"))?;
                nanos += stat.split(' ').next().ok_or("no schedstat")?.parse::<f64>()?;
            }
        }
        Ok(nanos / 1e9)
    }

    /// Connections that were refused, by reason, and those that had to wait, from `$SYS`.
    pub(crate) fn refusals(&self) -> Outcome<BTreeMap<String, u64>> {
        std::thread::sleep(Duration::from_secs(2));
        let mut stream = TcpStream::connect(("127.0.0.1", self.port(Kind::Tcp)))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(&connect("asks"))?;
        stream.read_exact(&mut [0; 4])?;
        let filter = b"$SYS/#";
        let length = u8::try_from(filter.len())?;
        stream.write_all(&[0x82, length + 5, 0, 1, 0, length])?;
        stream.write_all(filter)?;
        stream.write_all(&[0])?;
        let mut counts = BTreeMap::new();
        let mut head = [0; 1];
        // The end is that nothing comes for a second.
        while stream.read_exact(&mut head).is_ok() {
            let (mut length, mut shift) = (0, 0);
            loop {
                stream.read_exact(&mut head)?;
                length |= usize::from(head[0] & 0x7f) << shift;
                shift += 7;
                if head[0] < 0x80 {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body)?;
            let Some((name, value)) = body.split_first_chunk::<2>().and_then(|(length, rest)| {
                rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
            }) else {
                continue;
            };
            let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
            let concerned = name.contains("refused") || name.contains("handshakes");
            if let (true, Ok(count @ 1..)) = (concerned, value.parse()) {
                counts.insert(name.into_owned(), count);
            }
        }
        Ok(counts)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It is gone already, or cannot be helped.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
