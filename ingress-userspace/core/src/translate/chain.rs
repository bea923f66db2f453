//! The order of a certificate chain: leaf first, each certificate followed by its issuer.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;

/// What the order of a chain depends on.
pub(super) struct Link<'c> {
    subject: &'c [u8],
    issuer: &'c [u8],
    public_key: &'c [u8],
    key_id: Option<&'c [u8]>,
    issuer_key_id: Option<&'c [u8]>,
}

impl<'c> Link<'c> {
    pub(super) fn new(certificate: &'c X509Certificate<'c>) -> Self {
        let (mut key_id, mut issuer_key_id) = (None, None);
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => key_id = Some(id.0),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    issuer_key_id = id.key_identifier.as_ref().map(|id| id.0);
                }
                _ => {}
            }
        }
        Self {
            subject: certificate.subject().as_raw(),
            issuer: certificate.issuer().as_raw(),
            public_key: certificate.public_key().raw,
            key_id,
            issuer_key_id,
        }
    }

    /// Whether `self` can be what `issuer` signed: by name and, where both say, by key identifier (RFC 5280, section 6.1
    /// and 4.2.1.1). The signature is the client's to verify.
    fn is_issued_by(&self, issuer: &Link<'_>) -> bool {
        let keys_agree = match (self.issuer_key_id, issuer.key_id) {
            (Some(wanted), Some(found)) => wanted == found,
            _ => true,
        };
        self.issuer == issuer.subject && keys_agree
    }
}

/// Why there is no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disorder {
    /// No certificate has the key's public half.
    NoLeaf,
    /// Several certificates have it.
    SeveralLeaves,
    /// A certificate is not part of the leaf's chain, by its place in the file.
    Stray(usize),
    /// More than one order is possible.
    Ambiguous,
}

/// The order in which to send the certificates of a file, as places in it. An order that is right as it stands is kept;
/// another one is only taken if it is the only one and leaves no certificate out.
pub(super) fn order(links: &[Link<'_>], public_key: &[u8]) -> Result<Vec<usize>, Disorder> {
    let leaves: Vec<usize> = (0..links.len()).filter(|&at| links[at].public_key == public_key).collect();
    let leaf = match leaves[..] {
        [] => return Err(Disorder::NoLeaf),
        [leaf] => leaf,
        _ => return Err(Disorder::SeveralLeaves),
    };
    if leaf == 0 && links.windows(2).all(|pair| pair[0].is_issued_by(&pair[1])) {
        return Ok((0..links.len()).collect());
    }
    let mut order = vec![leaf];
    let mut rest: Vec<usize> = (0..links.len()).filter(|&at| at != leaf).collect();
    let mut current = leaf;
    while !rest.is_empty() {
        let issuers: Vec<usize> =
            rest.iter().copied().filter(|&at| links[current].is_issued_by(&links[at])).collect();
        current = match issuers[..] {
            [] => return Err(Disorder::Stray(rest[0])),
            [issuer] => issuer,
            _ => return Err(Disorder::Ambiguous),
        };
        order.push(current);
        rest.retain(|&at| at != current);
    }
    Ok(order)
}
