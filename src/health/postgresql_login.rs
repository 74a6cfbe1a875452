//! Exercise `postgresql_login`: logs in as a client would, runs a query, and checks that a wrong password is refused.

use std::{path::Path, time::Duration};

use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::time::timeout;

use super::Finding;
use super::exercise::{Exercise, ExerciseKind};
use crate::{
    pg::Name,
    resource::{decode, schema::parameters},
    secret::{Sealed, SecretRef, SecretValues, generate},
    transport::{Running, Tunnel},
};

pub(super) const KIND: ExerciseKind = ExerciseKind {
    name: "postgresql_login",
    about: "Logs in to PostgreSQL, and is refused with a wrong password",
    example: r#"exercise:
  postgresql_login: {database: slm, user: slm_app, password: "{{ secrets.DB_PASSWORD }}"}"#,
    decode: |parameters| Ok(Box::new(decode::<PostgresqlLogin>(parameters)?)),
    declared: PostgresqlLogin::declared,
};

const LIMIT: Duration = Duration::from_secs(30);
/// SQLSTATE `invalid_password`.
const INVALID_PASSWORD: &str = "28P01";

parameters! {
    #[derive(Debug)]
    struct PostgresqlLogin {
        /// The server's address, as seen from the node.
        host: String = "127.0.0.1",
        /// The server's port.
        port: u16 = 5432,
        /// The database.
        database | db: Name,
        /// The role that logs in.
        user: Name,
        /// Its password.
        password: Sealed,
    }
}

impl Exercise for PostgresqlLogin {
    fn name(&self) -> String {
        format!("log in to `{}` as `{}` at {}:{}", self.database, self.user, self.host, self.port)
    }

    fn run<'a>(&'a self, tunnel: &'a dyn Tunnel, secrets: &'a SecretValues) -> Running<'a, Finding> {
        Box::pin(async move {
            let password = self.password.reveal(secrets).map_err(|reason| reason.to_string())?;
            let password = std::str::from_utf8(&password).map_err(|_| "the password is not UTF-8 text".to_owned())?;
            let socket = tunnel.open(&self.host, self.port).await?;
            let directory = socket.parent().ok_or("the tunnel has no directory")?;
            let log_in = self.log_in_twice(directory, password);
            let done = timeout(LIMIT, log_in).await.unwrap_or_else(|_| Err(format!("no answer within {} s", LIMIT.as_secs())));
            done.map(Finding::Healthy)
        })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.password.secrets()
    }
}

impl PostgresqlLogin {
    /// Logs in with the right password, and then with a wrong one.
    async fn log_in_twice(&self, directory: &Path, password: &str) -> Result<String, String> {
        let mut connection =
            self.connect(directory, password).await.map_err(|error| format!("the login failed: {}", format_error(&error)))?;
        let one: i32 = sqlx::query_scalar("SELECT 1")
            .fetch_one(&mut connection)
            .await
            .map_err(|error| format!("SELECT 1 failed: {}", format_error(&error)))?;
        connection.close().await.map_err(|error| format_error(&error))?;
        if one != 1 {
            return Err(format!("SELECT 1 returned {one}"));
        }
        let wrong = generate(32).map_err(|error| error.to_string())?;
        match self.connect(directory, wrong.expose()).await {
            Ok(_) => Err("any password is accepted: pg_hba.conf has `trust` for this login".to_owned()),
            Err(error) if code(&error).as_deref() == Some(INVALID_PASSWORD) => {
                Ok("logged in, SELECT 1 works; a wrong password is refused".to_owned())
            }
            Err(error) => Err(format!("a wrong password was refused for another reason: {}", format_error(&error))),
        }
    }

    /// Connects without TLS, because the tunnel is already encrypted. `PGPASSFILE` and similar settings must not supply another password.
    async fn connect(&self, directory: &Path, password: &str) -> Result<PgConnection, sqlx::Error> {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(directory)
            .port(self.port)
            .username(self.user.as_str())
            .password(password)
            .database(self.database.as_str())
            .application_name("autobot-provision")
            .ssl_mode(PgSslMode::Disable)
            .disable_statement_logging();
        PgConnection::connect_with(&options).await
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).map(std::borrow::Cow::into_owned)
}

/// Formats an error with the server's message and its code. The server never repeats a password.
fn format_error(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(refusal) => format!("{} ({})", refusal.message(), code(error).unwrap_or_default()),
        None => error.to_string(),
    }
}
