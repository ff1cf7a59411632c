//! The compared servers, each a process of its own.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::net::TcpListener;

use super::Outcome;

/// What this program is started with to be the reference.
pub(crate) const BARE: &str = "--serve-bare-hyper";

/// A server process, pinned to one processor.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn bare() -> Outcome<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(BARE);
        Ok(command)
    }

    pub(crate) fn gateway(origin: SocketAddr, more: &[String]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pai-image-gateway"));
        command.args(["serve", "--ports-file", "/dev/stdout"]);
        let endpoint = format!("upstream.endpoint=http://{origin}");
        let settings = [
            "listen.address=127.0.0.1:0",
            "admin.address=127.0.0.1:0",
            "upstream.allow_http=true",
            "upstream.calls_per_second.get_image=0",
            &endpoint,
        ];
        for setting in settings.into_iter().chain(more.iter().map(String::as_str)) {
            command.args(["--set", setting]);
        }
        command
            .env("ALIBABA_CLOUD_ACCESS_KEY_ID", "emulator-key")
            .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "emulator-secret");
        command
    }

    /// The child takes over the first processor this process may use; this one then takes the rest.
    pub(crate) fn start(mut command: Command) -> Outcome<Self> {
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

    /// CPU time used so far by its threads, in user space and in the kernel, to the nanosecond.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        let mut nanos = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let stat = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let used = stat.split(' ').next().ok_or("no time")?;
            nanos += used.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The least that answers the same body: hyper, one thread, one fixed answer.
pub(crate) async fn bare_hyper() -> Outcome<()> {
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
