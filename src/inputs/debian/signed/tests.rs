use std::time::Duration;

use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::packet::{SignatureConfig, Subpacket, SubpacketData};
use pgp::types::{Password, Timestamp};
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;

const TEXT: &str = "Suite: testing\n- a dash\n\ntrailing  \nlast\n";
/// What is signed of it: trailing white space does not count (RFC 9580, section 7.1).
const SIGNED: &str = "Suite: testing\n- a dash\n\ntrailing\nlast\n";

/// 2026-01-01, and the moments around it.
pub(in super::super) fn day(days: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs((20_454 + days) * 86_400)
}

fn stamp(days: u64) -> Timestamp {
    Timestamp::try_from(day(days)).unwrap()
}

/// A certificate made on day 0 with a signing subkey, like those of the archive.
pub(in super::super) fn key(seed: u64) -> SignedSecretKey {
    key_of(seed, KeyType::Ed25519Legacy)
}

fn key_of(seed: u64, primary: KeyType) -> SignedSecretKey {
    let mut rng = StdRng::seed_from_u64(seed);
    let subkey = SubkeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_sign(true)
        .created_at(stamp(0))
        .build()
        .unwrap();
    SecretKeyParamsBuilder::default()
        .key_type(primary)
        .can_certify(true)
        .can_sign(true)
        .created_at(stamp(0))
        .primary_user_id("throwaway".into())
        .subkeys(vec![subkey])
        .build()
        .unwrap()
        .generate(&mut rng)
        .unwrap()
}

pub(in super::super) fn ring(keys: &[&SignedSecretKey]) -> Keyring {
    Keyring { certificates: keys.iter().map(|key| SignedPublicKey::from((*key).clone())).collect() }
}

pub(in super::super) struct Signer<'k> {
    key: &'k SignedSecretKey,
    subkey: bool,
    hash: HashAlgorithm,
    typ: SignatureType,
    lifetime: u32,
}

impl<'k> Signer<'k> {
    pub(in super::super) fn new(key: &'k SignedSecretKey) -> Self {
        Self { key, subkey: false, hash: HashAlgorithm::Sha256, typ: SignatureType::Text, lifetime: 0 }
    }

    fn sign(&self, text: &str) -> Signature {
        fn with<K: pgp::types::SigningKey>(signer: &Signer<'_>, key: &K, text: &str) -> Signature {
            let mut config = SignatureConfig::v4(signer.typ, key.algorithm(), signer.hash);
            config.hashed_subpackets = vec![
                Subpacket::regular(SubpacketData::SignatureCreationTime(stamp(10))).unwrap(),
                Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).unwrap(),
            ];
            if signer.lifetime != 0 {
                let lifetime = pgp::types::Duration::from_secs(signer.lifetime);
                config
                    .hashed_subpackets
                    .push(Subpacket::regular(SubpacketData::SignatureExpirationTime(lifetime)).unwrap());
            }
            config.sign(key, &Password::empty(), text.as_bytes()).unwrap()
        }
        if self.subkey {
            with(self, &self.key.secret_subkeys[0].key, text)
        } else {
            with(self, &self.key.primary_key, text)
        }
    }
}

/// `text` as a cleartext message with one signature by each signer.
pub(in super::super) fn message(text: &str, signers: &[Signer<'_>]) -> String {
    // The marker line's own line break is not part of the text.
    let body = text.strip_suffix('\n').unwrap();
    let trimmed: Vec<_> = body.split('\n').map(|line| line.trim_end_matches([' ', '\t'])).collect();
    let signed = trimmed.join("\r\n");
    let signatures = signers.iter().map(|signer| signer.sign(&signed)).collect();
    CleartextSignedMessage::new_many(body, |_| Ok(signatures))
        .unwrap()
        .to_armored_string(ArmorOptions::default())
        .unwrap()
}

fn refusal(ring: &Keyring, message: &str) -> String {
    ring.verify(message, day(20)).unwrap_err().to_string()
}

#[test]
fn only_the_signed_text_comes_out() {
    let key = key(1);
    for subkey in [false, true] {
        let message = message(TEXT, &[Signer { subkey, ..Signer::new(&key) }]);
        assert!(message.contains("\n- - a dash\n"));
        assert_eq!(ring(&[&key]).verify(&message, day(20)).unwrap(), SIGNED);
        let windows = message.replace('\n', "\r\n");
        assert_eq!(ring(&[&key]).verify(&windows, day(20)).unwrap(), SIGNED);
    }
}

#[test]
fn one_trusted_signature_suffices() {
    let (known, stranger) = (key(1), key(2));
    let both = message(TEXT, &[Signer::new(&stranger), Signer::new(&known)]);
    assert_eq!(ring(&[&known]).verify(&both, day(20)).unwrap(), SIGNED);
    assert_eq!(ring(&[&stranger, &known]).verify(&both, day(20)).unwrap(), SIGNED);
    let other = key(3);
    assert!(refusal(&ring(&[&other]), &both).starts_with("no signature by a trusted key; signed by "));
}

#[test]
fn a_wrong_signature_is_refused_even_beside_a_good_one() {
    let (first, second) = (key(1), key(2));
    let ring = ring(&[&first, &second]);
    let tampered = message(TEXT, &[Signer::new(&first)]).replace("testing", "stable");
    assert!(refusal(&ring, &tampered).starts_with("wrong signature by key "));
    let body = TEXT.strip_suffix('\n').unwrap().replace("trailing  ", "trailing").replace('\n', "\r\n");
    let signatures = vec![Signer::new(&first).sign(&body), Signer::new(&second).sign("something else")];
    let mixed = CleartextSignedMessage::new_many(TEXT.strip_suffix('\n').unwrap(), |_| Ok(signatures))
        .unwrap()
        .to_armored_string(ArmorOptions::default())
        .unwrap();
    assert!(refusal(&ring, &mixed).starts_with("wrong signature by key "));
}

#[test]
fn weak_expired_and_other_kinds_do_not_count() {
    // Ed25519 cannot be made to sign weak digests.
    let key = key_of(1, KeyType::Rsa(2048));
    let ring = ring(&[&key]);
    for (signer, reason) in [
        (Signer { hash: HashAlgorithm::Sha1, ..Signer::new(&key) }, "weak hash algorithm"),
        (Signer { hash: HashAlgorithm::Md5, ..Signer::new(&key) }, "weak hash algorithm"),
        (Signer { typ: SignatureType::Binary, ..Signer::new(&key) }, "not a signature over text"),
        (Signer { lifetime: 3600, ..Signer::new(&key) }, "signature expired"),
    ] {
        let message = message(TEXT, &[signer]);
        let refusal = refusal(&ring, &message);
        assert!(refusal.contains(reason), "{refusal}");
    }
}

#[test]
fn keys_that_ended_do_not_count() {
    let key = key(1);
    let message = message(TEXT, &[Signer::new(&key)]);
    // On day 10, when it signs, a key of 5 days' life has ended; one of 15 days' has on day 20.
    for (days, fits_then, fits_later) in [(0, true, true), (5, false, false), (15, true, false), (30, true, true)] {
        let mut config = SignatureConfig::v4(SignatureType::Text, key.algorithm(), HashAlgorithm::Sha256);
        let lifetime = pgp::types::Duration::from_secs(days * 86_400);
        config.hashed_subpackets = vec![Subpacket::regular(SubpacketData::KeyExpirationTime(lifetime)).unwrap()];
        let word = config.sign(&key.primary_key, &Password::empty(), &b""[..]).unwrap();
        let made = Signer::new(&key).sign("x");
        assert_eq!(alive(&key.primary_key, &word, &made, day(11)).is_ok(), fits_then, "{days}");
        assert_eq!(alive(&key.primary_key, &word, &made, day(20)).is_ok(), fits_later, "{days}");
    }
    let mut revoked = ring(&[&key]);
    let mut config = SignatureConfig::v4(SignatureType::KeyRevocation, key.algorithm(), HashAlgorithm::Sha256);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(stamp(15))).unwrap(),
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.primary_key.fingerprint())).unwrap(),
    ];
    let public = revoked.certificates[0].primary_key.clone();
    let revocation = config.sign_key(&key.primary_key, &Password::empty(), &public).unwrap();
    assert!(revoked.verify(&message, day(20)).is_ok());
    revoked.certificates[0].details.revocation_signatures.push(revocation);
    assert!(refusal(&revoked, &message).contains("key revoked"));
}

#[test]
fn nothing_but_the_signed_block() {
    let key = key(1);
    let ring = ring(&[&key]);
    let good = message(TEXT, &[Signer::new(&key)]);
    assert!(ring.verify(&format!("{good}\n\n"), day(20)).is_ok());
    for bad in [
        format!("Suite: evil\n{good}"),
        format!("\n{good}"),
        format!("{good}Suite: evil\n"),
        format!("{good}{good}"),
        good.replace("Hash: SHA256", "Comment: x"),
        good.replace("Hash: SHA256\n\n", "Hash: SHA256\nSuite: evil\n\n"),
        good.replace("- - a dash", "- a dash"),
        good.replace("- - a dash", "-- a dash"),
        good.replace("last", "last\nmore"),
        good.replace("-----END PGP SIGNATURE-----", ""),
        good.replace("-----BEGIN PGP SIGNATURE-----", "-----BEGIN PGP MESSAGE-----"),
        good.split("-----BEGIN PGP SIGNATURE").next().unwrap().to_owned(),
        TEXT.to_owned(),
        String::new(),
    ] {
        assert!(ring.verify(&bad, day(20)).is_err(), "{bad}");
    }
}

#[test]
fn the_compiled_in_keyring_is_the_archives() {
    let ring = Keyring::parse(super::super::KEYRING).unwrap();
    let users: Vec<_> =
        ring.certificates.iter().map(|c| String::from_utf8_lossy(c.details.users[0].id.id()).into_owned()).collect();
    assert!(users.iter().any(|user| user.starts_with("Debian Archive Automatic Signing Key (13/trixie)")), "{users:?}");
    assert!(Keyring::parse(b"").is_err());
    assert!(Keyring::parse(b"nonsense").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_changed_byte_is_refused_or_means_the_same(at in 0usize..600, byte in 32u8..127) {
        let key = key(1);
        let mut bytes = message(TEXT, &[Signer::new(&key)]).into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(text) = ring(&[&key]).verify(std::str::from_utf8(&bytes).unwrap(), day(20)) {
            prop_assert_eq!(text, SIGNED);
        }
    }
}
