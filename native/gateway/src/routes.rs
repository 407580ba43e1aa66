//! From host and path to capsule. Owns the table; never changes it (a new one takes its place).

use crate::capsule::Capsule;
use std::collections::HashMap;
use std::sync::Arc;

/// Routes by exact host, the longest prefix first.
#[derive(Default)]
pub struct Routes(HashMap<String, Vec<Route>>);

struct Route {
    /// Without a slash at the end: the empty one matches everything.
    prefix: String,
    capsule: Arc<Capsule>,
}

impl Routes {
    /// From `(host, path_prefix, capsule)`. Of two routes with the same host and prefix the first wins.
    pub fn new(entries: impl IntoIterator<Item = (String, String, Arc<Capsule>)>) -> Self {
        let mut hosts: HashMap<String, Vec<Route>> = HashMap::new();
        for (host, prefix, capsule) in entries {
            let prefix = prefix.trim_end_matches('/').to_string();
            hosts
                .entry(host.to_ascii_lowercase())
                .or_default()
                .push(Route { prefix, capsule });
        }
        for routes in hosts.values_mut() {
            routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
        }
        Routes(hosts)
    }

    /// The capsule for a host (lower case, no port) and a path (without its query).
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Capsule>> {
        let routes = self.0.get(host)?;
        routes
            .iter()
            .find(|route| covers(&route.prefix, path))
            .map(|route| &route.capsule)
    }

    /// Every capsule that has a route.
    pub fn capsules(&self) -> impl Iterator<Item = &Arc<Capsule>> {
        self.0.values().flatten().map(|route| &route.capsule)
    }
}

/// A prefix covers whole segments: `/api` covers `/api` and `/api/x`, not `/apix`.
fn covers(prefix: &str, path: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(entries: &[(&str, &str, &str)]) -> Routes {
        Routes::new(entries.iter().map(|(host, prefix, capsule)| {
            (
                host.to_string(),
                prefix.to_string(),
                Arc::new(Capsule::new(capsule)),
            )
        }))
    }

    #[test]
    fn the_longest_prefix_of_whole_segments_wins() {
        let table = routes(&[
            ("a.test", "/", "root"),
            ("a.test", "/api", "api"),
            ("a.test", "/api/v2/", "second"),
            ("a.test", "/api/v2", "too late"),
        ]);
        let find = |path| {
            table
                .find("a.test", path)
                .map(|capsule| capsule.name().to_string())
        };
        assert_eq!(find("/").as_deref(), Some("root"));
        assert_eq!(find("/apix").as_deref(), Some("root"));
        assert_eq!(find("/api").as_deref(), Some("api"));
        assert_eq!(find("/api/").as_deref(), Some("api"));
        assert_eq!(find("/api/v20").as_deref(), Some("api"));
        assert_eq!(find("/api/v2").as_deref(), Some("second"));
        assert_eq!(find("/api/v2/x/y").as_deref(), Some("second"));
    }

    #[test]
    fn hosts_are_exact_and_may_have_no_root() {
        let table = routes(&[("A.test", "/only", "only"), ("b.test", "", "all")]);
        assert!(table.find("a.test", "/").is_none());
        assert!(table.find("a.test", "/only").is_some());
        assert!(table.find("sub.a.test", "/only").is_none());
        assert!(table.find("b.test", "/anything").is_some());
        assert!(table.find("c.test", "/").is_none());
        assert_eq!(table.capsules().count(), 2);
    }
}
