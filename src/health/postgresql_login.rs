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
    secret::{Sealed, SecretId, SecretValues, generate},
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

    fn secrets(&self) -> Vec<SecretId> {
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
        let read_only: String = sqlx::query_scalar("SHOW transaction_read_only")
            .fetch_one(&mut connection)
            .await
            .map_err(|error| format!("SHOW failed: {}", format_error(&error)))?;
        connection.close().await.map_err(|error| format_error(&error))?;
        if read_only == "on" {
            return Err("logged in, and every write is refused (`default_transaction_read_only`)".to_owned());
        }
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

    /// Connects without TLS, because the tunnel is already encrypted.
    async fn connect(&self, directory: &Path, password: &str) -> Result<PgConnection, sqlx::Error> {
        PgConnection::connect_with(&self.options(directory, password)?).await
    }

    /// Sets all that sqlx would take from `PG*` variables. It never reads `.pgpass` here, and without TLS no certificate.
    ///
    /// # Errors
    /// `PGOPTIONS` is set: sqlx takes it, and has no way to leave it out.
    fn options(&self, directory: &Path, password: &str) -> Result<PgConnectOptions, sqlx::Error> {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(directory)
            .port(self.port)
            .username(self.user.as_str())
            .password(password)
            .database(self.database.as_str())
            .application_name("autobot-provision")
            .ssl_mode(PgSslMode::Disable)
            .disable_statement_logging();
        match options.get_options() {
            None => Ok(options),
            Some(_) => Err(sqlx::Error::Configuration(
                "the variable `PGOPTIONS` is set here and would change the session; run without it, as with `env -u PGOPTIONS`"
                    .into(),
            )),
        }
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

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixListener,
        process::Command,
    };

    use serde_json::json;

    use super::*;

    /// Names the directory in which the test, started again, finds its server.
    const DIRECTORY: &str = "AUTOBOT_TEST_DIRECTORY";

    /// Returns what a server gets from a client that runs with these variables: the startup message and the password, or the client's error.
    fn sent(variables: &[(&str, &str)]) -> (Vec<u8>, String) {
        let directory = tempfile::tempdir().unwrap();
        let server = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).unwrap();
        let server = std::thread::spawn(move || {
            let mut client = server.accept().unwrap().0;
            let mut got = vec![0; 4];
            // A connection without a message comes from the end of this test, where the client did not connect.
            if client.read_exact(&mut got).is_err() {
                return Vec::new();
            }
            let length = usize::try_from(u32::from_be_bytes([got[0], got[1], got[2], got[3]])).unwrap();
            let mut message = vec![0; length - 4];
            client.read_exact(&mut message).unwrap();
            // AuthenticationCleartextPassword.
            client.write_all(b"R\0\0\0\x08\0\0\0\x03").unwrap();
            let mut password = [0; 64];
            let count = client.read(&mut password).unwrap();
            [got, message, password[..count].to_vec()].concat()
        });
        let name = concat!(module_path!(), "::what_the_server_gets_is_independent_of_the_environment");
        let name = name.split_once("::").unwrap().1;
        let output = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env_clear()
            .envs(variables.iter().copied())
            .env(DIRECTORY, directory.path())
            .output()
            .unwrap();
        drop(std::os::unix::net::UnixStream::connect(directory.path().join(".s.PGSQL.5432")));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        (server.join().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The client, in a process of its own.
    async fn log_in(directory: &Path) -> String {
        let parameters = json!({ "database": "slm", "user": "slm_app", "password": "unused" });
        let login = decode::<PostgresqlLogin>(parameters).unwrap();
        login.connect(directory, "right-password").await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn what_the_server_gets_is_independent_of_the_environment() {
        if let Some(directory) = std::env::var_os(DIRECTORY) {
            return writeln!(std::io::stdout(), "{}", log_in(Path::new(&directory)).await).unwrap();
        }
        let files = tempfile::tempdir().unwrap();
        let passwords = files.path().join("passwords");
        std::fs::write(&passwords, "*:*:*:*:password-of-a-file\n").unwrap();
        let passwords = passwords.to_str().unwrap();
        let (plain, _) = sent(&[]);
        let text = String::from_utf8_lossy(&plain);
        assert!(text.contains("slm_app") && text.ends_with("right-password\0"), "{text:?}");
        let hostile = [
            ("HOME", "/nowhere"),
            ("PGAPPNAME", "hostile"),
            ("PGDATABASE", "hostile"),
            ("PGHOST", "198.18.0.1"),
            ("PGHOSTADDR", "198.18.0.1"),
            ("PGPASSFILE", passwords),
            ("PGPASSWORD", "hostile"),
            ("PGPORT", "1"),
            ("PGSSLCERT", "/nowhere"),
            ("PGSSLKEY", "/nowhere"),
            ("PGSSLMODE", "verify-full"),
            ("PGSSLROOTCERT", "/nowhere"),
            ("PGUSER", "hostile"),
        ];
        for variable in hostile {
            assert_eq!(sent(&[variable]).0, plain, "{variable:?}");
        }
        assert_eq!(sent(&hostile).0, plain);
        let (nothing, error) = sent(&[("PGOPTIONS", "-c statement_timeout=1")]);
        assert!(nothing.is_empty() && error.contains("the variable `PGOPTIONS` is set here"), "{error}");
    }
}
