use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::SignedDuration;

use super::*;
use host::units::HumanDuration;

fn provider(config: &Config, variables: &[(&str, &str)]) -> CredentialProvider {
    let environment = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    CredentialProvider::new(config, &environment, Arc::new(Unobserved))
}

const VARIABLES: [(&str, &str); 3] = [
    ("ALIBABA_CLOUD_ACCESS_KEY_ID", "LTAIexampleEnv00"),
    ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "from-env"),
    ("ALIBABA_CLOUD_SECURITY_TOKEN", ""),
];

/// A folder with a secret, and settings that name it.
fn files(secret: &str) -> (tempfile::TempDir, std::path::PathBuf, Config) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, secret).unwrap();
    let config = Config {
        access_key_id: Some("LTAIexampleFile0".to_owned()),
        access_key_secret_file: Some(file.to_str().unwrap().to_owned()),
        ..Config::default()
    };
    (folder, file, config)
}

fn secret(provider: &CredentialProvider) -> String {
    let current = provider.current().unwrap();
    current.secrets()[1].unwrap().to_owned()
}

/// Number of loads that succeeded, and that failed.
#[derive(Debug, Default)]
struct Loads([AtomicU64; 2]);

impl Loads {
    fn succeeded(&self) -> u64 {
        self.0[0].load(Ordering::Relaxed)
    }

    fn failed(&self) -> u64 {
        self.0[1].load(Ordering::Relaxed)
    }
}

impl Observer for Loads {
    fn source_known(&self, _: &'static str) {}

    fn loaded(&self, source: &'static str, _: Option<Timestamp>) {
        assert_eq!(source, "static");
        self.0[0].fetch_add(1, Ordering::Relaxed);
    }

    fn failed(&self, source: &'static str) {
        assert_eq!(source, "static");
        self.0[1].fetch_add(1, Ordering::Relaxed);
    }

    fn not_renewed(&self, _: &dyn fmt::Display) {}
    fn doubtful_profile(&self, _: &str, _: &dyn fmt::Display) {}
    fn clock_corrected(&self, _: &str, _: SignedDuration) {}
}

/// A provider that runs until the test ends, and the number of its loads.
fn running(config: &Config) -> (Arc<CredentialProvider>, Arc<Loads>) {
    let loads = Arc::new(Loads::default());
    let provider = CredentialProvider::new(config, &Environment::new(), Arc::clone(&loads));
    let running = Arc::new(provider);
    let kept = Arc::clone(&running);
    tokio::spawn(async move { kept.run(CancellationToken::new()).await });
    (running, loads)
}

async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

#[tokio::test]
async fn files_go_before_the_environment_and_a_rotated_secret_is_taken() {
    let (_folder, file, config) = files("first\n");
    let provider = provider(&config, &VARIABLES);
    provider.load().await.unwrap();
    assert_eq!(secret(&provider), "first");
    std::fs::write(&file, "second").unwrap();
    provider.load().await.unwrap();
    assert_eq!(secret(&provider), "second");
    assert_eq!(provider.status().access_key_id.unwrap(), "LTAI****ile0");
}

#[tokio::test]
async fn the_last_good_credential_stays_and_no_other_source_is_asked() {
    let (_folder, file, config) = files("good");
    let provider = provider(&config, &VARIABLES);
    provider.load().await.unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(provider.load().await.unwrap_err().len(), 1);
    assert_eq!(secret(&provider), "good");
    assert_eq!(provider.unavailable_reason(), None);
    let error = provider.status().last_error.unwrap();
    assert!(
        error.contains("secret") && error.contains("No such file"),
        "{error}"
    );
}

#[tokio::test]
async fn without_files_the_environment_is_used_and_an_empty_token_is_none() {
    let provider = provider(&Config::default(), &VARIABLES);
    assert_eq!(
        provider.unavailable_reason(),
        Some("waiting for the first credential")
    );
    provider.load().await.unwrap();
    let current = provider.current().unwrap();
    let expected = [Some("LTAIexampleEnv00"), Some("from-env"), None];
    assert_eq!(current.secrets(), expected);
}

#[tokio::test]
async fn every_source_names_its_missing_setting() {
    let cases = [
        (SourceName::Static, "credentials.access_key_secret_file"),
        (SourceName::Env, "ALIBABA_CLOUD_ACCESS_KEY_ID"),
        (SourceName::Oidc, "ALIBABA_CLOUD_ROLE_ARN"),
        (SourceName::CliProfile, "credentials.cli_config_file"),
        (SourceName::Profile, "ALIBABA_CLOUD_CREDENTIALS_FILE"),
        (SourceName::Ecs, "ALIBABA_CLOUD_ECS_METADATA_DISABLED"),
        (SourceName::Uri, "ALIBABA_CLOUD_CREDENTIALS_URI"),
    ];
    for (source, expected) in cases {
        let config = Config {
            source,
            ..Config::default()
        };
        let off = [("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "TRUE")];
        let errors = provider(&config, &off).load().await.unwrap_err();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].to_string().contains(expected), "{}", errors[0]);
    }
}

#[tokio::test]
async fn an_expired_credential_is_not_handed_out_and_the_whole_chain_is_asked_again() {
    let (_folder, _file, config) = files("good");
    let provider = provider(&config, &VARIABLES);
    let fetched = response::FetchedCredentials::without_expiry("STS.x", "s", None);
    let expires = Timestamp::now() + SignedDuration::from_millis(30);
    provider.install(LoadedCredentials {
        identity: Arc::new(fetched.credentials.into()),
        source: Source::Uri,
        expires: Some(expires),
    });
    assert_eq!(provider.candidates(), [Source::Uri]);
    pass(0.05).await;
    assert!(provider.current().is_none());
    let reason = provider.unavailable_reason().unwrap();
    assert!(reason.contains("expired"), "{reason}");
    provider.load().await.unwrap();
    assert_eq!(secret(&provider), "good");
}

#[tokio::test(start_paused = true)]
async fn a_credential_without_expiry_is_read_again_every_period() {
    let (_folder, file, config) = files("first");
    let config = Config {
        refresh: HumanDuration::secs(30),
        ..config
    };
    let (provider, loads) = running(&config);
    pass(1.0).await;
    std::fs::write(&file, "second").unwrap();
    pass(28.0).await;
    assert_eq!(secret(&provider), "first");
    pass(2.0).await;
    assert_eq!(secret(&provider), "second");
    assert_eq!(loads.succeeded(), 2);
}

#[tokio::test(start_paused = true)]
async fn rejections_read_again_at_most_once_in_ten_seconds() {
    let (_folder, _file, config) = files("x");
    let config = Config {
        refresh: HumanDuration::secs(3600),
        ..config
    };
    let (provider, loads) = running(&config);
    pass(1.0).await;
    assert_eq!(loads.succeeded(), 1);
    for _ in 0..8 {
        provider.report_rejection();
        pass(1.0).await;
    }
    assert_eq!(loads.succeeded(), 2);
    pass(4.0).await;
    assert_eq!(loads.succeeded(), 3);
    pass(100.0).await;
    assert_eq!(loads.succeeded(), 3);
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_ever_later_and_success_ends_that() {
    let (_folder, file, config) = files("x");
    std::fs::remove_file(&file).unwrap();
    let config = Config {
        source: SourceName::Static,
        ..config
    };
    let (provider, loads) = running(&config);
    pass(600.0).await;
    let failed = loads.failed();
    assert!((15..=30).contains(&failed), "{failed}");
    std::fs::write(&file, "there").unwrap();
    pass(61.0).await;
    assert_eq!(secret(&provider), "there");
    assert_eq!(provider.status().last_error, None);
}
