//! Check `slm_backend`: what the SLM backend says of itself, of its database, and of the fleet's nodes.

use serde::Deserialize;

use super::{
    exercise::{Exercise, ExerciseKind},
    http::{Endpoint, get},
    span, with_warnings,
};
use crate::{
    question::{
        Questions, Unanswered,
        unit::{self, Unit},
    },
    resource::{Is, Wrong, decode},
    secret::{SecretRef, SecretValues},
    transport::{Running, Tunnel},
};

pub(super) const KIND: ExerciseKind = ExerciseKind {
    name: "slm_backend",
    decode: |parameters| Ok(Box::new(SlmBackend::new(&decode(parameters)?)?)),
    parameters: &["url", "skip_unless_unit"],
    secret_parameters: &[],
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    #[serde(default = "usual_url")]
    url: String,
    #[serde(default = "usual_unit")]
    skip_unless_unit: String,
}

fn usual_url() -> String {
    "http://127.0.0.1:8000".into()
}

fn usual_unit() -> String {
    "autobot-slm-backend".into()
}

#[derive(Debug)]
struct SlmBackend {
    general: Endpoint,
    database: Endpoint,
    /// Its full name.
    unit: String,
}

/// The answer of `/api/health`. What is missing is not held against it, but for the status.
#[derive(Debug, Deserialize)]
struct General {
    status: String,
    database: Option<String>,
    uptime_seconds: Option<f64>,
    nodes_online: Option<u64>,
    nodes_total: Option<u64>,
}

/// The answer of `/api/health/database`: its `database` is the kind of server.
#[derive(Debug, Deserialize)]
struct Database {
    status: String,
    database: Option<String>,
}

impl SlmBackend {
    fn new(given: &Parameters) -> Result<Self, Wrong> {
        let base = given.url.trim_end_matches('/');
        let endpoint = |path: &str| Endpoint::read(&format!("{base}{path}"));
        if base.contains(['?', '#']) {
            return Err(Wrong::parameter(
                "url",
                "is where the backend listens, without `?` and `#`: /api/health is asked below it",
            ));
        }
        let unit = unit::full_name(&given.skip_unless_unit);
        let unit = unit.map_err(|reason| Wrong::parameter("skip_unless_unit", reason))?;
        Ok(Self { general: endpoint("/api/health")?, database: endpoint("/api/health/database")?, unit })
    }

    async fn asked(&self, tunnel: &dyn Tunnel) -> Result<String, String> {
        // A backend that cannot be reached is told once.
        let general = get(&self.general, tunnel).await.map_err(|why| self.general.complaint(&why))?;
        let database = get(&self.database, tunnel).await.map_err(|why| self.database.complaint(&why))?;
        self.judge(&general, &database)
    }

    /// Each answer: its status and its body.
    fn judge(&self, general: &(u16, Vec<u8>), database: &(u16, Vec<u8>)) -> Result<String, String> {
        let (mut complaints, mut warnings, mut said) = (Vec::new(), Vec::new(), vec![HEALTHY.to_owned()]);
        match read::<Database>(database).and_then(|read| Ok((wrong_status(database.0, &read.status)?, read))) {
            Ok(((), read)) => said.extend(read.database.map(|kind| shortened(&kind))),
            Err(why) => complaints.push(self.database.complaint(&why)),
        }
        match read::<General>(general).and_then(|read| Ok((wrong_status(general.0, &read.status)?, read))) {
            Ok(((), read)) => {
                if let Some(database) = read.database.filter(|database| database != HEALTHY) {
                    complaints.push(self.general.complaint(&format!("the database is {}", shortened(&database))));
                }
                if let (Some(online), Some(total)) = (read.nodes_online, read.nodes_total) {
                    said.push(format!("{online} of {total} nodes online"));
                    if let Some(offline) = total.checked_sub(online).filter(|offline| *offline > 0) {
                        warnings.push(format!("{offline} node{} offline", if offline == 1 { "" } else { "s" }));
                    }
                }
                if let Some(seconds) = read.uptime_seconds.filter(|seconds| (0.0..1e12).contains(seconds)) {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "within the bounds just checked"
                    )]
                    said.push(format!("up {}", span(seconds as u64)));
                }
            }
            Err(why) => complaints.insert(0, self.general.complaint(&why)),
        }
        if complaints.is_empty() { Ok(with_warnings(&warnings, &said.join(", "))) } else { Err(complaints.join("; ")) }
    }
}

/// A status that is not healthy, as the backend says it or as HTTP does.
fn wrong_status(code: u16, status: &str) -> Result<(), String> {
    match (code, status) {
        (200, HEALTHY) => Ok(()),
        (code, HEALTHY) => Err(format!("the HTTP status is {code}, not 200")),
        (_, status) => Err(format!("the status is {}", shortened(status))),
    }
}

const HEALTHY: &str = "healthy";

/// Reads an answer. A sick backend may well say so with another status than 200: then what it says counts.
fn read<'a, T: Deserialize<'a>>((status, body): &'a (u16, Vec<u8>)) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| {
        if *status == 200 {
            format!("the answer is not the expected JSON: {error}")
        } else {
            format!("the HTTP status is {status}, not 200")
        }
    })
}

/// What a backend answers must not fill the screen.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 40;
    let text: String = text.chars().map(|sign| if sign.is_control() { '\u{fffd}' } else { sign }).collect();
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

impl Exercise for SlmBackend {
    fn name(&self) -> String {
        format!("ask the SLM backend at {}", self.general.authority())
    }

    fn run<'a>(&'a self, tunnel: &'a dyn Tunnel, _: &'a SecretValues) -> Running<'a, String> {
        Box::pin(self.asked(tunnel))
    }

    fn secrets(&self) -> Vec<SecretRef> {
        Vec::new()
    }

    fn not_of_a_deploy(&self) -> bool {
        true
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Unit>(self.unit.clone());
    }

    fn skipped(&self, is: &Is<'_>) -> Result<Option<String>, Unanswered> {
        let there = is.answers.get::<Unit>(&self.unit)?.exists();
        Ok((!there).then(|| format!("there is no unit `{}` on this node", self.unit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::Answers;
    use serde_json::{Value, json};

    fn backend(parameters: Value) -> Result<SlmBackend, Wrong> {
        SlmBackend::new(&decode(parameters)?)
    }

    fn judge(general: (u16, &str), database: (u16, &str)) -> String {
        let bytes = |(status, body): (u16, &str)| (status, body.as_bytes().to_vec());
        match backend(json!({})).unwrap().judge(&bytes(general), &bytes(database)) {
            Ok(said) => format!("ok: {said}"),
            Err(why) => why,
        }
    }

    const GOOD: (u16, &str) = (
        200,
        r#"{"status": "healthy", "version": "1.0.0", "uptime_seconds": 3600, "database": "healthy", "nodes_online": 5, "nodes_total": 5}"#,
    );
    const POSTGRESQL: (u16, &str) = (200, r#"{"status": "healthy", "database": "postgresql"}"#);

    #[test]
    fn what_the_backend_says_is_shown_and_judged() {
        let all = [
            judge(GOOD, POSTGRESQL),
            judge((200, &GOOD.1.replace("online\": 5", "online\": 3")), POSTGRESQL),
            judge((200, r#"{"status": "healthy"}"#), (200, r#"{"status": "healthy"}"#)),
            judge((200, &GOOD.1.replacen("healthy", "degraded", 1)), POSTGRESQL),
            judge((200, &GOOD.1.replace(r#"base": "healthy"#, r#"base": "unhealthy"#)), (503, r#"{"status": "unhealthy"}"#)),
            judge((503, &GOOD.1.replacen("healthy", "starting", 1)), POSTGRESQL),
            judge((500, "oh no"), POSTGRESQL),
            judge((404, r#"{"status": "healthy"}"#), (200, "<html>")),
            judge((200, "[]"), (200, r#"{"status": 1}"#)),
            judge((200, r#"{"status": "healthy", "nodes_online": 9, "nodes_total": 5, "uptime_seconds": -1e300}"#), POSTGRESQL),
        ];
        insta::assert_snapshot!(all.join("\n"), @"
        ok: healthy, postgresql, 5 of 5 nodes online, up 60 min
        ok: warning: 2 nodes offline; healthy, postgresql, 3 of 5 nodes online, up 60 min
        ok: healthy
        http://127.0.0.1:8000/api/health: the status is degraded
        http://127.0.0.1:8000/api/health/database: the status is unhealthy; http://127.0.0.1:8000/api/health: the database is unhealthy
        http://127.0.0.1:8000/api/health: the status is starting
        http://127.0.0.1:8000/api/health: the HTTP status is 500, not 200
        http://127.0.0.1:8000/api/health: the HTTP status is 404, not 200; http://127.0.0.1:8000/api/health/database: the answer is not the expected JSON: expected value at line 1 column 1
        http://127.0.0.1:8000/api/health: the answer is not the expected JSON: invalid length 0, expected struct General with 5 elements at line 1 column 2; http://127.0.0.1:8000/api/health/database: the answer is not the expected JSON: invalid type: integer `1`, expected a string at line 1 column 12
        ok: healthy, postgresql, 9 of 5 nodes online
        ");
    }

    #[test]
    fn hostile_answers_stay_short_and_harmless() {
        let said = judge((200, &format!(r#"{{"status": "{}\u001b[2J"}}"#, "x".repeat(9000))), POSTGRESQL);
        assert!(said.len() < 100 && !said.contains('\u{1b}'), "{said}");
        let deep = "[".repeat(100_000);
        assert!(judge((200, &deep), POSTGRESQL).len() < 300);
    }

    #[test]
    fn without_its_unit_there_is_nobody_to_ask() {
        let mut answers = Answers::default();
        let backend = backend(json!({})).unwrap();
        let said = |answers: &Answers| backend.skipped(&Is { answers, secrets: &SecretValues::default() });
        assert!(said(&answers).is_err());
        answers.set::<Unit>("autobot-slm-backend.service".into(), Ok(Unit { load: "not-found".into(), ..Unit::default() }));
        assert_eq!(said(&answers).unwrap().unwrap(), "there is no unit `autobot-slm-backend.service` on this node");
        answers.set::<Unit>("autobot-slm-backend.service".into(), Ok(Unit { load: "loaded".into(), ..Unit::default() }));
        assert_eq!(said(&answers).unwrap(), None);
    }

    #[test]
    fn urls_are_bases() {
        let at = |url: &str| backend(json!({"url": url}));
        let complaint = |endpoint: &Endpoint| endpoint.complaint("x");
        assert_eq!(complaint(&at("http://127.0.0.1:8000/").unwrap().database), "http://127.0.0.1:8000/api/health/database: x");
        assert_eq!(complaint(&at("http://[::1]:81/slm").unwrap().general), "http://[::1]:81/slm/api/health: x");
        for url in ["https://h", "http://h?x", "h:8000", "http://h/#x", ""] {
            assert!(at(url).is_err(), "{url}");
        }
    }
}
