//! Plain values that every layer may use: paths, modes, sizes, durations, differences. They know nothing of the rest of the program.

mod addresses;
mod diff;
mod duration;
mod flag;
mod glob;
mod hex;
mod list;
mod mark;
pub mod missing;
mod mode;
mod path;
mod problem;
mod shared_bytes;
mod shortened;
mod size;

pub use addresses::Addresses;
pub use diff::{Diff, Line};
pub use duration::parse_duration;
pub use flag::Flag;
pub use glob::matches_glob;
pub use hex::hex;
pub use list::OneOrMany;
pub use mark::{mark_name, mark_names};
pub use missing::Missing;
pub use mode::Mode;
pub use path::RemotePath;
pub use problem::{Problem, RelatedPlace};
pub use shared_bytes::SharedBytes;
pub use shortened::shortened;
pub use size::parse_size;
