//! Where a host's Redis is, and what is kept in it: from the variables of its role.

use crate::{
    plan::HostPlan,
    resource::RemotePath,
    source::{Diagnostic, Diagnostics},
};

use super::Schema;

/// The roles that bring a Redis.
const ROLES: [&str; 2] = ["redis", "redis_container"];
/// The role that declares what is kept where.
const SCHEMA_ROLE: &str = "redis";

/// A Redis as its role declares it.
#[derive(Debug, Clone)]
pub struct Place {
    /// The address at which it is asked, as seen from its node.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The file on the node that holds its password.
    pub secrets_file: RemotePath,
    /// The password's key in that file.
    pub password_key: String,
    /// What is kept where.
    pub schema: Schema,
}

impl Place {
    /// The Redis of a host; none when no role of it brings one.
    ///
    /// # Errors
    /// What is wrong with its variables.
    pub fn of(host: &HostPlan) -> Result<Option<Self>, Diagnostics> {
        let Some(role) = ROLES.iter().find(|name| host.roles.iter().any(|role| role.name == **name)) else { return Ok(None) };
        let wrong = |text: String| Diagnostics(vec![Diagnostic::error(format!("`{}`: {text}", host.name))]);
        let port = host.variable(role, "redis_port")?.as_u64().and_then(|port| u16::try_from(port).ok());
        let bind = host.variable(role, "redis_bind")?;
        let secret = host.secrets.iter().find(|spec| spec.secret.name == PASSWORD);
        let secret = secret.ok_or_else(|| wrong(format!("its role `{role}` declares no secret `{PASSWORD}`")))?;
        let variable = |name: &str| host.variable(SCHEMA_ROLE, name);
        let schema = Schema::new(variable("redis_database_names")?, variable("redis_schema")?, variable("redis_cleanup")?);
        Ok(Some(Self {
            host: address(bind.as_str().unwrap_or_default()),
            port: port.ok_or_else(|| wrong("`redis_port` is no port".to_owned()))?,
            secrets_file: secret.file.clone(),
            password_key: PASSWORD.to_owned(),
            schema: schema.map_err(wrong)?,
        }))
    }
}

/// The name of the password in both roles.
const PASSWORD: &str = "REDIS_PASSWORD";

/// At which of the addresses that it is bound to a Redis is asked: loopback where it listens there.
fn address(bind: &str) -> String {
    let mut addresses = bind.split_whitespace().map(|address| address.strip_prefix('-').unwrap_or(address));
    let loopback = "127.0.0.1";
    let all: Vec<&str> = addresses.by_ref().collect();
    if all.is_empty() || all.iter().any(|address| ["*", "0.0.0.0", loopback, "localhost"].contains(address)) {
        return loopback.to_owned();
    }
    if all[0] == "::" { "::1".to_owned() } else { all[0].to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_is_asked_where_it_listens() {
        for (bind, wanted) in [
            ("* -::*", "127.0.0.1"),
            ("", "127.0.0.1"),
            ("172.16.168.23 127.0.0.1", "127.0.0.1"),
            ("172.16.168.23", "172.16.168.23"),
            ("-::1", "::1"),
            ("::", "::1"),
        ] {
            assert_eq!(address(bind), wanted, "{bind}");
        }
    }
}
