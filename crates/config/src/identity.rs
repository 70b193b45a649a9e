//! Identities of workloads: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`.

use std::fmt;

use crate::Str;

/// The SPIFFE identity of a workload in Istio's layout.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Trust domain, such as `cluster.local`.
    pub trust_domain: Str,
    /// Namespace.
    pub namespace: Str,
    /// Service account.
    pub service_account: Str,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trust_domain, namespace, service_account } = self;
        write!(f, "spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}")
    }
}

/// A text that is not such an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT")]
pub struct IdentityError(String);

impl std::str::FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let parts: Option<Vec<&str>> = text.strip_prefix("spiffe://").map(|rest| rest.split('/').collect());
        match parts.as_deref() {
            Some([domain, "ns", namespace, "sa", account])
                if ![domain, namespace, account].iter().any(|part| part.is_empty()) =>
            {
                Ok(Identity {
                    trust_domain: (*domain).into(),
                    namespace: (*namespace).into(),
                    service_account: (*account).into(),
                })
            }
            _ => Err(IdentityError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_reads() {
        let text = "spiffe://cluster.local/ns/default/sa/bookinfo-reviews";
        assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
        for bad in
            ["", "spiffe://a/ns/b", "https://a/ns/b/sa/c", "spiffe://a/ns//sa/c", "spiffe://a/ns/b/sa/c/d"]
        {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
    }
}
