//! The fact sheet, as text and as JSON.

use std::fmt::Write as _;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::super::printable;
use super::conclusions::Conclusions;
use super::facts::{ClockOffset, Etag, Facts, ItemDifferences, Meaning};
use super::pages::{PageResult, PageTry};

/// Builds the object of `--json`.
pub(super) fn as_json(facts: &Facts, conclusions: &Conclusions) -> Value {
    let millis = |span: SignedDuration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    json!({
        "image": facts.image,
        "calls": facts.calls,
        "missing_image": facts.missing_image,
        "quota": facts.quota,
        "cache_control": facts.cache_control,
        "etag": facts.etag,
        "verbose_members": facts.verbose_members,
        "item_differences": facts.item_differences,
        "pages": facts.pages.iter().map(PageTry::as_json).collect::<Vec<_>>(),
        "clock_offset_ms": facts.clock.map(|clock| millis(clock.offset)),
        "clock_uncertainty_ms": facts.clock.map(|clock| millis(clock.uncertainty)),
        "settings": conclusions.settings,
        "remarks": conclusions.remarks,
    })
}

/// Writes facts, settings and remarks, each on a line.
pub(super) fn as_text(facts: &Facts, conclusions: &Conclusions) -> String {
    let mut out = format!("Facts, by {} in {} calls\n", facts.image, facts.calls);
    let quota = facts.quota.iter();
    let quota: Vec<_> = quota
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    let pages: Vec<_> = facts.pages.iter().map(of_page).collect();
    for (name, fact) in [
        ("missing image", of_missing_image(facts)),
        ("quota headers", or_none(&quota.join("; "))),
        (
            "Cache-Control",
            or_none(facts.cache_control.as_deref().unwrap_or_default()),
        ),
        ("ETag", of_etag(facts.etag).to_owned()),
        (
            "Verbose=true",
            format!("adds {}", or_none(&facts.verbose_members.join(", "))),
        ),
        ("list item", of_items(facts.item_differences.as_ref())),
        ("PageSize", pages.join("; ")),
        ("clock", of_clock(facts.clock)),
    ] {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {name:<15}{}", printable(&fact));
    }
    out += "\nSettings that follow\n";
    for setting in &conclusions.settings {
        let now = if setting.value == setting.now {
            "as it is".to_owned()
        } else {
            format!("now {}", setting.now)
        };
        let line = format!(
            "{} = {}  # {now}: {}",
            setting.key, setting.value, setting.because
        );
        let _ = writeln!(out, "  {}", printable(&line));
    }
    if !conclusions.remarks.is_empty() {
        out += "\nRemarks\n";
    }
    for remark in &conclusions.remarks {
        let _ = writeln!(out, "  {}", printable(remark));
    }
    out
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "none" } else { text }.to_owned()
}

fn of_missing_image(facts: &Facts) -> String {
    let missing = &facts.missing_image;
    let meaning = match missing.meaning {
        Meaning::NotFound => "the gateway takes it for \"not found\"",
        Meaning::Forbidden => "the gateway takes it for \"forbidden\"",
        Meaning::Refused => "the gateway takes it for an invalid request",
        Meaning::Foreign => "the gateway takes it for a proxy's answer",
    };
    let code = or_none(&missing.code);
    format!("{} with Code {code}: {meaning}", missing.status)
}

const fn of_etag(etag: Option<Etag>) -> &'static str {
    match etag {
        None => "none",
        Some(Etag::Stable) => "the same in two answers",
        Some(Etag::Changes) => "another one in each answer",
    }
}

fn of_items(differences: Option<&ItemDifferences>) -> String {
    let Some(ItemDifferences { plain, verbose }) = differences else {
        return "not found in a list".to_owned();
    };
    let differs = |members: &[String]| match members {
        [] => "agrees with GetImage".to_owned(),
        members => format!("differs in {}", members.join(", ")),
    };
    format!(
        "Verbose=false {}; Verbose=true {}",
        differs(plain),
        differs(verbose)
    )
}

fn of_page(page: &PageTry) -> String {
    let answer = match &page.result {
        PageResult::Given {
            items,
            total: Some(total),
        } => format!("{items} of {total} images"),
        PageResult::Given { items, total: None } => format!("{items} images"),
        PageResult::Refused { code } => format!("refused with {code}"),
        PageResult::Failed { reason } => reason.clone(),
    };
    format!("{}: {answer}", page.asked)
}

fn of_clock(clock: Option<ClockOffset>) -> String {
    let Some(ClockOffset {
        offset,
        uncertainty,
    }) = clock
    else {
        return "not known".to_owned();
    };
    let way = if offset.is_negative() {
        "behind"
    } else {
        "ahead of"
    };
    let seconds = |span: SignedDuration| span.abs().as_secs_f64();
    format!(
        "the origin's is {:.1} s {way} this machine's, give or take {:.1} s",
        seconds(offset),
        seconds(uncertainty)
    )
}
