//! Provisions nodes over SSH. `docs/ARCHITECTURE.md` shows how the modules fit together.

pub mod app;
pub mod cli;
pub mod controller;
pub mod engine;
pub mod event;
pub mod firewall;
#[cfg(test)]
mod fuzz_tests;
pub mod health;
pub mod inventory;
pub mod job;
pub mod lab;
pub mod outside;
pub mod pg;
pub mod plan;
pub mod question;
mod redis_client;
pub mod redis_ops;
pub mod reference;
pub mod report;
pub mod resource;
pub mod role;
pub mod script;
pub mod secret;
pub mod shell;
pub mod source;
pub mod template;
pub mod transport;
pub mod values;
pub mod vault;
