//! The one place that reads what surrounds this process, for the library.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use crate::controller::Controller;

/// Returns the surroundings of this process.
pub(super) fn read() -> Arc<Controller> {
    Arc::new(Controller {
        variables: std::env::vars_os().collect(),
        withheld: BTreeSet::new(),
        home: std::env::home_dir(),
        // Where it was deleted, only absolute paths work, and each use says so.
        working_directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
        temporary: std::env::temp_dir(),
        ..Controller::default()
    })
}
