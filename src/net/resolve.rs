//! Host names without the C library, which a static binary had better not ask.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The longest wait for a name: less than that for a connection, so that the reason is told.
const PATIENCE: Duration = Duration::from_secs(8);

/// A host name that could not be resolved.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot resolve {name}: {reason}")]
pub(super) struct NameError {
    name: String,
    reason: String,
    /// The answer was "no such name": asking again is pointless.
    pub(super) lasting: bool,
}

/// Resolves by `/etc/hosts`, then by the servers and search domains of `/etc/resolv.conf`. Made at the
/// first name, since that needs the runtime.
#[derive(Default)]
pub(super) struct Names(std::sync::Arc<OnceLock<Result<Known, String>>>);

struct Known {
    resolver: TokioResolver,
    /// Why there are no servers to ask.
    without_servers: Option<String>,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let known = self.0.clone();
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let fail = |reason: String, lasting| NameError { name: name.clone(), reason, lasting };
            let known = known.get_or_init(start).as_ref().map_err(|reason| fail(reason.clone(), true))?;
            let looked_up = tokio::time::timeout(PATIENCE, known.resolver.lookup_ip(name.as_str())).await;
            match looked_up.unwrap_or(Err(NetError::Timeout)) {
                Ok(found) => {
                    let addresses: Vec<_> = found.iter().map(|ip| SocketAddr::new(ip, 0)).collect();
                    Ok(Box::new(addresses.into_iter()) as Addrs)
                }
                Err(error) => Err(match &known.without_servers {
                    Some(reason) => fail(format!("it is not in /etc/hosts, and {reason}"), true),
                    None if error.is_no_records_found() => fail("there is no such name".to_owned(), true),
                    None => fail(format!("no name server of /etc/resolv.conf gave an answer ({error})"), false),
                }
                .into()),
            }
        })
    }
}

fn start() -> Result<Known, String> {
    let (mut builder, without_servers) = match TokioResolver::builder_tokio() {
        Ok(builder) => (builder, None),
        Err(error) => {
            let empty = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
            let builder = TokioResolver::builder_with_config(empty, TokioRuntimeProvider::default());
            (builder, Some(format!("/etc/resolv.conf names no server ({error})")))
        }
    };
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    let resolver = builder.build().map_err(|error| error.to_string())?;
    Ok(Known { resolver, without_servers })
}
