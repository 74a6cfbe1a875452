//! Provisions nodes over SSH. `docs/ARCHITECTURE.md` shows how the modules fit together.

pub mod inventory;
pub mod plan;
pub mod question;
pub mod resource;
pub mod role;
pub mod script;
pub mod secret;
pub mod source;
pub mod template;
