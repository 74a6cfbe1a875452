//! Where a host's Redis is and which keys it contains, from the variables of its role.

use crate::{
    plan::HostPlan,
    question::redis::bound_host,
    source::{Diagnostic, Diagnostics},
    values::RemotePath,
};

use super::Schema;

/// The roles that install a Redis.
const ROLES: [&str; 2] = ["redis", "redis_container"];
/// The role that declares the schema.
const SCHEMA_ROLE: &str = "redis";

/// A host's Redis, as its role declares it.
#[derive(Debug, Clone)]
pub struct RedisServer {
    /// The address to connect to, as seen from its node.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The file on the node that contains its password.
    pub secrets_file: RemotePath,
    /// The password's key in that file.
    pub password_key: String,
    /// Which keys belong in which database.
    pub schema: Schema,
}

impl RedisServer {
    /// Returns the Redis of a host; `None` if none of its roles installs one.
    ///
    /// # Errors
    /// Says what is wrong with its variables.
    pub fn of(host: &HostPlan) -> Result<Option<Self>, Diagnostics> {
        let Some(role) = ROLES.iter().find(|name| host.roles.iter().any(|role| role.name == **name)) else { return Ok(None) };
        let error = |text: String| Diagnostics(vec![Diagnostic::error(format!("`{}`: {text}", host.name))]);
        let port = host.variable(role, "redis_port")?.as_u64().and_then(|port| u16::try_from(port).ok());
        let bind = host.variable(role, "redis_bind")?;
        let secret = host.secrets.iter().find(|spec| spec.secret.name == PASSWORD);
        let secret = secret.ok_or_else(|| error(format!("its role `{role}` declares no secret `{PASSWORD}`")))?;
        let variable = |name: &str| host.variable(SCHEMA_ROLE, name);
        let schema = Schema::new(variable("redis_database_names")?, variable("redis_schema")?, variable("redis_cleanup")?);
        Ok(Some(Self {
            host: bound_host(bind.as_str().unwrap_or_default()),
            port: port.ok_or_else(|| error("`redis_port` is not a valid port".to_owned()))?,
            secrets_file: secret.file.clone(),
            password_key: PASSWORD.to_owned(),
            schema: schema.map_err(error)?,
        }))
    }
}

/// The name of the password in both roles.
const PASSWORD: &str = "REDIS_PASSWORD";
