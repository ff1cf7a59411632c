//! `ListImages`: filter, order and pagination.

use super::image::{Accessibility, Image, Label};
use pai_api::Query;

/// Parsed query of `ListImages`.
#[derive(Debug)]
pub(super) struct ImageSearch {
    workspace: Option<String>,
    name: Option<String>,
    exact_name: bool,
    text: Option<String>,
    image_uri: Option<String>,
    accessibility: Option<Accessibility>,
    labels: Vec<Label>,
    newest_first: bool,
    page_number: usize,
    page_size: usize,
    /// True if the response contains the images' labels.
    pub(super) verbose: bool,
}

/// One page of the images found.
#[derive(Debug)]
pub(super) struct ImagePage {
    pub(super) images: Vec<Image>,
    /// Number of images on all pages.
    pub(super) total: usize,
}

impl Default for ImageSearch {
    fn default() -> Self {
        Self {
            workspace: None,
            name: None,
            exact_name: false,
            text: None,
            image_uri: None,
            accessibility: None,
            labels: Vec::new(),
            newest_first: false,
            page_number: 1,
            page_size: 20,
            verbose: false,
        }
    }
}

impl ImageSearch {
    /// Parses a query. An empty value is no condition; an unknown name or value is an error whose text names
    /// the parameter.
    pub(super) fn parse(query: &Query) -> Result<Self, String> {
        let mut search = Self::default();
        for (name, value) in query.pairs().filter(|(_, value)| !value.is_empty()) {
            search.set(name, value)?;
        }
        Ok(search)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let text = || Some(value.to_owned());
        match name {
            "WorkspaceId" => self.workspace = text(),
            "Name" => self.name = text(),
            "Query" => self.text = text(),
            "ImageUri" => self.image_uri = text(),
            "Labels" => self.labels = parse_labels(value)?,
            "Options" => self.exact_name = one_of(name, value, [("ExactMatchName", true)])?,
            "Accessibility" => {
                let known = [
                    ("PUBLIC", Accessibility::Public),
                    ("PRIVATE", Accessibility::Private),
                ];
                self.accessibility = Some(one_of(name, value, known)?);
            }
            "SortBy" => one_of(name, value, [("GmtCreateTime", ())])?,
            "Order" => self.newest_first = one_of(name, value, [("ASC", false), ("DESC", true)])?,
            "Verbose" => self.verbose = one_of(name, value, [("true", true), ("false", false)])?,
            "PageNumber" => self.page_number = positive(name, value)?,
            "PageSize" => self.page_size = positive(name, value)?,
            _ => return Err(format!("ListImages has no parameter {name}")),
        }
        Ok(())
    }

    /// Returns the requested page of these images. Images with equal times are ordered by id, so that pages
    /// never overlap.
    pub(super) fn page<'a>(
        &self,
        largest: usize,
        images: impl Iterator<Item = &'a Image>,
    ) -> ImagePage {
        let page_size = self.page_size.min(largest);
        let mut found: Vec<&Image> = images.filter(|image| self.matches(image)).collect();
        found.sort_unstable_by_key(|image| (image.gmt_create_time, &image.image_id));
        if self.newest_first {
            found.reverse();
        }
        let skipped = (self.page_number - 1).saturating_mul(page_size);
        let page = found.iter().skip(skipped).take(page_size);
        ImagePage {
            images: page.map(|image| Image::clone(image)).collect(),
            total: found.len(),
        }
    }

    fn matches(&self, image: &Image) -> bool {
        let holds = |wanted: &Option<String>, test: &dyn Fn(&str) -> bool| {
            wanted.as_deref().is_none_or(test)
        };
        holds(&self.workspace, &|id| {
            image.workspace_id.as_deref() == Some(id)
        }) && holds(&self.name, &|name| {
            if self.exact_name {
                image.name == name
            } else {
                image.name.contains(name)
            }
        }) && holds(&self.text, &|text| {
            image.name.contains(text) || image.description.contains(text)
        }) && holds(&self.image_uri, &|uri| image.image_uri == uri)
            && self
                .accessibility
                .is_none_or(|wanted| image.accessibility == wanted)
            && has_labels(image, &self.labels)
    }
}

/// Returns true if an image has every label of the query; the value `*` matches any value.
pub(super) fn has_labels(image: &Image, wanted: &[Label]) -> bool {
    wanted.iter().all(|wanted| {
        image.labels.iter().any(|label| {
            label.key == wanted.key && (wanted.value == "*" || label.value == wanted.value)
        })
    })
}

/// Parses `Key=Value,Key=Value`.
pub(super) fn parse_labels(text: &str) -> Result<Vec<Label>, String> {
    let pairs = text.split(',').map(|pair| {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("labels are written Key=Value,Key=Value, not {text}"))?;
        Ok(Label::new(key, value))
    });
    pairs.collect()
}

fn one_of<T: Copy, const N: usize>(
    name: &str,
    value: &str,
    known: [(&str, T); N],
) -> Result<T, String> {
    let found = known
        .iter()
        .find(|(spelling, _)| spelling.eq_ignore_ascii_case(value));
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let spellings = known.map(|(spelling, _)| spelling).join(" or ");
        format!("{name} must be {spellings}")
    })
}

fn positive(name: &str, value: &str) -> Result<usize, String> {
    let number = value.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{name} must be a positive number"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::store::Store;
    use super::*;

    fn found(query: &str) -> ImagePage {
        let store = Store::generate(100, Arc::default());
        let query = format!("PageSize=1000&{query}");
        store.search(&ImageSearch::parse(&Query::parse(&query).unwrap()).unwrap())
    }

    #[test]
    fn filters_keep_what_they_name_and_all_of_it() {
        let workspace = |image: &Image| image.workspace_id.as_deref() == Some("20817");
        let official = |image: &Image| image.workspace_id.is_none();
        let private = |image: &Image| image.accessibility == Accessibility::Private;
        type Test = fn(&Image) -> bool;
        let cases: [(&str, usize, Test); 8] = [
            ("", 100, |_| true),
            ("WorkspaceId=20817", 25, workspace),
            ("Accessibility=PRIVATE", 25, private),
            ("Name=pytorch-training", 25, official),
            ("Query=NLP", 75, |image| image.workspace_id.is_some()),
            (
                "Labels=system.official%3Dtrue,system.supported.dlc%3Dtrue",
                25,
                official,
            ),
            ("Labels=system.framework.PyTorch%3D*", 25, official),
            ("Labels=system.framework.PyTorch%3D1.0", 0, official),
        ];
        for (query, total, test) in cases {
            let page = found(query);
            assert_eq!((page.total, page.images.len()), (total, total), "{query}");
            assert!(page.images.iter().all(test), "{query}");
        }
    }

    #[test]
    fn names_match_in_part_or_exactly_and_uris_exactly() {
        assert_eq!(found("Name=nlp-compression-1").total, 9);
        assert_eq!(
            found("Name=nlp-compression-1&Options=ExactMatchName").total,
            1
        );
        let uri = "ImageUri=registry.cn-hangzhou.aliyuncs.com/pai-dlc/nlp-compression:gpu-1";
        assert_eq!(found(uri).total, 1);
    }

    #[test]
    fn pages_cover_everything_once_in_order() {
        let store = Store::generate(50, Arc::default());
        let page = |number: usize| {
            let query = format!("Order=DESC&PageNumber={number}&PageSize=20&SortBy=GmtCreateTime");
            store.search(&ImageSearch::parse(&Query::parse(&query).unwrap()).unwrap())
        };
        let pages: Vec<ImagePage> = (1..=4).map(page).collect();
        let sizes: Vec<usize> = pages.iter().map(|page| page.images.len()).collect();
        assert_eq!(sizes, [20, 20, 10, 0]);
        assert!(pages.iter().all(|page| page.total == 50));
        let times: Vec<_> = pages.iter().flat_map(|page| &page.images).collect();
        assert!(times.is_sorted_by_key(|image| std::cmp::Reverse(image.gmt_create_time)));
        let ids: std::collections::HashSet<_> = times.iter().map(|image| &image.image_id).collect();
        assert_eq!(ids.len(), 50);
    }

    #[test]
    fn a_page_has_at_most_as_many_images_as_the_store_allows() {
        let store = Store::generate(50, Arc::default());
        store.limit_pages(15);
        let page = |number: usize| {
            let query = format!("PageNumber={number}&PageSize=20");
            let search = ImageSearch::parse(&Query::parse(&query).unwrap()).unwrap();
            store.search(&search).images.len()
        };
        assert_eq!([1, 2, 3, 4, 5].map(page), [15, 15, 15, 5, 0]);
        store.limit_pages(0);
        assert_eq!(page(1), 20);
    }

    #[test]
    fn invalid_conditions_are_named() {
        for (bad, hint) in [
            ("PageSize=0", "PageSize"),
            ("PageNumber=x", "PageNumber"),
            ("Order=up", "ASC or DESC"),
            ("SortBy=Name", "GmtCreateTime"),
            ("Labels=x", "Key=Value"),
            ("Accessibility=SECRET", "PUBLIC or PRIVATE"),
            ("Colour=red", "Colour"),
        ] {
            let error = ImageSearch::parse(&Query::parse(bad).unwrap()).unwrap_err();
            assert!(error.contains(hint), "{bad}: {error}");
        }
        assert!(ImageSearch::parse(&Query::parse("Options=&Name=").unwrap()).is_ok());
    }
}
