use proptest::prelude::*;

use super::*;
use crate::RESOLVE;

fn get(path: &str, query: Option<&str>) -> Result<Operation, RouteError> {
    Call::classify(&Method::GET, path, query).map(|call| call.operation)
}

fn image(verbose: bool) -> Result<Operation, RouteError> {
    Ok(Operation::GetImage(ImageKey {
        image: ImageId::parse("image-1").unwrap(),
        verbose,
    }))
}

#[test]
fn verbose_is_read_as_every_sdk_writes_it() {
    for (query, verbose) in [
        (None, false),
        (Some(""), false),
        (Some("Verbose="), false),
        (Some("Verbose"), false),
        (Some("Verbose=False"), false),
        (Some("Verbose=True"), true),
        (Some("Verbose=true"), true),
        (Some("%56erbose=t%72ue"), true),
    ] {
        assert_eq!(
            get("/api/v1/images/image-1", query),
            image(verbose),
            "{query:?}"
        );
    }
}

#[test]
fn malformed_parts_of_get_image_are_named() {
    for (path, query) in [
        ("/api/v1/images/", None),
        ("/api/v1/images/a%2Fb", None),
        ("/api/v1/images/a%252Fb", None),
        ("/api/v1/images/%zz", None),
        ("/api/v1/images/..", None),
        ("/api/v1/images/image-1", Some("Verbose=True&Verbose=True")),
        ("/api/v1/images/image-1", Some("Verbose=1")),
        ("/api/v1/images/image-1", Some("verbose=true")),
        ("/api/v1/images/image-1", Some("Verbose=true;x=1")),
        ("/api/v1/images/image-1", Some("X=1")),
    ] {
        let answer = get(path, query);
        assert!(
            matches!(answer, Err(RouteError::Malformed(Action::GetImage, _))),
            "{path} {query:?} {answer:?}"
        );
    }
}

#[test]
fn unknown_routes_and_methods_get_different_errors() {
    for path in [
        "/",
        "/api/v1",
        "/api/v1/",
        "/api/v1/imagesx",
        "/api/v2/images",
        "/api/v1//images",
        "//api/v1/images",
        "/api/v1/images/a/b",
        "/api/v1/images/a/labels/b/c",
        "/api/v1/image/labels/",
        "/api/v1/imagebuilds",
    ] {
        assert_eq!(get(path, None), Err(RouteError::UnknownRoute), "{path}");
    }
    let put = Call::classify(&Method::PUT, "/api/v1/images/image-1", None);
    assert_eq!(put, Err(RouteError::Method("GET, HEAD, DELETE")));
}

#[test]
fn a_head_of_an_image_is_a_get_image_and_of_nothing_else_anything() {
    let head = |path, query| Call::classify(&Method::HEAD, path, query);
    let path = "/api/v1/images/image-1";
    for query in [None, Some("Verbose=true"), Some("Verbose=1"), Some("X=1")] {
        let get = Call::classify(&Method::GET, path, query);
        assert_eq!(head(path, query), get, "{query:?}");
    }
    for (path, allowed) in [
        ("/api/v1/images", "GET, POST"),
        ("/api/v1/image/labels", "GET"),
        ("/api/v1/images/image-1/labels", "POST"),
        ("/api/v1/images/image-1/labels/a", "DELETE"),
        ("/api/v1/images/image-1/publish", "PUT"),
        (RESOLVE, "POST"),
    ] {
        assert_eq!(head(path, None), Err(RouteError::Method(allowed)), "{path}");
    }
}

#[test]
fn resolve_is_a_post_without_parameters() {
    let ask = |method, query| {
        let call = Call::classify(&method, RESOLVE, query);
        call.map(|call| call.operation)
    };
    assert_eq!(ask(Method::POST, None), Ok(Operation::Resolve));
    assert_eq!(ask(Method::POST, Some("")), Ok(Operation::Resolve));
    assert_eq!(ask(Method::GET, None), Err(RouteError::Method("POST")));
    assert!(matches!(
        ask(Method::POST, Some("Verbose=true")),
        Err(RouteError::Malformed(Action::Resolve, _))
    ));
    for path in ["/gateway/v1/resolve/", "/gateway/v1", "/gateway/v2/resolve"] {
        let call = Call::classify(&Method::POST, path, None);
        assert_eq!(call, Err(RouteError::UnknownRoute), "{path}");
    }
}

#[test]
fn a_region_is_taken_once_on_every_operation_and_goes_nowhere() {
    for (method, path, query, rest) in [
        (
            Method::GET,
            "/api/v1/images/image-1",
            "Verbose=true",
            "Verbose=true",
        ),
        (Method::GET, "/api/v1/images", "Name=x", "Name=x"),
        (Method::GET, "/api/v1/image/labels", "", ""),
        (Method::POST, "/api/v1/images", "", ""),
        (Method::DELETE, "/api/v1/images/image-1", "", ""),
        (Method::POST, RESOLVE, "", ""),
    ] {
        let regional = format!("RegionId=cn-hangzhou&{query}");
        let call = Call::classify(&method, path, Some(&regional));
        assert_eq!(call, Call::classify(&method, path, Some(query)), "{path}");
        assert_eq!(call.unwrap().query.canonical(), rest);
        let twice = format!("{regional}&RegionId=cn-hangzhou");
        let call = Call::classify(&method, path, Some(&twice));
        assert!(matches!(call, Err(RouteError::Malformed(..))), "{twice}");
    }
}

/// Every operation with all that it takes, as the SDKs write it.
const COMPLETE: [(Method, &str, &str); 8] = [
    (Method::GET, "/api/v1/images/i", "Verbose=True"),
    (
        Method::GET,
        "/api/v1/images",
        "Accessibility=PUBLIC&ImageUri=r%2Fx%3A1.0&Labels=system.chipType%3DGPU%2Csystem.official%3Dtrue\
         &Name=tensor+flow~%2A%2B%25%2F%E4%B8%AD&Options=&Order=DESC&PageNumber=1&PageSize=20&Query=abc\
         &SortBy=GmtCreateTime&Verbose=True&WorkspaceId=15945",
    ),
    (
        Method::GET,
        "/api/v1/image/labels",
        "ImageId=i&LabelFilter=x%3Dy&LabelKeys=a%2Cb&Region=cn-hangzhou&WorkspaceId=1",
    ),
    (Method::POST, "/api/v1/images", ""),
    (Method::POST, "/api/v1/images/i/labels", ""),
    (Method::DELETE, "/api/v1/images/i/labels/k", ""),
    (Method::PUT, "/api/v1/images/i/publish", ""),
    (Method::DELETE, "/api/v1/images/i", ""),
];

fn is_malformed(method: &Method, path: &str, query: &str) -> bool {
    let call = Call::classify(method, path, Some(query));
    matches!(call, Err(RouteError::Malformed(..)))
}

#[test]
fn parameters_are_the_apis_own_each_once() {
    for (method, path, query) in COMPLETE {
        assert!(!is_malformed(&method, path, query), "{path} {query}");
        for other in [
            "X=1",
            "x",
            "imageid=i",
            "WORKSPACEID=1",
            "%57orkspaceid=1",
            "Verbose%20=1",
        ] {
            let with = format!("{query}&{other}");
            assert!(is_malformed(&method, path, &with), "{path} {with}");
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, _) = pair.split_once('=').unwrap();
            for again in [
                pair,
                name,
                &format!("%{:02x}{}=9", name.as_bytes()[0], &name[1..]),
            ] {
                assert!(
                    is_malformed(&method, path, &format!("{query}&{again}")),
                    "{path} {again}"
                );
            }
            let lower = format!("{}=1", name.to_lowercase());
            assert!(is_malformed(&method, path, &lower), "{path} {lower}");
        }
    }
}

#[test]
fn a_query_too_long_for_a_request_line_is_rejected() {
    let images = "/api/v1/images";
    let of = |name: &str, times| format!("Name={}", name.repeat(times));
    let fits = MAX_TARGET - images.len() - "?Name=".len();
    assert!(!is_malformed(&Method::GET, images, &of("x", fits)));
    assert!(is_malformed(&Method::GET, images, &of("x", fits + 1)));
    // Escaped, each is three bytes or nine.
    assert!(is_malformed(&Method::GET, images, &of("*", 3500)));
    assert!(is_malformed(&Method::GET, images, &of("中", 1000)));
    let key = |length| format!("/api/v1/images/i/labels/{}", "%2a".repeat(length));
    assert!(!is_malformed(&Method::DELETE, &key(2000), ""));
    assert!(is_malformed(&Method::DELETE, &key(2700), ""));
}

#[test]
fn writes_keep_their_path_parts() {
    let call = Call::classify(
        &Method::DELETE,
        "/api/v1/images/image-1/labels/key1%2Ckey%2f2%20~%2A",
        None,
    )
    .unwrap();
    assert_eq!(
        call.operation,
        Operation::RemoveImageLabels(
            ImageId::parse("image-1").unwrap(),
            "key1,key/2 ~*".to_owned()
        )
    );
    assert_eq!(
        call.operation.path(),
        "/api/v1/images/image-1/labels/key1%2Ckey%2F2%20~%2A"
    );
}

proptest! {
    #[test]
    fn one_image_is_one_key_however_it_is_escaped(id in "[A-Za-z0-9][A-Za-z0-9_-]{0,127}", escapes in prop::collection::vec(0u8..3, 128)) {
        let escaped: String = id.bytes().zip(escapes).map(|(byte, how)| match how {
            0 => (byte as char).to_string(),
            1 => format!("%{byte:02X}"),
            _ => format!("%{byte:02x}"),
        }).collect();
        prop_assert_eq!(get(&format!("/api/v1/images/{escaped}"), None), get(&format!("/api/v1/images/{id}"), None));
    }

    #[test]
    fn a_write_is_never_taken_for_a_read(
        method in prop::sample::select(vec!["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "get"]),
        path in "(/api/v1)?(/images|/image)?(/[a-z%0-9]{0,5})?(/labels|/publish)?(/[a-z]{0,3})?", query in "[a-zA-Z=&%+]{0,12}",
    ) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        if let Ok(call) = Call::classify(&method, &path, Some(&query)) {
            let is_read = [Method::GET, Method::HEAD].contains(&method);
            prop_assert_eq!(call.operation.is_write(), !is_read);
            // HEAD is asked upstream as GET.
            prop_assert_eq!(call.operation.method(), if is_read { Method::GET } else { method });
        }
    }
}
