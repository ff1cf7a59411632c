//! A table of facts, each with the settings and remarks that follow.

use jiff::SignedDuration;

use super::super::facts::{ClockOffset, MissingImage};
use super::super::pages::{PageResult, PageTry};
use super::*;

/// Facts that agree with the default settings.
fn usual() -> Facts {
    Facts {
        missing_image: missing(404, "ImageNotFound", Meaning::NotFound),
        verbose_members: vec!["Labels".to_owned()],
        item_differences: Some(ItemDifferences::default()),
        pages: vec![page(50, 50, 50)],
        clock: clock(0),
        ..Facts::default()
    }
}

fn missing(status: u16, code: &str, meaning: Meaning) -> MissingImage {
    let code = code.to_owned();
    MissingImage {
        status,
        code,
        meaning,
    }
}

fn page(asked: u32, items: u64, total: u64) -> PageTry {
    let total = Some(total);
    PageTry {
        asked,
        result: PageResult::Given { items, total },
    }
}

fn clock(seconds: i64) -> Option<ClockOffset> {
    Some(ClockOffset {
        offset: SignedDuration::from_secs(seconds),
        uncertainty: SignedDuration::from_millis(500),
    })
}

fn items(plain: &[&str], verbose: &[&str]) -> Option<ItemDifferences> {
    let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Some(ItemDifferences {
        plain: owned(plain),
        verbose: owned(verbose),
    })
}

/// Returns the settings that differ from the present ones, and all remarks.
fn follows(facts: &Facts, settings: &Settings) -> (Vec<(&'static str, Value)>, Vec<String>) {
    let conclusions = Conclusions::new(facts, settings);
    let changed = conclusions.settings.into_iter();
    let changed = changed.filter(|setting| setting.value != setting.now);
    let changed = changed.map(|setting| (setting.key, setting.value));
    (changed.collect(), conclusions.remarks)
}

type Change = fn(&mut Facts);
type Changed<'a> = &'a [(&'a str, Value)];

#[test]
fn each_fact_has_its_settings() {
    let codes = [
        "*Image*NotFound",
        "*Image*NotExist*",
        "EntityNotExist*",
        "ResourceNotFound",
    ];
    let table: [(&str, Change, Changed<'_>); 10] = [
        ("usual", |_| {}, &[]),
        (
            "another Code that the settings know",
            |facts| facts.missing_image = missing(404, "Image.NotExist", Meaning::NotFound),
            &[("upstream.not_found_code", json!("Image.NotExist"))],
        ),
        (
            "a Code of absence that the settings do not know",
            |facts| facts.missing_image = missing(400, "ResourceNotFound", Meaning::Refused),
            &[
                ("upstream.not_found_codes", json!(codes)),
                ("upstream.not_found_code", json!("ResourceNotFound")),
            ],
        ),
        (
            "larger pages",
            |facts| facts.pages = vec![page(50, 50, 300), page(100, 100, 300), page(200, 150, 300)],
            &[("catalogue.page_size", json!(150))],
        ),
        (
            "smaller pages",
            |facts| facts.pages = vec![page(50, 20, 300)],
            &[("catalogue.page_size", json!(20))],
        ),
        (
            "an item differs",
            |facts| facts.item_differences = items(&["Size"], &["Labels", "Size"]),
            &[("catalogue.answer", json!(false))],
        ),
        (
            "an item with labels differs",
            |facts| facts.item_differences = items(&[], &["Labels"]),
            &[("catalogue.answer", json!(false))],
        ),
        (
            "a long age",
            |facts| facts.cache_control = Some("max-age=86400".to_owned()),
            &[],
        ),
        (
            "a blanket directive",
            |facts| facts.cache_control = Some("no-store".to_owned()),
            &[],
        ),
        (
            "a clock that is off a little",
            |facts| facts.clock = clock(-30),
            &[],
        ),
    ];
    for (name, change, expected) in table {
        let mut facts = usual();
        change(&mut facts);
        let (settings, remarks) = follows(&facts, &Settings::default());
        assert_eq!(settings, expected, "{name}");
        assert_eq!(remarks, [""; 0], "{name}");
    }
}

#[test]
fn facts_without_a_setting_are_remarked_upon() {
    let table: [(Change, &str); 10] = [
        (
            |facts| facts.missing_image = missing(400, "InvalidParameter", Meaning::Refused),
            "InvalidParameter, which may have other causes",
        ),
        (
            |facts| facts.missing_image = missing(403, "NoPermission", Meaning::Forbidden),
            "denied with NoPermission",
        ),
        (
            |facts| facts.missing_image = missing(404, "", Meaning::Foreign),
            "has no Code",
        ),
        (
            |facts| facts.item_differences = items(&["GmtModifiedTime", "Name"], &[]),
            "may have changed meanwhile",
        ),
        (|facts| facts.verbose_members.clear(), "adds no member"),
        (
            |facts| facts.cache_control = Some("max-age=60".to_owned()),
            "below 1m",
        ),
        (
            |facts| {
                let header = "Limit:100,Remain:99,TimeLeft:60000,Reset:1".to_owned();
                facts.quota.insert("x-ratelimit-user-api", header);
            },
            "get_image is 50",
        ),
        (|facts| facts.clock = clock(61), "60 s behind the origin's"),
        (
            |facts| facts.clock = clock(-61),
            "60 s ahead of the origin's",
        ),
        (|facts| facts.clock = None, "no answer has a Date"),
    ];
    for (change, part) in table {
        let mut facts = usual();
        change(&mut facts);
        let (settings, remarks) = follows(&facts, &Settings::default());
        assert_eq!(settings, [], "{part}");
        assert!(
            matches!(&remarks[..], [remark] if remark.contains(part)),
            "{part}: {remarks:?}"
        );
    }
}

#[test]
fn what_is_not_known_changes_nothing() {
    let mut facts = usual();
    facts.item_differences = None;
    facts.pages = vec![page(50, 0, 0)];
    let (settings, remarks) = follows(&facts, &Settings::default());
    assert_eq!((settings, remarks.len()), (vec![], 2));
}

#[test]
fn cache_control_is_set_by_what_the_origin_sends() {
    let cap = json!("cap");
    for (now, sent, expected) in [
        (OriginCacheControl::Respect, "no-store", Some(&cap)),
        (
            OriginCacheControl::Respect,
            "private, max-age=0",
            Some(&cap),
        ),
        (OriginCacheControl::Respect, "max-age=60", None),
        (OriginCacheControl::Ignore, "max-age=60", Some(&cap)),
        (OriginCacheControl::Ignore, "max-age=86400", None),
        (OriginCacheControl::Ignore, "no-cache", None),
        (OriginCacheControl::Cap, "no-cache", None),
    ] {
        let mut settings = Settings::default();
        settings.freshness.origin_cache_control = now;
        let mut facts = usual();
        facts.cache_control = Some(sent.to_owned());
        let (changed, _) = follows(&facts, &settings);
        let value = changed.first().map(|(_, value)| value);
        assert_eq!(value, expected, "{now:?} {sent}");
    }
}
