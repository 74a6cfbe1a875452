//! Provisions nodes over SSH. `docs/ARCHITECTURE.md` shows how the modules fit together.

pub mod lab;
pub mod script;
pub mod secret;
