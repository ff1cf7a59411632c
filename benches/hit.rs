//! What a hit costs the server, against bare hyper in the same run: `cargo bench --bench hit`.
//!
//! Both servers answer the same bytes to the same requests, written as the Python SDK writes them,
//! over 64 keep-alive connections for 1,000 images. Each is a process pinned to one processor, the
//! load comes from another; what counts is the server's own CPU time (utime + stime) per request,
//! in alternating rounds, so that a noisy machine moves both alike.

use std::convert::Infallible;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Response, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pai_image_gateway::emulator::{Emulator, Settings, Store};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const CONNECTIONS: usize = 64;
const IMAGES: usize = 1_000;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const BARE: &str = "--serve-bare-hyper";

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if std::env::args().any(|argument| argument == BARE) {
        return runtime.block_on(bare_hyper());
    }
    // `cargo test --benches` only asks whether this builds and starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let origin_runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let origin = origin_runtime.block_on(Emulator::start(Settings {
        images: IMAGES,
        ..Settings::default()
    }))?;
    let servers = [
        ("bare hyper", Server::start(Server::bare()?)?),
        (
            "gateway hit",
            Server::start(Server::gateway(origin.address()))?,
        ),
    ];
    let mut costs = [Vec::new(), Vec::new()];
    runtime.block_on(async {
        for (_, server) in &servers {
            load(server.address, Duration::from_millis(500)).await?;
        }
        for _ in 0..ROUNDS {
            for ((_, server), costs) in servers.iter().zip(&mut costs) {
                let (before, requests) = (server.cpu()?, load(server.address, ROUND).await?);
                costs.push((server.cpu()? - before).as_secs_f64() * 1e6 / requests as f64);
            }
        }
        Outcome::Ok(())
    })?;
    report(&servers, &costs)
}

fn report(servers: &[(&str, Server); 2], costs: &[Vec<f64>; 2]) -> Outcome<()> {
    let mut out = std::io::stdout();
    let ratios: Vec<f64> = costs[1]
        .iter()
        .zip(&costs[0])
        .map(|(gateway, bare)| gateway / bare)
        .collect();
    for ((name, _), costs) in servers.iter().zip(costs) {
        writeln!(
            out,
            "{name:<12} {:>6.2} CPU µs a request (rounds: {})",
            median(costs),
            list(costs)
        )?;
    }
    Ok(writeln!(
        out,
        "{:<12} {:>6.2} (rounds: {})",
        "ratio",
        median(&ratios),
        list(&ratios)
    )?)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn list(values: &[f64]) -> String {
    values
        .iter()
        .map(|value| format!("{value:.2}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A server process, pinned to one processor.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn bare() -> Outcome<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(BARE);
        Ok(command)
    }

    fn gateway(origin: SocketAddr) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pai-image-gateway"));
        command.args([
            "serve",
            "--ports-file",
            "/dev/stdout",
            "--set",
            "listen.address=127.0.0.1:0",
        ]);
        command.args([
            "--set",
            "admin.address=127.0.0.1:0",
            "--set",
            "upstream.allow_http=true",
        ]);
        command.args(["--set", &format!("upstream.endpoint=http://{origin}")]);
        command
            .env("ALIBABA_CLOUD_ACCESS_KEY_ID", "emulator-key")
            .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "emulator-secret");
        command
    }

    /// The child takes over the first processor this process may use; this one then takes the rest.
    fn start(mut command: Command) -> Outcome<Self> {
        let all = sched_getaffinity(None)?;
        let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu));
        let (mut first, mut rest) = (CpuSet::new(), CpuSet::new());
        first.set(cpus.next().ok_or("no processor")?);
        cpus.for_each(|cpu| rest.set(cpu));
        sched_setaffinity(None, &first)?;
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        sched_setaffinity(None, if rest.count() > 0 { &rest } else { &all })?;
        let mut child = child?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let ports: serde_json::Value = serde_json::from_str(&line)?;
        sched_setaffinity(None, &all)?;
        Ok(Self {
            child,
            address: ports["listen"].as_str().ok_or("no address")?.parse()?,
        })
    }

    /// CPU time used so far.
    fn cpu(&self) -> Outcome<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .ok_or("no stat")?
            .1
            .split_whitespace()
            .collect();
        let ticks: u64 = fields
            .get(11..13)
            .ok_or("no times")?
            .iter()
            .map(|field| field.parse::<u64>())
            .sum::<Result<_, _>>()?;
        Ok(Duration::from_millis(
            ticks * 1000 / rustix::param::clock_ticks_per_second(),
        ))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A request as the Python SDK writes it.
fn request(number: usize) -> Vec<u8> {
    let image = Store::id(number % IMAGES);
    let host = "127.0.0.1:8080";
    let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    format!(
        "GET /api/v1/images/{image} HTTP/1.1\r\nAccept-Encoding: identity\r\nhost: {host}\r\nx-acs-version: 2021-02-04\r\n\
         x-acs-action: GetImage\r\nuser-agent: AlibabaCloud (Linux; x86_64) Python/3.11.7 Core/0.4.3 TeaDSL/2\r\n\
         x-acs-date: 2026-11-23T09:09:37Z\r\nx-acs-signature-nonce: fbc631c2fbd8d70b73b7d011475c76cc\r\n\
         accept: application/json\r\nx-acs-content-sha256: {hash}\r\nx-acs-credentials-provider: static_ak\r\n\
         Authorization: ACS3-HMAC-SHA256 Credential=LTAItestAK,SignedHeaders=accept;host;user-agent;x-acs-action;\
         x-acs-content-sha256;x-acs-credentials-provider;x-acs-date;x-acs-signature-nonce;x-acs-version,Signature={hash}\r\n\r\n"
    )
    .into_bytes()
}

/// Requests answered in about `time`.
async fn load(address: SocketAddr, time: Duration) -> Outcome<u64> {
    let (mut clients, until) = (JoinSet::new(), Instant::now() + time);
    for client in 0..CONNECTIONS {
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let requests: Vec<_> = (0..IMAGES)
                .map(|number| request(client * 17 + number))
                .collect();
            let (mut answered, mut buffer) = (0, vec![0; 16 << 10]);
            while Instant::now() < until {
                stream
                    .write_all(&requests[answered as usize % IMAGES])
                    .await?;
                read_answer(&mut stream, &mut buffer).await?;
                answered += 1;
            }
            Outcome::Ok(answered)
        });
    }
    let mut answered = 0;
    while let Some(client) = clients.join_next().await {
        answered += client??;
    }
    Ok(answered)
}

async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Outcome<()> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err("the server closed".into());
        }
        filled += read;
        let text = &buffer[..filled];
        if let Some(head) = text.windows(4).position(|window| window == b"\r\n\r\n") {
            let lower = String::from_utf8_lossy(&text[..head]).to_ascii_lowercase();
            let length = lower
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.split("\r\n").next())
                .ok_or("no length")?;
            if !lower.starts_with("http/1.1 200") {
                return Err(lower.into());
            }
            if filled == head + 4 + length.parse::<usize>()? {
                return Ok(());
            }
        }
    }
}

/// The least that answers the same body: hyper, one thread, one fixed answer.
async fn bare_hyper() -> Outcome<()> {
    let body = Bytes::from(vec![b'x'; 626]);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(
        std::io::stdout(),
        r#"{{"listen":"{}"}}"#,
        listener.local_addr()?
    )?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = body.clone();
        tokio::spawn(async move {
            let service = service_fn(|_| {
                let mut response = Response::new(Full::new(body.clone()));
                response.headers_mut().insert(
                    header::CONTENT_TYPE,
                    header::HeaderValue::from_static("application/json"),
                );
                async move { Ok::<_, Infallible>(response) }
            });
            drop(
                http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}
