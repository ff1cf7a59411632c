//! Images that an emulator starts with. Apart from its age, an image depends on its index only.
//!
//! By `index % 4`: 0 an official image; 1 a PUBLIC image of workspace 15945; 2 a PUBLIC image of
//! workspace 20817; 3 a PRIVATE image of workspace 15945.

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

use super::image::{Accessibility, Image, Label};

/// The length of every generated image's GetImage answer without labels, as the benchmarks count it.
const BODY_LEN: usize = 626;

pub(super) const USER: &str = "155770209999998921";

/// Id of the image with index 0: the official image that the documentation's examples request.
const DOCUMENTED_ID: &str = "image-liuxvj7p2qcnflha84";

/// Returns the id of the image with this index.
pub(super) fn id(index: usize) -> String {
    if index == 0 {
        return DOCUMENTED_ID.to_owned();
    }
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rng = seeded_rng(index, 1);
    let tail = (0..18).filter_map(|_| ALPHABET.get(rng.usize(..36)));
    "image-"
        .chars()
        .chain(tail.map(|byte| char::from(*byte)))
        .collect()
}

/// Generates the image with this index, last changed between two minutes and four years ago.
pub(super) fn image(index: usize, now: Timestamp) -> Image {
    let mut rng = seeded_rng(index, 2);
    let modified = ago(now, seconds(&mut rng));
    let created = ago(modified, seconds(&mut rng));
    let image = if index.is_multiple_of(4) {
        official(index, &mut rng)
    } else {
        owned(index, &mut rng)
    };
    padded(Image {
        gmt_create_time: created,
        gmt_modified_time: modified,
        ..image
    })
}

fn official(index: usize, rng: &mut Rng) -> Image {
    let chip = if rng.u8(..4) == 0 { "CPU" } else { "GPU" };
    let minor = rng.u8(0..6);
    let tag = format!("2.{minor}-{}-py310", chip.to_ascii_lowercase());
    Image {
        name: format!("pytorch-training:{tag}"),
        description: format!("PAI 官方镜像\nPyTorch 2.{minor}\n"),
        image_uri: format!(
            "registry.cn-hangzhou.aliyuncs.com/pai-dlc/pytorch-training:{tag}-{index}"
        ),
        labels: vec![
            Label::new("system.official", "true"),
            Label::new("system.supported.dlc", "true"),
            Label::new("system.chipType", chip),
            Label::new("system.framework", "PyTorch"),
            Label::new("system.framework.PyTorch", &format!("2.{minor}")),
            Label::new("system.pythonVersion", "3.10"),
        ],
        accessibility: Accessibility::Public,
        ..template(index, rng)
    }
}

fn owned(index: usize, rng: &mut Rng) -> Image {
    let workspace = if index % 4 == 2 { "20817" } else { "15945" };
    let accessibility = if index % 4 == 3 {
        Accessibility::Private
    } else {
        Accessibility::Public
    };
    Image {
        name: format!("nlp-compression-{index}"),
        description: "NLP模型压缩训练镜像\n".to_owned(),
        image_uri: format!("registry.cn-hangzhou.aliyuncs.com/pai-dlc/nlp-compression:gpu-{index}"),
        workspace_id: Some(workspace.to_owned()),
        accessibility,
        source_type: "Import".to_owned(),
        labels: vec![
            Label::new("system.chipType", "GPU"),
            Label::new("system.origin", "Import"),
        ],
        ..template(index, rng)
    }
}

fn template(index: usize, rng: &mut Rng) -> Image {
    Image {
        gmt_create_time: Timestamp::UNIX_EPOCH,
        gmt_modified_time: Timestamp::UNIX_EPOCH,
        name: String::new(),
        description: String::new(),
        image_uri: String::new(),
        user_id: USER.to_owned(),
        parent_user_id: USER.to_owned(),
        workspace_id: None,
        accessibility: Accessibility::Private,
        // Above 32 bits: a client that reads it as an int32 must fail here, not in production.
        size: rng.u64((5 << 30)..(40 << 30)),
        source_type: String::new(),
        source_id: String::new(),
        image_id: id(index),
        identity: None,
        signature: None,
        labels: Vec::new(),
    }
}

/// Lengthens the description until the answer is [`BODY_LEN`] bytes long.
fn padded(mut image: Image) -> Image {
    const PROSE: &str = "适用于大规模预训练、微调与推理任务，已通过兼容性测试。";
    let request_id = "00000000-0000-0000-0000-000000000000";
    let body = serde_json::to_vec(&image.render(Some(request_id), false))
        .expect("an image has only text and numbers, which always serialize");
    let mut missing = BODY_LEN.saturating_sub(body.len());
    for letter in PROSE.chars().cycle() {
        if letter.len_utf8() > missing {
            break;
        }
        missing -= letter.len_utf8();
        image.description.push(letter);
    }
    image.description.extend(std::iter::repeat_n('.', missing));
    image
}

fn seeded_rng(index: usize, salt: u64) -> Rng {
    Rng::with_seed((index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ salt)
}

/// Returns an age between two minutes and four years; each doubling is as likely as the next.
fn seconds(rng: &mut Rng) -> i64 {
    let least = 120 << rng.u8(0..20);
    least + rng.i64(0..least)
}

fn ago(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_sub(SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_distinct_and_of_the_services_form() {
        let ids: HashSet<String> = (0..20_000).map(id).collect();
        assert_eq!(ids.len(), 20_000);
        for id in ids {
            let tail = id.strip_prefix("image-").unwrap();
            assert_eq!(tail.len(), 18, "{id}");
            assert!(
                tail.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            );
        }
    }

    #[test]
    fn one_index_is_one_image() {
        let now = Timestamp::now();
        assert_eq!(image(7, now), image(7, now));
        assert_ne!(image(7, now), image(8, now));
    }

    #[test]
    fn images_are_as_long_old_and_large_as_promised() {
        let now = Timestamp::now();
        for index in [0, 1, 2, 3, 99, 12_345, 999_999] {
            let image = image(index, now);
            let id = "00000000-0000-0000-0000-000000000000";
            let body = serde_json::to_vec(&image.render(Some(id), false)).unwrap();
            assert_eq!(body.len(), BODY_LEN, "{index}");
            let age = now.duration_since(image.gmt_modified_time);
            assert!(age >= SignedDuration::from_secs(120), "{index}");
            assert!(image.gmt_create_time < image.gmt_modified_time);
            assert!(image.size > u64::from(u32::MAX));
            assert_eq!(image.workspace_id.is_none(), index % 4 == 0);
        }
    }

    #[test]
    fn ages_reach_from_minutes_to_months() {
        let now = Timestamp::now();
        let ages = (0..500).map(|i| {
            now.duration_since(image(i, now).gmt_modified_time)
                .as_hours()
        });
        let (young, old) = ages.fold((i64::MAX, 0), |(low, high), age| {
            (low.min(age), high.max(age))
        });
        assert!(young < 1 && old > 24 * 60, "{young} {old}");
    }
}
