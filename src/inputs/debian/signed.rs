//! The `OpenPGP` cleartext signature of an `InRelease` file (RFC 9580, sections 7 and 12), strictly: exactly
//! one signed block, nothing before or behind it, and only the text that was signed comes out.

use std::io::Cursor;
use std::time::SystemTime;

use pgp::armor::{BlockType, Dearmor};
use pgp::composed::{Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Packet, PacketParser, Signature, SignatureType};
use pgp::types::{KeyDetails, VerifyingKey};

const BEGIN_MESSAGE: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END_SIGNATURE: &str = "-----END PGP SIGNATURE-----";
/// Debian signs with two or three keys; each costs a public-key operation.
const MAX_SIGNATURES: usize = 16;

/// Certificates whose signatures count.
pub struct Keyring {
    certificates: Vec<SignedPublicKey>,
}

/// Why a text is not to be believed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SignatureError {
    #[error("the keyring cannot be read: {0}")]
    Keyring(String),
    #[error("not a cleartext-signed message: {0}")]
    Framing(&'static str),
    #[error("the signature block cannot be read: {0}")]
    Packets(String),
    #[error("wrong signature by key {key}: {reason}")]
    Wrong { key: String, reason: String },
    #[error("no signature by a trusted key; signed by {}", signers.join(", "))]
    Untrusted { signers: Vec<String> },
}

impl Keyring {
    /// Reads certificates, binary or armored.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        let wrong = |error: pgp::errors::Error| SignatureError::Keyring(error.to_string());
        let certificates: Vec<_> = if bytes.starts_with(b"-----") {
            let (found, _) = SignedPublicKey::from_armor_many(Cursor::new(bytes)).map_err(wrong)?;
            found.collect::<Result<_, _>>().map_err(wrong)?
        } else {
            let found = SignedPublicKey::from_bytes_many(Cursor::new(bytes)).map_err(wrong)?;
            found.collect::<Result<_, _>>().map_err(wrong)?
        };
        if certificates.is_empty() {
            return Err(SignatureError::Keyring("it holds no certificate".to_owned()));
        }
        Ok(Self { certificates })
    }

    /// The text inside `message`, if a key of this ring signed it and no key of this ring signed it wrongly.
    /// Signatures by other keys are ignored. Lines end in `\n`. `now` decides about expiry.
    pub fn verify(&self, message: &str, now: SystemTime) -> Result<String, SignatureError> {
        let Block { text, armor } = Block::parse(message)?;
        let signatures = signatures(armor)?;
        // Text signatures are made over CRLF lines without the last line's end (RFC 9580, section 7.1).
        let signed = text.join("\r\n");
        let mut signers = Vec::new();
        let mut good = false;
        for signature in &signatures {
            let name = issuer(signature);
            match self.judge(signature, signed.as_bytes(), now) {
                Verdict::Good => good = true,
                Verdict::Unknown => signers.push(format!("{name} (unknown)")),
                Verdict::Unfit(reason) => signers.push(format!("{name} ({reason})")),
                Verdict::Wrong(reason) => return Err(SignatureError::Wrong { key: name, reason }),
            }
        }
        if !good {
            return Err(SignatureError::Untrusted { signers });
        }
        let mut lines = text.join("\n");
        lines.push('\n');
        Ok(lines)
    }

    fn judge(&self, signature: &Signature, signed: &[u8], now: SystemTime) -> Verdict {
        for certificate in &self.certificates {
            if is_by(signature, &certificate.primary_key) {
                let fit = || signature_fits(signature, now).and_then(|()| primary_fits(certificate, signature, now));
                return verdict(signature, &certificate.primary_key, signed, fit);
            }
            if let Some(subkey) = certificate.public_subkeys.iter().find(|subkey| is_by(signature, &subkey.key)) {
                let fit = || {
                    signature_fits(signature, now)
                        .and_then(|()| primary_fits(certificate, signature, now))
                        .and_then(|()| subkey_fits(certificate, subkey, signature, now))
                };
                return verdict(signature, &subkey.key, signed, fit);
            }
        }
        Verdict::Unknown
    }
}

enum Verdict {
    Good,
    /// By no key of the ring.
    Unknown,
    /// Made well, or not even looked at, by a key or in a way that does not count.
    Unfit(&'static str),
    Wrong(String),
}

fn verdict(
    signature: &Signature,
    key: &impl VerifyingKey,
    signed: &[u8],
    fit: impl FnOnce() -> Result<(), &'static str>,
) -> Verdict {
    // Weak digests are not worth computing: whatever they say, it proves nothing.
    if !strong(signature.hash_alg()) {
        return Verdict::Unfit("weak hash algorithm");
    }
    if signature.typ() != Some(SignatureType::Text) {
        return Verdict::Unfit("not a signature over text");
    }
    match signature.verify(key, signed) {
        Err(error) => Verdict::Wrong(error.to_string()),
        Ok(()) => fit().map_or_else(Verdict::Unfit, |()| Verdict::Good),
    }
}

fn strong(hash: Option<HashAlgorithm>) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    matches!(hash, Some(Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512))
}

fn is_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    let (fingerprints, ids) = (signature.issuer_fingerprint(), signature.issuer_key_id());
    if fingerprints.is_empty() {
        return ids.iter().any(|id| **id == key.legacy_key_id());
    }
    fingerprints.iter().any(|fingerprint| **fingerprint == key.fingerprint())
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|found| format!("{found:X}"));
    let id = || signature.issuer_key_id().first().map(|found| found.to_string().to_uppercase());
    fingerprint.or_else(id).unwrap_or_else(|| "that it does not name".to_owned())
}

fn signature_fits(signature: &Signature, now: SystemTime) -> Result<(), &'static str> {
    let created = created(signature).ok_or("it does not say when it was made")?;
    let lifetime = signature.signature_expiration_time().map_or(0, pgp::types::Duration::as_secs);
    if lifetime != 0 && created + std::time::Duration::from_secs(lifetime.into()) < now {
        return Err("signature expired");
    }
    Ok(())
}

fn created(signature: &Signature) -> Option<SystemTime> {
    signature.created().map(SystemTime::from)
}

/// The certificate's own latest word on itself: not revoked, not expired now or when `made` was made.
fn primary_fits(certificate: &SignedPublicKey, made: &Signature, now: SystemTime) -> Result<(), &'static str> {
    let key = &certificate.primary_key;
    if certificate.details.revocation_signatures.iter().any(|revocation| revocation.verify_key(key).is_ok()) {
        return Err("key revoked");
    }
    let users = certificate.details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(move |signature| {
            is_by(signature, key)
                && strong(signature.hash_alg())
                && signature.verify_certification(key, pgp::types::Tag::UserId, &user.id).is_ok()
        })
    });
    let direct =
        certificate.details.direct_signatures.iter().filter(|signature| {
            is_by(signature, key) && strong(signature.hash_alg()) && signature.verify_key(key).is_ok()
        });
    let latest = users.chain(direct).max_by_key(|signature| created(signature)).ok_or("key without self-signature")?;
    alive(key, latest, made, now)
}

/// The subkey is bound to its certificate both ways, may sign, is not revoked and not expired.
fn subkey_fits(
    certificate: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    made: &Signature,
    now: SystemTime,
) -> Result<(), &'static str> {
    let primary = &certificate.primary_key;
    let is = |signature: &Signature, wanted| {
        signature.typ() == Some(wanted) && signature.verify_subkey_binding(primary, &subkey.key).is_ok()
    };
    if subkey.signatures.iter().any(|signature| is(signature, SignatureType::SubkeyRevocation)) {
        return Err("subkey revoked");
    }
    let binding = subkey
        .signatures
        .iter()
        .filter(|signature| strong(signature.hash_alg()) && is(signature, SignatureType::SubkeyBinding))
        .max_by_key(|signature| created(signature))
        .ok_or("subkey not bound to its certificate")?;
    let back = binding.embedded_signature().ok_or("subkey without a signature of its own")?;
    if !binding.key_flags().sign() || back.verify_primary_key_binding(&subkey.key, primary).is_err() {
        return Err("subkey that may not sign");
    }
    alive(&subkey.key, binding, made, now)
}

fn alive(key: &impl KeyDetails, word: &Signature, made: &Signature, now: SystemTime) -> Result<(), &'static str> {
    let born = SystemTime::from(key.created_at());
    let lifetime = word.key_expiration_time().map_or(0, pgp::types::Duration::as_secs);
    let end = (lifetime != 0).then(|| born + std::time::Duration::from_secs(lifetime.into()));
    match created(made) {
        Some(when) if when < born => Err("made before its key"),
        Some(when) if end.is_some_and(|end| end < when || end < now) => Err("key expired"),
        Some(_) => Ok(()),
        None => Err("it does not say when it was made"),
    }
}

/// A message taken apart.
struct Block<'m> {
    /// Lines of the signed text: dash-escapes undone, trailing white space gone.
    text: Vec<&'m str>,
    /// The signature block with its two marker lines.
    armor: &'m str,
}

impl<'m> Block<'m> {
    fn parse(message: &'m str) -> Result<Self, SignatureError> {
        let wrong = SignatureError::Framing;
        let mut offset = 0;
        let mut lines = message.split_inclusive('\n').map(|line| {
            let start = offset;
            offset += line.len();
            (start, line.trim_end_matches(['\n', '\r']).trim_end_matches([' ', '\t']))
        });
        if lines.next().is_none_or(|(_, line)| line != BEGIN_MESSAGE) {
            return Err(wrong("it does not start with a signed message"));
        }
        loop {
            match lines.next() {
                Some((_, "")) => break,
                Some((_, line)) if line.starts_with("Hash: ") => {}
                Some(_) => return Err(wrong("a header other than Hash")),
                None => return Err(wrong("it ends in its headers")),
            }
        }
        let mut text = Vec::new();
        let start = loop {
            match lines.next() {
                Some((start, BEGIN_SIGNATURE)) => break start,
                Some((_, line)) if line.starts_with("- ") => text.push(&line[2..]),
                // What was `- ` or `-` before the trailing white space went.
                Some((_, line)) if line.starts_with('-') => return Err(wrong("a dash that is not escaped")),
                Some((_, line)) => text.push(line),
                None => return Err(wrong("it has no signature")),
            }
        };
        if !lines.any(|(_, line)| line == END_SIGNATURE) {
            return Err(wrong("its signature has no end"));
        }
        if lines.any(|(_, line)| !line.is_empty()) {
            return Err(wrong("text behind the signature"));
        }
        Ok(Self { text, armor: &message[start..] })
    }
}

fn signatures(armor: &str) -> Result<Vec<Signature>, SignatureError> {
    let wrong = |error: pgp::errors::Error| SignatureError::Packets(error.to_string());
    let mut dearmor = Dearmor::new(Cursor::new(armor.as_bytes()));
    dearmor.read_header().map_err(wrong)?;
    if dearmor.typ != Some(BlockType::Signature) {
        return Err(SignatureError::Packets("it is no signature block".to_owned()));
    }
    let mut signatures = Vec::new();
    for packet in PacketParser::new(std::io::BufReader::new(dearmor)) {
        match packet.map_err(wrong)? {
            Packet::Signature(signature) if signatures.len() < MAX_SIGNATURES => signatures.push(signature),
            Packet::Signature(_) => return Err(SignatureError::Packets("too many signatures".to_owned())),
            _ => return Err(SignatureError::Packets("a packet that is no signature".to_owned())),
        }
    }
    Ok(signatures)
}

#[cfg(test)]
pub(super) mod tests;
