//! The states of systemd units (`systemctl --state=help`). A word that this program does not know, such as one of a newer systemd, is kept.

/// Declares an enum of systemd's words; `Other` is any word that is not listed.
macro_rules! states {
    ($(#[$about:meta])* $name:ident { $($word:literal => $state:ident,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = concat!("`", $word, "`")] $state,)*
            /// Any other word.
            Other(String),
        }

        impl $name {
            /// Returns systemd's word.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$state => $word,)*
                    Self::Other(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$state,)*
                    _ => Self::Other(word.to_owned()),
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::from("")
            }
        }
    };
}

states! {
    /// Whether systemd has read the files of a unit.
    LoadState {
        "loaded" => Loaded,
        "not-found" => NotFound,
        "masked" => Masked,
        "bad-setting" => BadSetting,
        "error" => Error,
    }
}

states! {
    /// Whether a unit is up.
    ActiveState {
        "active" => Active,
        "reloading" => Reloading,
        "refreshing" => Refreshing,
        "inactive" => Inactive,
        "failed" => Failed,
        "activating" => Activating,
        "deactivating" => Deactivating,
    }
}

states! {
    /// Whether a unit starts at boot.
    UnitFileState {
        "" => NoFile,
        "enabled" => Enabled,
        "enabled-runtime" => EnabledRuntime,
        "linked" => Linked,
        "linked-runtime" => LinkedRuntime,
        "alias" => Alias,
        "masked" => Masked,
        "masked-runtime" => MaskedRuntime,
        "static" => Static,
        "disabled" => Disabled,
        "indirect" => Indirect,
        "generated" => Generated,
        "transient" => Transient,
        "bad" => Bad,
    }
}

impl UnitFileState {
    /// Returns whether it is masked, for good or until the next boot.
    #[must_use]
    pub fn is_masked(&self) -> bool {
        matches!(self, Self::Masked | Self::MaskedRuntime)
    }

    /// As for `systemctl is-enabled` and Ansible, a unit does not count if it is enabled only until the next boot or through another unit
    /// (`indirect`).
    #[must_use]
    pub fn counts_as_enabled(&self) -> bool {
        matches!(self, Self::Enabled | Self::Static | Self::Alias | Self::Generated | Self::Transient)
    }

    /// A unit without an `[Install]` section or without a file cannot be disabled, so it counts.
    #[must_use]
    pub fn counts_as_disabled(&self) -> bool {
        match self {
            Self::Enabled | Self::EnabledRuntime | Self::Alias | Self::Other(_) => false,
            Self::NoFile
            | Self::Disabled
            | Self::Indirect
            | Self::Static
            | Self::Generated
            | Self::Transient
            | Self::Linked
            | Self::LinkedRuntime
            | Self::Masked
            | Self::MaskedRuntime
            | Self::Bad => true,
        }
    }
}
