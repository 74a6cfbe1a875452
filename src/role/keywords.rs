//! The keywords of a role file, each declared once. The readers, the suggestions, the reference and the JSON Schema use this table.

/// A key of a role file, of a task, or of something else that a role file holds.
#[derive(Debug)]
pub struct Keyword {
    /// The key.
    pub name: &'static str,
    /// What value it takes.
    pub takes: Takes,
    /// Whether it is required.
    pub required: bool,
    /// One line on what it is for.
    pub help: &'static str,
}

/// What value a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Text.
    Text,
    /// Text, or a list of texts.
    Words,
    /// True or false.
    Flag,
    /// A whole number.
    Number,
    /// Seconds, or `10s`, `5m`, `1h`.
    Time,
    /// An expression, or a list of them.
    Expressions,
    /// A list.
    List,
    /// A map.
    Map,
    /// A map or text.
    MapOrText,
    /// Anything.
    Any,
}

impl Takes {
    /// Describes it in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Words => "text or a list of texts",
            Self::Flag => "true or false",
            Self::Number => "a whole number",
            Self::Time => "seconds, or a time such as 10s, 5m, 1h",
            Self::Expressions => "an expression or a list of them",
            Self::List => "a list",
            Self::Map => "a map",
            Self::MapOrText => "a map or text",
            Self::Any => "any value",
        }
    }
}

/// Declares the keys of something, and their names.
macro_rules! keywords {
    ($($(#[$about:meta])* $TABLE:ident $NAMES:ident { $($name:literal $takes:ident $($required:ident)?: $help:literal,)* })*) => {
        $(
            $(#[$about])*
            pub const $TABLE: &[Keyword] = &[$(
                Keyword { name: $name, takes: Takes::$takes, required: keywords!(@ $($required)?), help: $help },
            )*];
            pub(super) const $NAMES: &[&str] = &[$($name),*];
        )*
    };
    (@) => { false };
    (@ required) => { true };
}

keywords! {
    /// The keys of a role file.
    ROLE ROLE_NAMES {
        "description" Text: "One line on what the role is for",
        "was" Words: "Names that the role had before; its handlers that are pending on a node under one of them still run",
        "requires" Words: "Roles that are deployed before this one on the same host, even if they are not selected; their variables may be used here",
        "tags" Words: "Tags that every task, handler and health check of the role has",
        "defaults" Map: "The role's variables",
        "secrets" Map: "Passwords; each is generated once, on the node, unless its value comes from elsewhere",
        "tasks" List: "What the role does, in order",
        "handlers" List: "What tasks notify; they run once, after the role's tasks, in the order in which they are declared",
        "health" List: "Checks that what was deployed works",
    }
    /// The keywords of a task.
    TASK TASK_NAMES {
        "name" Text required: "What it does; unique in the role",
        "when" Expressions: "The task runs only where all of them hold",
        "loop" Any: "A list; the task runs for each element, which is `item`",
        "vars" Map: "Variables of this task",
        "notify" Words: "Handlers to run when the task changed something",
        "tags" Words: "Tags, besides the role's",
        "block" List: "Tasks that share `when`, `tags`, `vars`, `notify`, `become_user`, `environment` and `no_log`; their own `when` must hold too, and their own `vars` and `become_user` win",
        "become" Flag: "`true` changes nothing: every task runs as root",
        "become_user" Text: "The user that runs a `command`, instead of root",
        "environment" Map: "Environment variables of a `command` and its guard; they must not hold secrets, which go through `stdin`",
        "args" Map: "More parameters of a resource that is written in its short form",
        "no_log" Flag: "Hides the diff, and the output of a change that failed; secrets are always hidden",
        "revert" Text: "`never`: what this changes is not put back where it ends the way in, as when access is taken away on purpose",
        "may_lock_out" Flag: "Whether this, such as a `command`, could end the way in; the node then puts it back unless a new login proves it",
        "retries" Number: "How often it is tried again when it fails",
        "delay" Time: "How long to wait before it is tried again; 5 seconds without it",
        "timeout" Time: "How long it may take, a week at most; 10 minutes without it, 30 for packages",
        "register" Text: "The name of its result: `.changed` and `.skipped`; of a `command` with `reads: true` also `stdout`, `stdout_lines`, `stderr`, `rc`",
    }
    /// The keys of a handler.
    HANDLER HANDLER_NAMES {
        "name" Text required: "The name that tasks notify",
        "was" Words: "Names that the handler had before; it still runs if it is pending on a node under one of them",
        "systemd" Map: "`{name, state}`: the unit that is `restarted` (with `if_running: true` only if it runs) or `reloaded`",
        "command" MapOrText: "A line of shell, alone or as `{cmd}`",
        "docker_compose" Map: "`{project_src, files, services}` and `recreate: always` or `state: restarted`: the containers of a project",
        "ready" MapOrText: "`{command, timeout}`: tried until it succeeds",
        "become" Flag: "`true` changes nothing: handlers run as root",
    }
    /// The keys of a health check.
    HEALTH HEALTH_NAMES {
        "name" Text required: "What it checks; unique in the role",
        "read" Map: "A resource that must be as declared, or a check; read in every deploy and by `health`",
        "exercise" Map: "Does what a client would do; runs when the role changed something, or with `health --exercise`",
        "when" Expressions: "The check runs only where all of them hold",
        "tags" Words: "Tags, besides the role's",
        "block" List: "Checks that share `when` and `tags`; their own `when` must hold too",
    }
    /// The keys of a variable that is declared with its type.
    VARIABLE VARIABLE_NAMES {
        "type" MapOrText: "`string`, `int`, `float`, `bool`, `port`, `path`, `size`, `host`, `list`, `dict`, or `{one_of: [words]}`",
        "min" Number: "The smallest allowed number",
        "max" Number: "The largest allowed number",
        "default" Any: "The value unless it is set; without it the variable must be set",
        "help" Text: "What it is for",
    }
    /// The keys of a secret.
    SECRET SECRET_NAMES {
        "host" Text: "The host on which it lives, if it is not the host that has the role",
        "file" Text required: "The file on the node that holds it",
        "length" Any: "How many characters it has",
        "from" Map: "Where its value comes from, if it is not generated on the node",
        "without" Text: "Characters that a value from elsewhere must not contain",
        "owner" Text: "The file's owner",
        "group" Text: "The file's group",
        "mode" Text: "The file's mode, in quotes",
    }
}
