//! Text of an error with its causes, for logs.

/// Formats an error with all of its causes on one line. A cause whose text the line already ends with is left out.
#[must_use]
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.extend([": ", &more]);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::error_chain;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        #[source]
        cause: Option<Box<Self>>,
    }

    fn chain(texts: &[&'static str]) -> Option<Box<Link>> {
        let (text, causes) = texts.split_first()?;
        let cause = chain(causes);
        Some(Box::new(Link { text, cause }))
    }

    #[test]
    fn each_cause_is_written_once() {
        for (texts, expected) in [
            (&["a", "b", "c"][..], "a: b: c"),
            (&["a: b: c", "b: c", "c"], "a: b: c"),
            (&["same", "same"], "same"),
        ] {
            assert_eq!(error_chain(&*chain(texts).unwrap()), expected);
        }
    }
}
