//! `direct_url.json`: where a package came from that no index gave (PEP 610).

use serde::Serialize;
use serde_json::{Map, Value, json};
use url::Url;

use crate::digest::Sha256;

/// Where a package came from that no index gave.
///
/// A folder of the user's has no variant: its `file:` address would make the tree depend on where it lay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum DirectUrl {
    /// A revision of a git repository.
    Git {
        /// Repository.
        url: Url,
        /// Branch, tag or commit that was asked for.
        requested: Option<String>,
        /// Full object name of the commit.
        commit: String,
        /// Folder inside the repository.
        subdirectory: Option<String>,
    },
    /// An archive at an address.
    Archive {
        /// Its address.
        url: Url,
        /// Hash of the whole file.
        sha256: Sha256,
        /// Folder inside the archive.
        subdirectory: Option<String>,
    },
}

impl DirectUrl {
    /// The text of `direct_url.json`. Credentials are left out, as the PEP demands.
    pub fn json(&self) -> String {
        let mut fields = Map::new();
        let (url, subdirectory) = match self {
            Self::Git { url, requested, commit, subdirectory } => {
                let mut info = json!({ "vcs": "git", "commit_id": commit });
                if let Some(requested) = requested {
                    info["requested_revision"] = Value::from(requested.as_str());
                }
                fields.insert("vcs_info".to_owned(), info);
                (url, subdirectory)
            }
            Self::Archive { url, sha256, subdirectory } => {
                let hex = sha256.hex();
                let info = json!({ "hash": format!("sha256={hex}"), "hashes": { "sha256": hex } });
                fields.insert("archive_info".to_owned(), info);
                (url, subdirectory)
            }
        };
        fields.insert("url".to_owned(), Value::from(without_credentials(url)));
        if let Some(subdirectory) = subdirectory {
            fields.insert("subdirectory".to_owned(), Value::from(subdirectory.as_str()));
        }
        Value::Object(fields).to_string()
    }
}

/// The user name stays where it is no secret but part of the protocol (`ssh://git@…`).
fn without_credentials(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for addresses that cannot have credentials.
    let _ = url.set_password(None);
    if !url.scheme().ends_with("ssh") {
        let _ = url.set_username("");
    }
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_out() {
        let git = |url: &str| DirectUrl::Git {
            url: url.parse().unwrap(),
            requested: Some("v1".to_owned()),
            commit: "ab".repeat(20),
            subdirectory: None,
        };
        insta::assert_snapshot!(git("https://user:secret@git.invalid/a.git").json(), @r#"{"url":"https://git.invalid/a.git","vcs_info":{"commit_id":"abababababababababababababababababababab","requested_revision":"v1","vcs":"git"}}"#);
        assert!(git("ssh://git:secret@git.invalid/a.git").json().contains("\"ssh://git@git.invalid/a.git\""));
    }

    #[test]
    fn archives_name_their_hash() {
        let archive = DirectUrl::Archive {
            url: "https://files.invalid/a-1.tar.gz".parse().unwrap(),
            sha256: Sha256::of(b"abc"),
            subdirectory: Some("python".to_owned()),
        };
        insta::assert_snapshot!(archive.json(), @r#"{"archive_info":{"hash":"sha256=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","hashes":{"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}},"subdirectory":"python","url":"https://files.invalid/a-1.tar.gz"}"#);
    }
}
