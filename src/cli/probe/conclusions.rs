//! Settings that follow from the facts, and remarks. Pure.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};

use super::facts::{Facts, ItemDifferences, Meaning};
use super::pages;
use crate::cache::freshness::{Directives, OriginCacheControl};
use crate::config::Settings;
use crate::units::HumanDuration;

/// Settings and remarks that follow from the facts, in the order of the fact sheet.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Conclusions {
    pub(super) settings: Vec<FollowingSetting>,
    /// Facts that no setting follows from, but a look.
    pub(super) remarks: Vec<String>,
}

/// Setting that the facts justify.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct FollowingSetting {
    pub(super) key: &'static str,
    pub(super) value: Value,
    /// Present value.
    pub(super) now: Value,
    pub(super) because: String,
}

/// Difference of the clocks in seconds beyond which the gateway corrects its own by the origin's dates.
const TOLERATED: i64 = 30;

impl Conclusions {
    pub(super) fn new(facts: &Facts, settings: &Settings) -> Self {
        let mut conclusions = Self::default();
        conclusions.about_missing_image(facts, settings);
        conclusions.about_pages(facts, settings);
        conclusions.about_items(facts, settings);
        conclusions.about_cache_control(facts, settings);
        conclusions.about_quota(facts, settings);
        conclusions.about_clock(facts);
        conclusions
    }

    fn set(&mut self, key: &'static str, value: Value, now: Value, because: impl Into<String>) {
        self.settings.push(FollowingSetting {
            key,
            value,
            now,
            because: because.into(),
        });
    }

    fn remark(&mut self, remark: impl Into<String>) {
        self.remarks.push(remark.into());
    }

    fn about_missing_image(&mut self, facts: &Facts, settings: &Settings) {
        let (upstream, missing) = (&settings.upstream, &facts.missing_image);
        let code = &missing.code;
        // A Code such as InvalidParameter has other causes, too: to call it "not found" would hide images.
        let is_about_absence = code.contains("NotFound") || code.contains("NotExist");
        match missing.meaning {
            Meaning::Refused if is_about_absence => {
                let mut codes = upstream.not_found_codes.clone();
                codes.push(code.clone());
                self.set(
                    "upstream.not_found_codes",
                    json!(codes),
                    json!(upstream.not_found_codes),
                    "the origin's Code for an id that does not exist is not among them",
                );
            }
            Meaning::NotFound => {}
            Meaning::Refused => self.remark(format!(
                "an id that does not exist is refused with {code}, which may have other causes: clients get that Code, and it is not cached"
            )),
            Meaning::Forbidden => self.remark(format!(
                "an id that does not exist is denied with {code}: the gateway cannot tell it from an image that the credential may not see, and keeps both for freshness.forbidden"
            )),
            Meaning::Foreign => self.remark(
                "the answer for an id that does not exist has no Code: the gateway takes it for a proxy's, and does not cache it",
            ),
        }
        let is_not_found = match missing.meaning {
            Meaning::NotFound => !code.is_empty(),
            Meaning::Refused => is_about_absence,
            Meaning::Forbidden | Meaning::Foreign => false,
        };
        if is_not_found {
            self.set(
                "upstream.not_found_code",
                json!(code),
                json!(upstream.not_found_code),
                "the origin's Code for an id that does not exist",
            );
        }
    }

    fn about_pages(&mut self, facts: &Facts, settings: &Settings) {
        match pages::largest(&facts.pages) {
            Some(largest) => self.set(
                "catalogue.page_size",
                json!(largest),
                json!(settings.catalogue.page_size),
                "the largest page that the origin has accepted",
            ),
            None => self.remark("no page of the list came: nothing is known about PageSize"),
        }
    }

    fn about_items(&mut self, facts: &Facts, settings: &Settings) {
        let now = json!(settings.catalogue.answer);
        let Some(ItemDifferences { plain, verbose }) = &facts.item_differences else {
            return self
                .remark("no list shows the image: whether items agree with GetImage is not known");
        };
        let members = BTreeSet::from_iter(plain.iter().chain(verbose).map(String::as_str));
        let members = Vec::from_iter(members);
        if members.contains(&"GmtModifiedTime") {
            self.remark("the image's GmtModifiedTime differs between item and GetImage: run it again, the image may have changed meanwhile");
        } else if members.is_empty() {
            let because = "the item of a list agrees with GetImage in every member";
            self.set("catalogue.answer", json!(true), now, because);
        } else {
            let because = format!("an item differs from GetImage in {}", members.join(", "));
            self.set("catalogue.answer", json!(false), now, because);
        }
        if facts.verbose_members.is_empty() {
            self.remark(
                "Verbose=true adds no member to this image: name one with labels by --image",
            );
        }
    }

    fn about_cache_control(&mut self, facts: &Facts, settings: &Settings) {
        let Some(value) = &facts.cache_control else {
            return;
        };
        let (policy, directives) = (&settings.freshness, Directives::parse(value));
        let is_blanket = directives.no_store || directives.no_cache;
        let because = match (policy.origin_cache_control, is_blanket, directives.max_age) {
            (OriginCacheControl::Respect, true, _) => {
                "the origin forbids to store every image: \"respect\" would call it for each request"
            }
            (OriginCacheControl::Ignore, _, Some(age)) if age < policy.max.0 => {
                "the origin names an age that is below freshness.max"
            }
            (OriginCacheControl::Respect | OriginCacheControl::Cap, false, Some(age))
                if age < policy.max.0 =>
            {
                let age = HumanDuration(age);
                return self.remark(format!(
                    "the origin's Cache-Control keeps every ttl below {age}, whatever freshness.max is"
                ));
            }
            _ => return,
        };
        let [value, now] =
            [OriginCacheControl::Cap, policy.origin_cache_control].map(|how| json!(how));
        self.set("freshness.origin_cache_control", value, now, because);
    }

    fn about_quota(&mut self, facts: &Facts, settings: &Settings) {
        let assumed = settings.upstream.calls_per_second.get_image;
        let Some(header) = facts.quota.get("x-ratelimit-user-api") else {
            return;
        };
        let mut fields = header.split(',').filter_map(|field| field.split_once(':'));
        let limit = fields.find(|(name, _)| name.trim() == "Limit");
        let limit = limit.and_then(|(_, limit)| limit.trim().parse::<f64>().ok());
        if limit.is_some_and(|limit| (limit - assumed).abs() > f64::EPSILON) {
            self.remark(format!(
                "the origin's header says {header}, upstream.calls_per_second.get_image is {assumed}: see the account's quota for the length of the period"
            ));
        }
    }

    fn about_clock(&mut self, facts: &Facts) {
        let Some(clock) = facts.clock else {
            return self.remark("no answer has a Date: the clock could not be compared");
        };
        let seconds = clock.at_least().as_secs();
        if seconds >= TOLERATED {
            let way = if clock.offset.is_negative() {
                "ahead of"
            } else {
                "behind"
            };
            self.remark(format!(
                "this machine's clock is at least {seconds} s {way} the origin's: synchronize it; the origin rejects signatures beyond 15 minutes, until the gateway has corrected its clock by the origin's dates"
            ));
        }
    }
}

#[cfg(test)]
mod tests;
