//! Creates a secret.

use super::{ApplyRun, Failure};
use crate::{
    engine::{secrets, work::ItemAction},
    event::Outcome,
    plan::SecretSpec,
    question::{Questions, path::PathState, pending},
    resource::{Change, Verdict, do_not_exist},
    secret::generate,
    transport::Channel,
};

impl ApplyRun<'_> {
    pub(super) async fn secret<C: Channel>(
        &mut self,
        index: usize,
        spec: &SecretSpec,
        channel: &mut C,
    ) -> Result<Outcome, Failure> {
        let provided = self.secrets.provided(&spec.id()).and_then(|_| self.secrets.values.declared(&spec.secret)).cloned();
        let stored = secrets::in_file(spec, &self.answers).map_err(Failure::Item)?;
        let stored = stored.filter(|stored| provided.as_ref().is_none_or(|provided| provided == stored));
        let is_new = stored.is_none();
        let value = if let Some(value) = stored {
            if secrets::exposed(spec, &self.state()).map_err(Failure::Item)?.is_none() {
                // An earlier task, such as the installation of a package, has created it in the meantime: it is kept.
                self.secrets.values.insert(spec.secret.clone(), value);
                return Ok(Outcome { summary: self.freshness.by(index), ..self.items[index].predicted.clone() });
            }
            value
        } else {
            if let Some(reason) = self.reason_not_to_create(index, spec)? {
                return Err(Failure::Item(reason));
            }
            let value = provided.map_or_else(|| generate(spec.length), Ok);
            value.map_err(|error| Failure::Item(format!("the operating system gives no random numbers: {error}")))?
        };
        self.secrets.values.insert(spec.secret.clone(), value.clone());
        let known = self.secrets.values.clone();
        let change = secrets::persist(spec, is_new, &self.answers, &mut self.secrets.values).map_err(Failure::Item)?;
        let mut questions = Questions::default();
        questions.ask::<PathState>(spec.question());
        // Owner, group and mode alone go back for no service.
        let (mut scripts, marks) = if is_new { self.transactions.keep_for_secret(spec)? } else { Default::default() };
        if !marks.is_empty() {
            scripts.push(pending::mark(&marks));
        }
        scripts.extend([secrets::directory(spec), change.script]);
        self.frame(index, &scripts, questions, channel).await?;
        // The file's other lines were values for that one script only: they must not be redacted as secrets in the output.
        self.secrets.values = known;
        if let Some(exposed) = secrets::exposed(spec, &self.state()).map_err(Failure::Item)? {
            return Err(Failure::Item(format!("`{}` was written, but is still not as declared: {}", spec.file, exposed.summary)));
        }
        if secrets::in_file(spec, &self.answers).map_err(Failure::Item)? != Some(value) {
            return Err(Failure::Item(format!("`{}` was written, but does not hold `{}`", spec.file, spec.secret.name)));
        }
        self.freshness.changed_by(format!("secret {}", spec.secret.name));
        Ok(self.items[index].predicted.clone())
    }

    /// Returns the reason not to create the secret after all: the task that uses it would overwrite another value.
    fn reason_not_to_create(&self, index: usize, spec: &SecretSpec) -> Result<Option<String>, Failure> {
        let user = self.items[index + 1..].iter().find_map(|work| match &work.body {
            ItemAction::Task(_, resource) => Some(resource),
            ItemAction::Secret(_)
            | ItemAction::Skipped
            | ItemAction::Handler { .. }
            | ItemAction::Health(_)
            | ItemAction::Exercise(_) => None,
        });
        let Some(user) = user.filter(|user| user.secrets().contains(&spec.id())) else { return Ok(None) };
        Ok(match user.compare(&self.state()).map_err(|error| Failure::Item(error.to_string()))? {
            Verdict::Change(Change { replaces: true, .. }) if spec.outside.is_none() => Some(secrets::lost_message(spec)),
            // Creating the secret also creates the directory of its file.
            Verdict::Blocked { missing, change }
                if !change.replaces && missing.iter().all(|missing| secrets::creates_directory(spec, missing)) =>
            {
                None
            }
            Verdict::Blocked { missing, .. } => Some(do_not_exist(&missing)),
            Verdict::Refused(reason) => Some(reason),
            Verdict::Change(_) | Verdict::Converged { .. } => None,
        })
    }
}
