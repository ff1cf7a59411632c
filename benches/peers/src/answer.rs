//! The origin's response: one image under every id.

use std::time::{Duration, SystemTime};

/// The size of the answer to `GetImage` without labels in the API's documentation.
pub(crate) const BODY_BYTES: usize = 626;

/// Ids that begin so do not exist.
const MISSING: &[u8] = b"GET /api/v1/images/missing-";
/// How many images were asked for so far.
const COUNT: &[u8] = b"GET /requests ";

const SECOND: Duration = Duration::from_secs(1);

const NOT_FOUND: &str =
    r#"{"Code":"ImageNotFound","Message":"no such image","RequestId":"5A14FA81"}"#;

/// An image that last changed years ago, so that caches may keep it long; padded to so many bytes.
pub(crate) fn image(bytes: usize) -> String {
    let begin = r#"{"RequestId":"5A14FA81-DD4E-5A4D-8F4B-6343FE44B941","GmtCreateTime":"2021-01-21T17:12:35.232Z","GmtModifiedTime":"2021-01-21T17:12:35.232Z","Name":"nlp-compression","ImageUri":"registry.cn-hangzhou.aliyuncs.com/pai-compression/nlp:gpu","UserId":"1557702098198921","ParentUserId":"1557702098198921","WorkspaceId":"15945","Accessibility":"PUBLIC","Size":10,"SourceType":"","SourceId":"","Description":""#;
    let padding = "x".repeat(bytes.saturating_sub(begin.len() + 2));
    format!("{begin}{padding}\"}}")
}

/// Dated, for caches that compute an answer's age from it.
fn respond(status: &str, body: &str, now: SystemTime) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         cache-control: max-age=3600\r\ndate: {}\r\n\r\n{body}",
        body.len(),
        httpdate::fmt_http_date(now)
    )
    .into_bytes()
}

pub(crate) fn found(bytes: usize) -> Vec<u8> {
    respond("200 OK", &image(bytes), SystemTime::now())
}

pub(crate) struct Origin {
    body: String,
    requests: u64,
    /// What is answered in the second `dated`.
    found: Vec<u8>,
    missing: Vec<u8>,
    dated: SystemTime,
}

impl Origin {
    pub(crate) fn new(body_bytes: usize) -> Self {
        Self {
            body: image(body_bytes),
            requests: 0,
            found: Vec::new(),
            missing: Vec::new(),
            dated: SystemTime::UNIX_EPOCH,
        }
    }

    pub(crate) fn answer(&mut self, head: &[u8], out: &mut Vec<u8>) {
        let now = SystemTime::now();
        if now
            .duration_since(self.dated)
            .is_ok_and(|age| age >= SECOND)
        {
            self.found = respond("200 OK", &self.body, now);
            self.missing = respond("404 Not Found", NOT_FOUND, now);
            self.dated = now;
        }
        if head.starts_with(COUNT) {
            let count = format!("{{\"requests\":{}}}", self.requests);
            out.extend(respond("200 OK", &count, now));
            return;
        }
        self.requests += 1;
        let missing = head.starts_with(MISSING);
        out.extend(if missing { &self.missing } else { &self.found });
    }
}
