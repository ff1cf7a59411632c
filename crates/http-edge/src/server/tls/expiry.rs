//! The end of a certificate's validity.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

/// Returns a certificate's `notAfter`, in seconds since 1970; `None` where it cannot be read.
///
/// webpki has no accessor for it, but names it when it refuses a certificate whose time is over, which
/// it looks at before issuer and usage.
pub(super) fn not_after(certificate: &CertificateDer<'_>) -> Option<u64> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let refused = certificate
        .verify_for_usage(
            &[],
            &[],
            &[],
            end_of_time,
            KeyUsage::server_auth(),
            None,
            None,
        )
        .err()?;
    match refused {
        Error::CertExpired { not_after, .. } => Some(not_after.as_secs()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn ending(year: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["gateway.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn a_certificate_ends_when_it_says() {
        // `date -u -d 2031-01-01 +%s`: UTCTime; `date -u -d 2061-01-01 +%s`: GeneralizedTime.
        assert_eq!(not_after(&ending(2031)), Some(1_924_992_000));
        assert_eq!(not_after(&ending(2061)), Some(2_871_763_200));
    }

    #[test]
    fn a_file_without_a_certificate_has_no_expiry() {
        assert_eq!(not_after(&CertificateDer::from(vec![0x30, 0x00])), None);
    }
}
