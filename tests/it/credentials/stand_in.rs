//! A fake of STS, the metadata service and similar servers: answers by a rule, records
//! its requests.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Method;
use jiff::{SignedDuration, Timestamp};
use pai_image_gateway::api::Query;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One received request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The names in the query, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let query = self.query();
        query.pairs().map(|(name, _)| name.to_owned()).collect()
    }

    /// A parameter's decoded value.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let query = self.query();
        let mut pairs = query.pairs();
        pairs.find(|(n, _)| *n == name).map(|(_, v)| v.to_owned())
    }

    pub(crate) fn query(&self) -> Query {
        let (_, query) = self.target.split_once('?').unwrap_or_default();
        Query::parse(query).unwrap()
    }

    /// Method and target in one line.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

type Rule = Arc<dyn Fn(&Asked) -> (u16, String) + Send + Sync>;

/// The server. Dropping it ends it.
pub(crate) struct StandIn {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    accepting: JoinHandle<()>,
}

impl StandIn {
    pub(crate) async fn start(
        rule: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        Self::serve(None, rule).await
    }

    /// Starts one whose responses have a `Date` so many seconds ahead of this machine's clock.
    pub(crate) async fn dated(
        ahead: i64,
        rule: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Some(ahead), rule).await
    }

    async fn serve(
        ahead: Option<i64>,
        rule: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (rule, seen): (Rule, _) = (Arc::new(rule), Arc::clone(&asked));
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, ahead, Arc::clone(&rule), Arc::clone(&seen)));
            }
        });
        Self {
            address,
            asked,
            accepting,
        }
    }

    /// Starts an STS that returns this credential to every caller.
    pub(crate) async fn sts() -> Self {
        Self::start(|_| (200, assumed(&granted(HOUR)))).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Returns all requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    /// Every request's method and target so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().iter().map(Asked::line).collect()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers one request and closes.
async fn answer(stream: TcpStream, ahead: Option<i64>, rule: Rule, seen: Arc<Mutex<Vec<Asked>>>) {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let Some((first, headers)) = lines.split_first() else {
        return;
    };
    let mut words = first.split(' ');
    let headers = headers.iter().map(|line| line.split_once(": ").unwrap());
    let mut asked = Asked {
        method: words.next().unwrap().parse().unwrap(),
        target: words.next().unwrap().to_owned(),
        headers: headers.map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        body: String::new(),
    };
    let length = asked.header("content-length").unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    asked.body = String::from_utf8(body).unwrap();
    let (status, body) = rule(&asked);
    seen.lock().push(asked);
    let length = body.len();
    let date = ahead.map_or_else(String::new, |ahead| {
        let date = Timestamp::now() + SignedDuration::from_secs(ahead);
        format!("date: {}\r\n", httpdate::fmt_http_date(date.into()))
    });
    let head = format!(
        "HTTP/1.1 {status} X\r\n{date}connection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    // The client may have disconnected by now.
    drop(stream.write_all(format!("{head}{body}").as_bytes()).await);
    drop(stream.shutdown().await);
}

pub(crate) const HOUR: i64 = 3600;
pub(crate) const STS_ID: &str = "STS.NStandInKeyId001";
pub(crate) const STS_SECRET: &str = "stand-in-secret";
pub(crate) const STS_TOKEN: &str = "stand/in+token==";

/// A moment so many seconds from now, in the vendor's form.
pub(crate) fn ahead(seconds: i64) -> String {
    let at = Timestamp::now() + SignedDuration::from_secs(seconds);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The four parts of a temporary credential.
pub(crate) fn granted(seconds: i64) -> Value {
    json!({
        "AccessKeyId": STS_ID,
        "AccessKeySecret": STS_SECRET,
        "SecurityToken": STS_TOKEN,
        "Expiration": ahead(seconds),
    })
}

/// STS's answer around them.
pub(crate) fn assumed(credentials: &Value) -> String {
    json!({
        "RequestId": "6894B13B-6D71-4EF5-88FA-F32781734A7F",
        "AssumedRoleUser": { "Arn": "acs:ram::1:role/r/s", "AssumedRoleId": "3:s" },
        "Credentials": credentials,
    })
    .to_string()
}

/// The response of the metadata service and the credentials URI.
pub(crate) fn success(seconds: i64) -> String {
    let mut answer = granted(seconds);
    answer["Code"] = json!("Success");
    answer["LastUpdated"] = json!(ahead(0));
    answer.to_string()
}
