//! The words that a task may use about the firewall.

use serde::Deserialize;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    #[default]
    Any,
    Tcp,
    Udp,
}

impl Protocol {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PolicyDirection {
    #[serde(alias = "incoming")]
    In,
    #[serde(alias = "outgoing")]
    Out,
    Routed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Enabled,
    Disabled,
}

/// How much the firewall logs. `on` means `low` unless it already logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Logging {
    On,
    Off,
    Low,
    Medium,
    High,
    Full,
}

impl Logging {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Full => "full",
        }
    }

    /// Returns the level after `ufw logging`, if it was `before`.
    pub(super) fn level(self, before: &str) -> &str {
        match self {
            Self::On if before == "off" => "low",
            Self::On => before,
            Self::Off | Self::Low | Self::Medium | Self::High | Self::Full => self.as_str(),
        }
    }
}

impl PolicyDirection {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::In => "incoming",
            Self::Out => "outgoing",
            Self::Routed => "routed",
        }
    }
}
