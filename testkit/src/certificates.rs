//! Certificates for tests.

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tonic::transport::{Identity, ServerTlsConfig};

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self(issuer))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn issue(&self, name: &str) -> Result<Issued> {
        let key = KeyPair::generate()?;
        let certificate = params(name)?.signed_by(&key, &self.0)?;
        Ok(Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// A certificate and its key, both in PEM.
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Issued {
    /// Settings of a server that presents this certificate.
    pub fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new().identity(Identity::from_pem(&self.certificate, &self.key))
    }
}

/// What a self-signed certificate claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelfSigned {
    Server,
    /// As `openssl req -x509` makes it.
    Authority,
    ExpiredAuthority,
}

impl SelfSigned {
    pub fn issue(self, name: &str) -> Result<Issued> {
        let key = KeyPair::generate()?;
        let mut params = params(name)?;
        if self != Self::Server {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        if self == Self::ExpiredAuthority {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        Ok(Issued {
            certificate: params.self_signed(&key)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn params(name: &str) -> Result<CertificateParams> {
    Ok(CertificateParams::new(vec![name.to_owned()])?)
}
