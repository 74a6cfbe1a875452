//! Provisions nodes over SSH. `docs/ARCHITECTURE.md` shows how the modules fit together.

pub mod inventory;
pub mod script;
pub mod secret;
pub mod source;
