//! The requests to send, their target and the duration.

use std::time::Duration;

use crate::Outcome;

/// Stands in the template of a request where the image's id goes.
const PLACE: &str = "@ID@";
/// The length of the service's own ids, `image-` and 18 more.
const ID_LENGTH: usize = 24;

pub(crate) struct Plan {
    pub(super) target: String,
    pub(super) connections: usize,
    pub(super) time: Duration,
    /// Answers after which a connection is opened anew; 0 for never.
    pub(super) close_after: usize,
    pub(super) compare_bodies: bool,
    template: String,
    prefix: String,
    from: u64,
    many: u64,
    count: u64,
}

impl Plan {
    /// Options are pairs of `--name value`.
    pub(crate) fn parse(options: &[&str]) -> Outcome<Self> {
        let mut plan = Self {
            target: String::new(),
            connections: 64,
            time: Duration::from_secs(600),
            close_after: 0,
            compare_bodies: false,
            template: String::new(),
            prefix: "image-".to_owned(),
            from: 0,
            many: u64::MAX,
            count: u64::MAX,
        };
        for pair in options.chunks(2) {
            let &[name, value] = pair else {
                return Err("an option without a value".into());
            };
            match name {
                "--target" => value.clone_into(&mut plan.target),
                "--connections" => plan.connections = value.parse()?,
                "--seconds" => plan.time = Duration::from_secs_f64(value.parse()?),
                "--close-after" => plan.close_after = value.parse()?,
                "--compare-bodies" => plan.compare_bodies = value.parse()?,
                "--template" => plan.template = std::fs::read_to_string(value)?,
                "--prefix" => value.clone_into(&mut plan.prefix),
                "--from" => plan.from = value.parse()?,
                "--many" => plan.many = value.parse()?,
                "--count" => plan.count = value.parse()?,
                _ => return Err(format!("no such option: {name}").into()),
            }
        }
        Ok(plan)
    }

    pub(super) fn requests(&self) -> Outcome<Requests> {
        let (before, after) = self
            .template
            .split_once(PLACE)
            .ok_or("a template without a place")?;
        Ok(Requests {
            before: format!("{before}{}", self.prefix),
            after: after.to_owned(),
            width: ID_LENGTH - self.prefix.len(),
            from: self.from,
            many: self.many,
            sent: 0,
            count: self.count,
        })
    }
}

/// Requests for one image after the other, round and round if they are not to be all different.
pub(super) struct Requests {
    before: String,
    after: String,
    width: usize,
    from: u64,
    many: u64,
    sent: u64,
    count: u64,
}

impl Requests {
    /// Appends the next one; `false` when there is none left.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> bool {
        if self.sent == self.count {
            return false;
        }
        let mut digits = [b'0'; ID_LENGTH];
        let mut number = self.from + self.sent % self.many;
        for digit in digits[..self.width].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        out.extend_from_slice(self.before.as_bytes());
        out.extend_from_slice(&digits[..self.width]);
        out.extend_from_slice(self.after.as_bytes());
        self.sent += 1;
        true
    }
}
