//! `systemd_service`: Ansible's other name for `systemd`.

use super::Kind;

pub(super) const KIND: Kind = Kind { name: "systemd_service", ..super::systemd::KIND };
