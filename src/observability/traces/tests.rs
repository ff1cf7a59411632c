use http::HeaderValue;

use super::*;

const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn environment(variables: &[(&str, &str)]) -> Environment {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    variables.iter().map(owned).collect()
}

#[test]
fn the_setting_goes_before_opentelemetrys_own_variables() {
    let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:4318/otlp/");
    let traces = (
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "https://traces/as/it/is",
    );
    let set = Config {
        endpoint: Some("http://set:4318".to_owned()),
        ..Config::default()
    };
    for (config, variables, url) in [
        (&Config::default(), vec![], None),
        (
            &Config::default(),
            vec![general],
            Some("http://general:4318/otlp/v1/traces"),
        ),
        (
            &Config::default(),
            vec![general, traces],
            Some("https://traces/as/it/is"),
        ),
        (
            &Config::default(),
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "otel:4317")],
            None,
        ),
        (
            &set,
            vec![general, traces],
            Some("http://set:4318/v1/traces"),
        ),
    ] {
        let found = collector(config, &environment(&variables));
        assert_eq!(found.as_deref(), url, "{variables:?}");
    }
}

#[test]
fn an_endpoint_is_a_url_without_secrets() {
    let is_sound = |endpoint: &str| {
        let endpoint = Some(endpoint.to_owned());
        let config = Config {
            endpoint,
            ..Config::default()
        };
        config.is_endpoint_sound()
    };
    for sound in [
        "http://127.0.0.1:4318",
        "https://otel.example/base/v1/traces",
    ] {
        assert!(is_sound(sound), "{sound}");
    }
    for unsound in [
        "",
        "127.0.0.1:4318",
        "grpc://a:4317",
        "http://",
        "http://u:p@a",
        "http://a?k=v",
    ] {
        assert!(!is_sound(unsound), "{unsound}");
    }
}

#[test]
fn the_service_is_named_by_setting_or_variable_or_as_usual() {
    let named = |service: Option<&str>, variables: &[(&str, &str)]| {
        let service = service.map(str::to_owned);
        let config = Config {
            service,
            ..Config::default()
        };
        config.service_name(&environment(variables))
    };
    let variable = ("OTEL_SERVICE_NAME", "images");
    assert_eq!(named(Some("set"), &[variable]).as_deref(), Some("set"));
    assert_eq!(named(None, &[variable]).as_deref(), Some("images"));
    assert_eq!(named(None, &[]).as_deref(), Some("pai-image-gateway"));
    let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other");
    assert_eq!(named(None, &[attributes]), None);
}

#[test]
fn without_a_collector_there_are_no_traces_unless_to_hand_on() {
    let open = |config: &Config| {
        Traces::open(config, &Environment::new(), &Arc::new(Metrics::new())).unwrap()
    };
    assert!(open(&Config::default()).is_none());
    let forward = Config {
        forward: true,
        sample: 1.0,
        ..Config::default()
    };
    let traces = open(&forward).unwrap();
    let (mut sent, mut headers) = (HeaderMap::new(), HeaderMap::new());
    traces
        .continue_or_sample(&headers, Instant::now())
        .forward(&mut sent);
    assert!(sent.is_empty());
    headers.insert("traceparent", HeaderValue::from_static(SAMPLED));
    let step = traces.continue_or_sample(&headers, Instant::now());
    step.span("below").forward(&mut sent);
    assert_eq!(sent["traceparent"], SAMPLED);
    assert_eq!(step.id(), None);
}
