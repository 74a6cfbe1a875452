//! Which state of a project's files a run is about.

use super::git;
use crate::{
    event::ProjectState,
    plan::{Plan, Request},
    source::digest_of,
};

/// Returns the state of the files that a plan was loaded from.
pub(super) async fn of(plan: &Plan, request: &Request) -> ProjectState {
    let commit = git::commit(&request.project);
    let dirty = match &commit {
        Some(commit) => git::is_dirty(&request.project, commit, &request.controller).await,
        None => None,
    };
    ProjectState { digest: Some(digest_of(&plan.files)), commit, dirty }
}
