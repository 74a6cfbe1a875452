//! Exercise `slm_backend`: the SLM backend's report about itself, its database, and the nodes of the fleet.

use serde::Deserialize;

use super::{
    Finding,
    exercise::{Exercise, ExerciseKind},
    format_span,
    http::{Endpoint, get},
};
use crate::{
    question::{
        Questions, Unanswered,
        unit::{self, Unit},
    },
    resource::{NodeState, ParamError, decode, schema::parameters},
    secret::{SecretId, SecretValues},
    transport::{Running, Tunnel},
};

pub(super) const KIND: ExerciseKind = ExerciseKind {
    name: "slm_backend",
    about: "Asks the SLM backend how it and its database are; only `health` does, no deploy",
    example: r#"exercise:
  slm_backend: {url: "http://127.0.0.1:8000"}"#,
    decode: |parameters| Ok(Box::new(SlmBackend::new(&decode(parameters)?)?)),
    declared: Parameters::declared,
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// Its address, as seen from the node.
        url: String = "http://127.0.0.1:8000",
        /// Its unit: where there is none, nothing is asked.
        skip_unless_unit: String = "autobot-slm-backend",
    }
}

#[derive(Debug)]
struct SlmBackend {
    general: Endpoint,
    database: Endpoint,
    /// The full name of the unit.
    unit: String,
}

/// The answer of `/api/health`. Only the status is required.
#[derive(Debug, Deserialize)]
struct General {
    status: String,
    database: Option<String>,
    uptime_seconds: Option<f64>,
    nodes_online: Option<u64>,
    nodes_total: Option<u64>,
}

/// The answer of `/api/health/database`, in which `database` is the kind of server.
#[derive(Debug, Deserialize)]
struct Database {
    status: String,
    database: Option<String>,
}

impl SlmBackend {
    fn new(parameters: &Parameters) -> Result<Self, ParamError> {
        let base = parameters.url.trim_end_matches('/');
        let endpoint = |path: &str| Endpoint::read(&format!("{base}{path}"));
        if base.contains(['?', '#']) {
            return Err(ParamError::parameter(
                "url",
                "must be the base URL of the backend, without `?` and `#`; /api/health is appended to it",
            ));
        }
        let unit = unit::full_name(&parameters.skip_unless_unit);
        let unit = unit.map_err(|reason| ParamError::parameter("skip_unless_unit", reason))?;
        Ok(Self { general: endpoint("/api/health")?, database: endpoint("/api/health/database")?, unit })
    }

    async fn ask(&self, tunnel: &dyn Tunnel) -> Result<Finding, String> {
        // A backend that cannot be reached is reported once.
        let general = get(&self.general, tunnel).await.map_err(|why| self.general.problem(&why))?;
        let database = get(&self.database, tunnel).await.map_err(|why| self.database.problem(&why))?;
        self.evaluate(&general, &database)
    }

    /// Evaluates both answers, each with its status and its body.
    fn evaluate(&self, general: &(u16, Vec<u8>), database: &(u16, Vec<u8>)) -> Result<Finding, String> {
        let (mut problems, mut warnings, mut findings) = (Vec::new(), Vec::new(), vec![HEALTHY.to_owned()]);
        match read::<Database>(database).and_then(|read| Ok((check_status(database.0, &read.status)?, read))) {
            Ok(((), read)) => findings.extend(read.database.map(|kind| truncate(&kind))),
            Err(why) => problems.push(self.database.problem(&why)),
        }
        match read::<General>(general).and_then(|read| Ok((check_status(general.0, &read.status)?, read))) {
            Ok(((), read)) => {
                if let Some(database) = read.database.filter(|database| database != HEALTHY) {
                    problems.push(self.general.problem(&format!("the database is {}", truncate(&database))));
                }
                if let (Some(online), Some(total)) = (read.nodes_online, read.nodes_total) {
                    findings.push(format!("{online} of {total} nodes online"));
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
                    findings.push(format!("up {}", format_span(seconds as u64)));
                }
            }
            Err(why) => problems.insert(0, self.general.problem(&why)),
        }
        if problems.is_empty() { Ok(Finding::with_warnings(&warnings, findings.join(", "))) } else { Err(problems.join("; ")) }
    }
}

/// Returns an error for a status that is not healthy, whether the backend or HTTP reports it.
fn check_status(code: u16, status: &str) -> Result<(), String> {
    match (code, status) {
        (200, HEALTHY) => Ok(()),
        (code, HEALTHY) => Err(format!("the HTTP status is {code}, not 200")),
        (_, status) => Err(format!("the status is {}", truncate(status))),
    }
}

const HEALTHY: &str = "healthy";

/// Parses an answer. An unhealthy backend may answer with a status other than 200; its JSON is used then.
fn read<'a, T: Deserialize<'a>>((status, body): &'a (u16, Vec<u8>)) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| {
        if *status == 200 {
            format!("the answer is not the expected JSON: {error}")
        } else {
            format!("the HTTP status is {status}, not 200")
        }
    })
}

/// Truncates text of the backend, which must not fill the screen.
fn truncate(text: &str) -> String {
    const LONGEST: usize = 40;
    let text: String = text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect();
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

impl Exercise for SlmBackend {
    fn name(&self) -> String {
        format!("ask the SLM backend at {}", self.general.authority())
    }

    fn run<'a>(&'a self, tunnel: &'a dyn Tunnel, _: &'a SecretValues) -> Running<'a, Finding> {
        Box::pin(self.ask(tunnel))
    }

    fn secrets(&self) -> Vec<SecretId> {
        Vec::new()
    }

    fn monitoring_only(&self) -> bool {
        true
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Unit>(self.unit.clone());
    }

    fn skipped(&self, is: &NodeState<'_>) -> Result<Option<String>, Unanswered> {
        let there = is.answers.get::<Unit>(&self.unit)?.exists();
        Ok((!there).then(|| format!("there is no unit `{}` on this node", self.unit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::Answers;
    use serde_json::{Value, json};

    fn backend(parameters: Value) -> Result<SlmBackend, ParamError> {
        SlmBackend::new(&decode(parameters)?)
    }

    fn evaluate(general: (u16, &str), database: (u16, &str)) -> String {
        let bytes = |(status, body): (u16, &str)| (status, body.as_bytes().to_vec());
        match backend(json!({})).unwrap().evaluate(&bytes(general), &bytes(database)) {
            Ok(Finding::Healthy(found)) => format!("ok: {found}"),
            Ok(Finding::Warning { warning, found }) => format!("ok: warning: {warning}; {found}"),
            Ok(other) => panic!("{other:?}"),
            Err(why) => why,
        }
    }

    const GOOD: (u16, &str) = (
        200,
        r#"{"status": "healthy", "version": "1.0.0", "uptime_seconds": 3600, "database": "healthy", "nodes_online": 5, "nodes_total": 5}"#,
    );
    const POSTGRESQL: (u16, &str) = (200, r#"{"status": "healthy", "database": "postgresql"}"#);

    #[test]
    fn the_answers_of_the_backend_are_shown_and_evaluated() {
        let all = [
            evaluate(GOOD, POSTGRESQL),
            evaluate((200, &GOOD.1.replace("online\": 5", "online\": 3")), POSTGRESQL),
            evaluate((200, r#"{"status": "healthy"}"#), (200, r#"{"status": "healthy"}"#)),
            evaluate((200, &GOOD.1.replacen("healthy", "degraded", 1)), POSTGRESQL),
            evaluate((200, &GOOD.1.replace(r#"base": "healthy"#, r#"base": "unhealthy"#)), (503, r#"{"status": "unhealthy"}"#)),
            evaluate((503, &GOOD.1.replacen("healthy", "starting", 1)), POSTGRESQL),
            evaluate((500, "oh no"), POSTGRESQL),
            evaluate((404, r#"{"status": "healthy"}"#), (200, "<html>")),
            evaluate((200, "[]"), (200, r#"{"status": 1}"#)),
            evaluate(
                (200, r#"{"status": "healthy", "nodes_online": 9, "nodes_total": 5, "uptime_seconds": -1e300}"#),
                POSTGRESQL,
            ),
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
    fn hostile_answers_are_truncated_and_sanitized() {
        let finding = evaluate((200, &format!(r#"{{"status": "{}\u001b[2J"}}"#, "x".repeat(9000))), POSTGRESQL);
        assert!(finding.len() < 100 && !finding.contains('\u{1b}'), "{finding}");
        let deep = "[".repeat(100_000);
        assert!(evaluate((200, &deep), POSTGRESQL).len() < 300);
    }

    #[test]
    fn the_exercise_is_skipped_without_its_unit() {
        let mut answers = Answers::default();
        let backend = backend(json!({})).unwrap();
        let skipped = |answers: &Answers| backend.skipped(&NodeState { answers, secrets: &SecretValues::default() });
        assert!(skipped(&answers).is_err());
        answers.set::<Unit>("autobot-slm-backend.service".into(), Ok(Unit { load: "not-found".into(), ..Unit::default() }));
        assert_eq!(skipped(&answers).unwrap().unwrap(), "there is no unit `autobot-slm-backend.service` on this node");
        answers.set::<Unit>("autobot-slm-backend.service".into(), Ok(Unit { load: "loaded".into(), ..Unit::default() }));
        assert_eq!(skipped(&answers).unwrap(), None);
    }

    #[test]
    fn the_url_is_a_base_url() {
        let at = |url: &str| backend(json!({"url": url}));
        let problem = |endpoint: &Endpoint| endpoint.problem("x");
        assert_eq!(problem(&at("http://127.0.0.1:8000/").unwrap().database), "http://127.0.0.1:8000/api/health/database: x");
        assert_eq!(problem(&at("http://[::1]:81/slm").unwrap().general), "http://[::1]:81/slm/api/health: x");
        for url in ["https://h", "http://h?x", "h:8000", "http://h/#x", ""] {
            assert!(at(url).is_err(), "{url}");
        }
    }
}
