//! Compares a running Redis with its redis.conf: the settings, which CONFIG GET may write in another way, and the users.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::BuildHasher,
};

use super::redis::{DEFAULT_USER, Replies, Requirepass, User};
use crate::values::parse_size;

/// Directives that take effect when the server starts and that CONFIG GET does not know.
const NOT_SETTINGS: [&str; 5] = ["include", "loadmodule", "rename-command", "module", "user"];

/// A setting that is not as the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub name: String,
    /// The running value. `None` where the server does not know the setting.
    pub is: Option<String>,
    /// The value in the file, or the server's own where no line names the setting.
    pub wanted: String,
    /// Whether the file names it.
    pub is_declared: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, is, wanted, is_declared } = self;
        match is {
            Some(is) if !is_declared => write!(formatter, "`{name}` is `{is}`, and the file does not say so"),
            None => write!(formatter, "the file sets `{name}`, which the server does not know"),
            Some(is) => write!(formatter, "`{name}` is `{is}`, the file says `{wanted}`"),
        }
    }
}

/// Settings by which a server refuses clients or their writes, or throws keys away, and their values where no line of the file names them. They are
/// asked in any case.
pub const DEFAULTS: [(&str, &str); 6] = [
    ("min-replicas-to-write", "0"),
    ("maxmemory", "0"),
    ("maxmemory-policy", "noeviction"),
    ("timeout", "0"),
    ("proto-max-bulk-len", "512mb"),
    ("client-query-buffer-limit", "1gb"),
];

/// Returns the server of which a Redis is a replica, if its file does not say so.
#[must_use]
pub fn replica_of(replies: &Replies) -> Option<String> {
    let info = |field: &str| replies.info.get(field).map_or("", String::as_str);
    let mut lines = replies.file.iter().flatten().map(|line| line.to_ascii_lowercase());
    let is_declared = lines.any(|line| ["replicaof ", "slaveof "].iter().any(|name| line.starts_with(name)));
    (info("role") == "slave" && !is_declared).then(|| format!("{}:{}", info("master_host"), info("master_port")))
}

/// How the users of a running Redis differ from those of its file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserDrift<'a> {
    /// What is wrong with the default user, which has the declared password and may do everything.
    pub default: Option<String>,
    /// Users whom nothing declares, and who need no password.
    pub open: Vec<&'a str>,
    /// Users whom nothing declares, but who need a password: they were made for a client.
    pub extra: Vec<&'a str>,
    /// Users whom a line of the file declares otherwise, and what is wrong with each.
    pub changed: Vec<(&'a str, &'static str)>,
}

/// What a line of the file says of a user. Its passwords are not known.
#[derive(Debug, Default)]
struct Declared {
    is_on: bool,
    password: Password,
    has_all_keys: bool,
    has_all_commands: bool,
}

/// How a user proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Password {
    NotNeeded,
    /// One of so many.
    OneOf(usize),
}

impl Default for Password {
    fn default() -> Self {
        Self::OneOf(0)
    }
}

impl Password {
    /// How many passwords are accepted.
    fn count(self) -> usize {
        match self {
            Self::NotNeeded => 0,
            Self::OneOf(count) => count,
        }
    }
}

impl Declared {
    /// Applies the rules in their order, as Redis does.
    fn new(rules: &str) -> Option<Self> {
        let mut user = Self::default();
        for rule in rules.split_whitespace() {
            match rule {
                // Quoted rules, which the node does not tell.
                "?" => return None,
                "on" => user.is_on = true,
                "off" => user.is_on = false,
                "nopass" => user.password = Password::NotNeeded,
                "resetpass" => user.password = Password::default(),
                "#" => user.password = Password::OneOf(user.password.count() + 1),
                "!" if user.password != Password::NotNeeded => {
                    user.password = Password::OneOf(user.password.count().saturating_sub(1));
                }
                "reset" => user = Self::default(),
                "~*" | "allkeys" => user.has_all_keys = true,
                "resetkeys" => user.has_all_keys = false,
                "+@all" | "allcommands" => user.has_all_commands = true,
                rule if rule.starts_with('-') || rule == "nocommands" => user.has_all_commands = false,
                _ => {}
            }
        }
        Some(user)
    }

    /// Returns what is wrong with the user as the server has it.
    fn differs(&self, is: Option<&User>) -> Option<&'static str> {
        let Some(is) = is else { return Some("was removed") };
        let is_open = self.password == Password::NotNeeded;
        if is.is_open() && !(self.is_on && is_open) {
            Some("needs no password")
        } else if is.is_on() != self.is_on {
            Some(if self.is_on { "is off" } else { "is on" })
        } else if self.is_on && !is_open && is.passwords() != self.password.count() {
            Some("has other passwords")
        } else if self.has_all_keys && self.has_all_commands && !is.may_use_every_key() {
            Some("may not do everything")
        } else {
            None
        }
    }
}

impl UserDrift<'_> {
    /// Says what becomes of users whom nothing declares. `None` if there are none.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let names = self.extra.iter().map(|name| format!("`{}`", name.escape_debug())).collect::<Vec<_>>().join(", ");
        let one = self.extra.len() == 1;
        let (noun, was, stands) = if one { ("user", "was", "stands") } else { ("users", "were", "stand") };
        let (them, their) = if one { ("it", "its") } else { ("them", "their") };
        (!self.extra.is_empty()).then(|| {
            format!(
                "the {noun} {names} {was} made at run time and {stands} in no file: a deploy leaves {them}, but the next restart refuses \
                 {their} clients; `ACL DELUSER` removes {them} now"
            )
        })
    }
}

/// Compares the users of a running Redis with what its file declares. Nothing is compared where it does not say which users it has, or where a
/// file of users declares them. Where there is no file to read, those who need no password are named all the same.
#[must_use]
pub fn users<'a>(replies: &'a Replies, password_key: &str) -> UserDrift<'a> {
    let Some(users) = &replies.users else { return UserDrift::default() };
    let lines = replies.file.as_deref().unwrap_or_default();
    if lines.iter().any(|line| line.to_ascii_lowercase().starts_with("aclfile")) {
        return UserDrift::default();
    }
    let user_line = |line: &'a String| line.strip_prefix("user ").map(|rest| rest.split_once(' ').unwrap_or((rest, "")));
    let declared: Vec<(&str, &str)> = lines.iter().filter_map(user_line).collect();
    let mut drift = UserDrift::default();
    for (name, rules) in &declared {
        let is = users.iter().find(|user| user.name == *name);
        if let Some(what) = Declared::new(rules).and_then(|wanted| wanted.differs(is)) {
            drift.changed.push((name, what));
        }
    }
    for user in users.iter().filter(|user| !declared.iter().any(|(name, _)| *name == user.name)) {
        match user.name.as_str() {
            // Where the file sets no password, none is needed.
            DEFAULT_USER if replies.requirepass == Requirepass::None => {}
            DEFAULT_USER => drift.default = wrong_default(user, password_key),
            name if user.is_open() => drift.open.push(name),
            name if user.is_on() && replies.file.is_some() => drift.extra.push(name),
            _ => {}
        }
    }
    drift
}

/// Says what is wrong with the default user, where a password is declared.
fn wrong_default(user: &User, password_key: &str) -> Option<String> {
    let passwords = user.passwords();
    if user.is_open() {
        return Some("needs no password".to_owned());
    }
    if passwords > 1 {
        return Some(format!("accepts another password besides `{password_key}`"));
    }
    (!user.may_do_everything()).then(|| "may not do everything any more".to_owned())
}

/// Returns a line of redis-cli's input that gives a setting its value.
#[must_use]
pub fn set_command(name: &str, value: &str) -> String {
    let mut quoted = String::new();
    for character in value.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            other => quoted.push(other),
        }
    }
    format!("CONFIG SET {name} \"{quoted}\"")
}

/// Returns the differences between the lines of the file and the running values.
#[must_use]
pub fn differences<S: BuildHasher>(lines: &[String], running: &HashMap<String, String, S>) -> Vec<Difference> {
    let mut wanted: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for line in lines {
        let mut words = words(line).into_iter();
        let Some(name) = words.next() else { continue };
        let name = name.to_ascii_lowercase();
        let arguments: Vec<String> = words.collect();
        let all = wanted.entry(name.clone()).or_default();
        // Of repeated directives the last one counts, except that these accumulate. `save ""` discards the earlier ones.
        let accumulates = matches!(name.as_str(), "save" | "client-output-buffer-limit")
            && arguments.first().is_some_and(|first| !first.is_empty());
        if !accumulates {
            all.clear();
        }
        all.push(arguments);
    }
    let setting = |(name, values): (String, Vec<Vec<String>>)| {
        if NOT_SETTINGS.contains(&name.as_str()) {
            return None;
        }
        let is = running.get(&name);
        let differs = is.is_none_or(|is| !same(&name, &values, is));
        differs.then(|| Difference { wanted: flat(&values).join(" "), is: is.cloned(), name, is_declared: true })
    };
    // `slave` is the older word for `replica` in names.
    let is_named = |setting: &str| wanted.contains_key(setting) || wanted.contains_key(&setting.replace("replica", "slave"));
    let undeclared = DEFAULTS.iter().filter(|(name, _)| !is_named(name)).filter_map(|(name, default)| {
        let is = running.get(*name).filter(|is| normalize(is) != normalize(default))?;
        Some(Difference { name: (*name).to_owned(), is: Some(is.clone()), wanted: (*default).to_owned(), is_declared: false })
    });
    let undeclared: Vec<Difference> = undeclared.collect();
    wanted.into_iter().filter_map(setting).chain(undeclared).collect()
}

fn same(name: &str, values: &[Vec<String>], is: &str) -> bool {
    match name {
        "client-output-buffer-limit" => {
            let is: Vec<String> = is.split_whitespace().map(normalize).collect();
            values.iter().all(|wanted| {
                let wanted: Vec<String> = wanted.iter().map(|word| normalize(&word.replace("replica", "slave"))).collect();
                is.chunks(4).any(|limits| limits == wanted)
            })
        }
        "notify-keyspace-events" => sorted(&flat(values).concat()) == sorted(is),
        "dir" => flat(values).concat().trim_end_matches('/') == is.trim_end_matches('/'),
        _ => {
            let wanted: Vec<String> = flat(values).iter().flat_map(|value| value.split_whitespace()).map(normalize).collect();
            let is: Vec<String> = is.split_whitespace().map(normalize).collect();
            wanted == is
        }
    }
}

fn flat(values: &[Vec<String>]) -> Vec<String> {
    values.concat()
}

fn sorted(text: &str) -> Vec<char> {
    // The server prints the letters in its own order.
    let mut characters: Vec<char> = text.chars().collect();
    characters.sort_unstable();
    characters
}

/// Returns a word in lower case, and a size such as `1gb` in bytes (redis.conf: k, m, g are powers of ten; kb, mb, gb are powers of two).
fn normalize(word: &str) -> String {
    parse_size(word).map_or_else(|| word.to_ascii_lowercase(), |bytes| bytes.to_string())
}

/// Splits a line into words as Redis does (`sdssplitargs`): double quotes with backslashes, and single quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut characters = line.chars().peekable();
    while let Some(first) = characters.find(|character| !character.is_whitespace()) {
        let mut word = String::new();
        if first == '"' || first == '\'' {
            while let Some(character) = characters.next().filter(|character| *character != first) {
                word.push(if character == '\\' { characters.next().unwrap_or(character) } else { character });
            }
        } else {
            word.push(first);
            while let Some(character) = characters.next_if(|character| !character.is_whitespace()) {
                word.push(character);
            }
        }
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(file: &str, running: &[(&str, &str)]) -> Vec<String> {
        let lines: Vec<String> = file.lines().map(str::to_owned).collect();
        let running: HashMap<String, String> =
            running.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        differences(&lines, &running).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_value_may_be_written_in_several_ways() {
        let file = "port 6379\nbind * -::*\nlogfile \"\"\nsave 900 1 300 10\nsave 60 10000\nmaxmemory 100mb\nAppendOnly YES\ndir /data/\n\
            client-output-buffer-limit replica 256mb 64mb 60\nnotify-keyspace-events KEA\nmaxmemory-clients 5%\nloadmodule /x.so A 1";
        let running = [
            ("port", "6379"),
            ("bind", "* -::*"),
            ("logfile", ""),
            ("save", "900 1 300 10 60 10000"),
            ("maxmemory", "104857600"),
            ("appendonly", "yes"),
            ("dir", "/data"),
            ("client-output-buffer-limit", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"),
            ("notify-keyspace-events", "AKE"),
            ("maxmemory-clients", "5%"),
        ];
        assert_eq!(compare(file, &running), Vec::<String>::new());
        assert_eq!(compare("save 900 1\nsave \"\"\nport 1\nport 2", &[("save", ""), ("port", "2")]), Vec::<String>::new());
    }

    #[test]
    fn a_difference_shows_both_values() {
        assert_eq!(compare("maxmemory 1g", &[("maxmemory", "1073741824")]), ["`maxmemory` is `1073741824`, the file says `1g`"]);
        assert_eq!(compare("save 900 1", &[("save", "900 1 300 10")]), ["`save` is `900 1 300 10`, the file says `900 1`"]);
        assert_eq!(compare("appendonlyy yes", &[]), ["the file sets `appendonlyy`, which the server does not know"]);
        let limits = [("client-output-buffer-limit", "normal 0 0 0 slave 1 1 1 pubsub 0 0 0")];
        assert_eq!(compare("client-output-buffer-limit normal 1 0 0", &limits).len(), 1);
    }

    #[test]
    fn what_refuses_clients_counts_though_the_file_does_not_name_it() {
        let undeclared = [("min-replicas-to-write", "1"), ("proto-max-bulk-len", "1048576"), ("maxmemory", "0"), ("port", "1")];
        assert_eq!(
            compare("", &undeclared),
            [
                "`min-replicas-to-write` is `1`, and the file does not say so",
                "`proto-max-bulk-len` is `1048576`, and the file does not say so"
            ]
        );
        // The older name of the same setting.
        assert_eq!(compare("min-slaves-to-write 1\nproto-max-bulk-len 1mb", &undeclared).len(), 1, "unknown to this server");
        let usual = [("client-query-buffer-limit", "1073741824"), ("proto-max-bulk-len", "536870912"), ("timeout", "0")];
        assert_eq!(compare("", &usual), Vec::<String>::new());
    }

    fn drift(file: Option<&[&str]>, users: &[&str]) -> Vec<String> {
        let user = |rules: &&str| {
            let mut words = rules.split(' ').map(str::to_owned);
            User { name: words.next().unwrap(), rules: words.collect() }
        };
        let file = file.map(|lines| lines.iter().map(ToString::to_string).collect());
        let requirepass = if file.is_some() { Requirepass::Same } else { Requirepass::None };
        let replies = Replies { users: Some(users.iter().map(user).collect()), file, requirepass, ..Replies::default() };
        let drift = super::users(&replies, "KEY");
        let changed = drift.changed.iter().map(|(name, what)| format!("{name} {what}"));
        let open = drift.open.iter().map(|name| format!("{name} open"));
        let extra = drift.extra.iter().map(|name| format!("{name} extra"));
        drift.default.map(|what| format!("default {what}")).into_iter().chain(open).chain(extra).chain(changed).collect()
    }

    #[test]
    fn users_are_compared_with_their_line_or_named_without_a_file() {
        const FINE: &str = "default on # ~* &* +@all";
        let declared = "user app on # ~* &* +@all";
        let of = |line: &str, users: &[&str]| drift(Some(&["port 1", line]), &[&[FINE], users].concat());
        let none = Vec::<String>::new();
        assert_eq!(of(declared, &["app on sanitize-payload # ~* &* +@all"]), none);
        assert_eq!(of("user app on nopass ~*", &["app on nopass ~* -@all"]), none, "declared as open");
        assert_eq!(of("user app nopass # ! # off", &["app off # resetchannels -@all"]), none);
        assert_eq!(of("user app ?", &["app on nopass"]), none, "quoted rules");
        for (is, what) in [
            (&["app on nopass ~* &* +@all"][..], "app needs no password"),
            (&["app on # # ~* &* +@all"], "app has other passwords"),
            (&["app off # ~* &* +@all"], "app is off"),
            (&["app on # ~* &* +@all -get"], "app may not do everything"),
            (&[], "app was removed"),
        ] {
            assert_eq!(of(declared, is), [what], "{is:?}");
        }
        assert_eq!(of("user app off #", &["app on # -@all"]), ["app is on"]);
        assert_eq!(of("user app on nopass reset on #", &["app on nopass -@all"]), ["app needs no password"]);
        // Without a file, only an open door is known to be wrong.
        assert_eq!(drift(None, &["default on nopass +@all", "guest on nopass +@all", "app on # +@all"]), ["guest open"]);
    }

    #[test]
    fn a_replica_is_one_that_its_file_does_not_declare() {
        let of = |role: &str, file: Option<&str>| {
            let info = [("role", role), ("master_host", "198.18.0.9"), ("master_port", "6379")];
            let info = info.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            replica_of(&Replies { info, file: file.map(|line| vec![line.to_owned()]), ..Replies::default() })
        };
        assert_eq!(of("slave", None).unwrap(), "198.18.0.9:6379");
        assert_eq!(of("slave", Some("port 1")).unwrap(), "198.18.0.9:6379");
        assert_eq!(of("slave", Some("ReplicaOf 198.18.0.9 6379")), None);
        assert_eq!(of("master", None), None);
    }

    #[test]
    fn huge_numbers_and_unclosed_quotes_are_handled() {
        assert_eq!(
            compare("maxmemory 99999999999999999999gb\nlogfile \"open", &[("maxmemory", "0"), ("logfile", "open")]).len(),
            1
        );
    }
}
