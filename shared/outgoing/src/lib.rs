//! How connections leave a process, whoever opens them: the certificates that are trusted, and the proxy in between. The client of
//! the API, that of Azure and that of AWS go by these rules.

mod connector;
mod proxies;
mod roots;

pub use connector::{Connector, connector};
pub use proxies::{NotAProxy, Proxies, Proxy};
pub use roots::{BadRoots, Roots};
