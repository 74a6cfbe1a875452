use std::process::Command;

use proptest::prelude::*;
use serde_json::{Value, json};
use tera::Context;

use super::super::Template;

fn rendered(text: &str, values: &Value) -> String {
    let template = Template::shell(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
    let rendered = template.render(&Context::from_serialize(values).unwrap());
    rendered.unwrap_or_else(|problem| panic!("{text}: {problem:?}")).as_str().unwrap().to_owned()
}

/// Returns the marked part and the message of a text that is refused before it is rendered.
fn refused(text: &str) -> (String, String) {
    let problems = Template::shell(text).err().unwrap_or_else(|| panic!("accepted: {text}"));
    (text[problems[0].range.clone()].to_owned(), problems[0].message.clone())
}

#[test]
fn a_value_that_could_be_code_is_refused_at_its_place() {
    let x = "{{ x }}";
    for (text, reason) in [
        ("{{ x }}", "whole command"),
        (" {{ x }} ", "whole command"),
        ("true; {{ x }}", "whole command"),
        ("true\n{{ x }}\n", "whole command"),
        ("A=b {{ x }} >f", "whole command"),
        ("if true; then {{ x }}; fi", "whole command"),
        ("echo $({{ x }})", "whole command"),
        ("{ {{ x }}; }", "whole command"),
        ("echo '{{ x }}'", "inside `'…'`"),
        ("echo \"{{ x }}\"", "inside `\"…\"`"),
        ("echo \"a $(b \"{{ x }}\")\"", "inside `\"…\"`"),
        ("echo $'{{ x }}'", "inside `$'…'`"),
        ("echo `b {{ x }}`", "inside backticks"),
        ("echo ${a:-{{ x }}}", "inside `${…}`"),
        ("echo \"${a:-{{ x }}}\"", "inside `${…}`"),
        ("echo $((1 + {{ x }}))", "inside `$((…))`"),
        ("((1 + {{ x }}))", "inside `((…))`"),
        ("echo a # {{ x }}", "comment"),
        ("echo $(b # {{ x }}\n)", "comment"),
        ("cat <<EOF\n{{ x }}\nEOF\n", "here-document"),
        ("cat <<'EOF'\n{{ x }}\nEOF\n", "here-document"),
        ("cat <<-A <<B\n\tA\n{{ x }}\nB\n", "here-document"),
        ("cat <<{{ x }}\na\n", "end of a here-document"),
        ("echo \\{{ x }}", "right after `\\`"),
        ("echo ${{ x }}", "right after `$`"),
        ("{{ x }}() { true; }", "before `(`"),
        ("echo a; {{ x }} () { true; }", "before `(`"),
        ("for {{ x }} in a; do true; done", "as a name"),
        ("[[ {{ x }} -eq 1 ]]", "evaluates"),
        ("sh -c {{ x }}", "script of `sh -c`"),
        ("sudo -u postgres $SHELL -c {{ x }}", "script of `SHELL -c`"),
        ("/bin/${S} -c {{ x }}", "script of ` -c`"),
        ("csh -c {{ x }}", "script of `csh -c`"),
        ("bash5 -c {{ x }}", "script of `bash5 -c`"),
        ("sg group -c {{ x }}", "code of `sg -c`"),
        ("autossh host {{ x }}", "command of `ssh HOST`"),
        ("su --comm={{ x }}", "code of `su -c`"),
        ("env --split={{ x }}", "code of `env -S`"),
        ("BASH_ENV={{ x }} bash file", "`BASH_ENV`"),
        ("export PS4={{ x }}", "`PS4`"),
        ("a[{{ x }}]=1", "subscript"),
        ("compgen -W {{ x }}", "evaluates"),
        ("/bin/bash -euc {{ x }}", "script of `bash -c`"),
        ("\"sh\" -c {{ x }}", "script of `sh -c`"),
        ("s\\h -e -c echo\\ {{ x }}", "script of `sh -c`"),
        ("sh -o errexit -c {{ x }}", "script of `sh -c`"),
        ("env A=b sh -c {{ x }}", "script of `sh -c`"),
        ("find . -print0 | xargs -0 sh -c {{ x }} sh", "script of `sh -c`"),
        ("docker exec c bash -lc {{ x }}", "script of `bash -c`"),
        ("\"$SHELL\" -c {{ x }}", "-c`"),
        ("echo $(sudo -u a sh -c {{ x }})", "script of `sh -c`"),
        ("eval {{ x }}", "`eval`"),
        ("eval a {{ x }}", "`eval`"),
        ("command eval a={{ x }}", "`eval`"),
        ("trap {{ x }} EXIT", "`trap`"),
        ("su a -c {{ x }}", "code of `su -c`"),
        ("su --command={{ x }} a", "code of `su -c`"),
        ("runuser -u a -c {{ x }}", "code of `runuser -c`"),
        ("flock f -c {{ x }}", "code of `flock -c`"),
        ("env -S {{ x }}", "code of `env -S`"),
        ("python3 -c {{ x }}", "code of `python3 -c`"),
        ("perl -ne {{ x }} f", "code of `perl -e`"),
        ("ssh h {{ x }}", "`ssh HOST`"),
        ("ssh -p 22 h cat {{ x }}", "`ssh HOST`"),
        ("ssh -o ProxyCommand={{ x }} h true", "that `ssh` runs"),
        ("watch -n 1 {{ x }}", "`watch`"),
        ("export {{ x }}", "name of a variable"),
        ("printf -v {{ x }} a", "name of a variable"),
        ("echo {% raw %}'{% endraw %}{{ x }}'", "inside `'…'`"),
        ("echo {# ' #}'{{ x }}{# ' #}'", "inside `'…'`"),
        ("echo {% for a in b %}'{{ x }}'{% endfor %}", "inside `'…'`"),
        ("eval \"$(echo {{ x }})\"", "`eval`"),
        ("sh -c \"$(printf %s {{ x }})\"", "script of `sh -c`"),
        ("sh {% if a %}-c{% endif %} {{ x }}", "script of `sh -c`"),
        ("sh {% for a in b %}-c {{ x }} {% endfor %}", "script of `sh -c`"),
    ] {
        let (marked, message) = refused(text);
        assert!(marked == x && message.contains(reason), "{text}: `{marked}` {message}");
    }
}

#[test]
fn a_value_that_reaches_the_input_of_a_shell_is_refused() {
    for (text, reason) in [
        ("printf {{ x }} | sh", "`sh` reads"),
        ("echo {{ x }} | bash -s", "`bash` reads"),
        ("echo {{ x }} | bash -s -- a b", "`bash` reads"),
        ("echo {{ x }} | sh -x -", "`sh` reads"),
        ("echo {{ x }} | bash /dev/stdin a", "`bash` reads"),
        ("echo {{ x }} | tr a b | sudo -u a sh", "`sh` reads"),
        ("echo {{ x }} |\n  sh", "`sh` reads"),
        ("echo {{ x }} | docker exec -i c bash", "`bash` reads"),
        ("echo {{ x }} | \"$SHELL\"", "`$SHELL` reads"),
        ("echo {{ x }} | su - postgres", "`su` reads"),
        ("echo {{ x }} | ssh -p 22 h", "`ssh` reads"),
        ("echo {{ x }} | ssh h sh", "`sh` reads"),
        ("curl -fsSL {{ x }} | sh", "`sh` reads"),
        ("{ echo a; echo {{ x }}; } | sh", "`sh` reads"),
        ("(echo {{ x }}) | sh", "`sh` reads"),
        ("for i in {{ x }}; do echo \"$i\"; done | sh", "`sh` reads"),
        ("case a in a) echo {{ x }};; esac | sh", "`sh` reads"),
        ("echo {{ x }} | { cd /; a | b; sh; }", "`sh` reads"),
        ("echo {{ x }} | (cd /; sh)", "`sh` reads"),
        ("echo {{ x }} | while true; do sh; done", "`sh` reads"),
        ("echo \"$(echo {{ x }} | sh)\"", "`sh` reads"),
        ("echo \"$(echo {{ x }})\" | sh", "`sh` reads"),
        ("sh <<<{{ x }}", "`sh` reads"),
        ("sh -s <<<\"$(echo {{ x }})\" a", "`sh` reads"),
        (". <(printf {{ x }})", "`.` reads"),
        ("source <(printf {{ x }})", "`source` reads"),
        ("echo {{ x }} | . /dev/stdin", "`.` reads"),
        ("bash <(printf {{ x }})", "`bash` reads"),
        ("bash < <(printf {{ x }})", "`bash` reads"),
        ("echo {{ x }} | tee >(sh)", "`sh` reads"),
        ("echo {{ x }} > >(sh)", "`sh` reads"),
        ("echo {{ x }} | xargs sh -c", "`sh` reads"),
        ("echo {{ x }} | xargs -I{} sh -c 'echo {}'", "`sh` reads"),
        ("echo {{ x }} | xargs -n 1 -I % sh -c 'echo %'", "`sh` reads"),
    ] {
        let (marked, message) = refused(text);
        assert!(marked == "{{ x }}" && message.contains(reason), "{text}: `{marked}` {message}");
    }
}

#[test]
fn no_text_with_values_runs_what_an_expansion_yields() {
    for text in [
        "A={{ x }}; eval $A",
        "A={{ x }}; eval \"run $A\"",
        "A={{ x }}; $A",
        "A={{ x }}; \"$A\"",
        "A={{ x }}; sh -c \"$A\"",
        "sh -c \"$1\" sh {{ x }}",
        "set -- {{ x }}; eval \"$1\"",
        "set -- {{ x }}; \"$@\"",
        "A={{ x }}; ssh host \"$A\"",
        "A={{ x }}; trap \"rm -f $A\" EXIT",
        "echo $(eval \"$B\") {{ x }}",
        "eval \"$(cat {{ x }})\"",
        "eval \"$(echo {{ x }})\"",
        "sh -c $(echo {{ x }})",
        "ssh h \"$(echo {{ x }})\"",
        "sh -c 'eval \"$1\"' sh {{ x }}",
        "sh -c 'eval $0' {{ x }}",
        "n={{ x }}; echo $((n + 1))",
        "n={{ x }}; echo $(($n + 1))",
    ] {
        let (marked, message) = refused(text);
        let why = ["which may be the value", "evaluates", "script of `sh -c`", "command of `ssh HOST`", "inside `$((…))`"];
        assert!(marked == "{{ x }}" && why.iter().any(|why| message.contains(why)), "{text}: {message}");
    }
    for text in [
        "A={{ x }}; trap 'rm -f \"$A\"' EXIT",
        "A={{ x }}; sh -c 'echo \"$1\"' sh \"$A\"",
        "A={{ x }}; bin=ls; $bin -l \"$A\"",
        "sh -c 'for i in \"$@\"; do echo \"$i\"; done' sh {{ x }}",
        "echo $((1 + 2)) {{ x }}",
        "docker exec {{ x }} redis-cli -c ping",
        "A={{ x }}; for i in $A; do echo $i; done",
        "set -- {{ x }}; [ -n \"$1\" ] && echo \"$(printf %s \"$1\")\"",
    ] {
        assert!(Template::shell(text).is_ok(), "{text}: {:?}", Template::shell(text).err());
    }
}

#[test]
fn text_that_cannot_be_understood_holds_no_values() {
    for (text, reason) in [
        ("echo {{ x }} '", "not closed"),
        ("echo {{ x }} $(", "not closed"),
        ("echo {{ x }} )", "closes nothing"),
        ("cat <<EOF {{ x }}\na", "not closed"),
        ("cat <<EOF\na \\\nEOF\necho {{ x }}\nEOF\n", "goes on"),
        ("cat <<EOF $(a\nb) {{ x }}\nEOF\n", "line break"),
        ("echo $'\\'' {{ x }}", "differently"),
        ("echo a &>f {{ x }}", "differently"),
        ("echo \"${a#'b'}\" {{ x }}", "differently"),
        ("echo $((true) ) {{ x }}", "`))`"),
        ("echo a=(b) {{ x }}", "`(`"),
        ("echo {{ x }} {% if a %}'{% endif %}b{% if a %}'{% endif %}", "branches"),
        ("echo {{ x }} {% for a in b %}'{% endfor %}", "body"),
        ("echo {{ x }} {% for a in b %}'{% break %}'{% endfor %}", "body"),
        ("echo {{ x }}{% filter upper %}a{% endfilter %}", "`{% filter %}`"),
        ("echo {% set a %}{{ x }}{% endset %}", "`{% set %}`"),
        ("echo {{ x }} \u{fdd0}", "reserved"),
    ] {
        let (_, message) = refused(text);
        assert!(message.contains(reason), "{text}: {message}");
    }
}

#[test]
fn rendered_values_are_checked_as_well() {
    let values = json!({"sh": "/bin/sh", "c": "-c", "x": "a", "list": ["a", "b"], "empty": [], "map": {"a": 1}, "nothing": null, "nested": [[1]],
        "script": ["sh", "-c"], "nul": "a\u{0}"});
    for (text, reason) in [
        ("{{ sh }} -c {{ x }} lit", "script of `sh -c`"),
        ("sh {{ c }} {{ x }} lit", "script of `sh -c`"),
        ("{{ script }} {{ x }} lit", "script of `sh -c`"),
        ("echo a{{ list }}", "glued"),
        ("echo {{ list }}b", "glued"),
        ("echo {{ empty }}b", "glued"),
        ("echo {{ list }}{{ x }}", "glued"),
        ("echo {{ x }}{{ list }}", "glued"),
        ("echo a >{{ list }}", "redirection"),
        ("A={{ list }}; true", "glued"),
        ("case {{ list }} in a) true;; esac", "one word"),
        ("{{ empty }} {{ x }}", "whole command"),
        ("echo {{ map }}", "a map"),
        ("echo {{ nothing }}", "nothing"),
        ("echo {{ nested }}", "list within a list"),
        ("echo {{ nul }}", "NUL"),
        ("echo {{ missing }}", "not defined"),
    ] {
        let problem = match Template::shell(text) {
            Ok(template) => template.render(&Context::from_serialize(&values).unwrap()).expect_err(text),
            Err(mut problems) => problems.remove(0),
        };
        assert!(problem.message.contains(reason), "{text}: {}", problem.message);
    }
}

#[test]
fn words_are_accepted_and_quoted_where_needed() {
    let values = json!({"x": "a b", "plain": "a", "n": 2, "on": true, "list": ["a", "b c", ""], "no_words": [], "empty": "", "word": "if", "fd": "2", "p": "%s", "c": "50%"});
    for (text, expected) in [
        ("echo {{ x }} {{ plain }} {{ n }} {{ on }} {{ empty }}", "echo 'a b' a 2 true ''"),
        ("echo {{ list }} {{ no_words }} x", "echo a 'b c' ''  x"),
        ("echo --dir={{ x }}/sub{{ plain }}", "echo --dir='a b'/suba"),
        ("echo 'it`s' \"$(cat \"$f\" {{ x }})\"", "echo 'it`s' \"$(cat \"$f\" 'a b')\""),
        ("{{ word }} lit", "'if' lit"),
        ("A={{ plain }} {{ word }}/bin lit", "A='a' 'if'/bin lit"),
        ("echo {{ fd }}>f", "echo '2'>f"),
        ("echo a >{{ plain }}", "echo a >'a'"),
        ("echo {{ p }} %{{ plain }} {{ c }}s", "echo '%''s' %'a' '50%'s"),
        (
            "case $(case a in b) echo {{ x }};; esac) in {{ plain }}) true;; esac",
            "case $(case a in b) echo 'a b';; esac) in 'a') true;; esac",
        ),
        ("sh -c 'echo \"$1\"' sh {{ x }}", "sh -c 'echo \"$1\"' sh 'a b'"),
        ("ssh -p {{ n }} {{ plain }} uptime", "ssh -p 2 a uptime"),
        ("useradd -s /bin/bash -c {{ x }} u", "useradd -s /bin/bash -c 'a b' u"),
        ("grep -c sh {{ plain }}", "grep -c sh a"),
        ("cat <<'EOF'\n`'\nEOF\necho {{ x }}", "cat <<'EOF'\n`'\nEOF\necho 'a b'"),
        ("{% if on %}x{% else %}y{% endif %}", "x"),
        ("{% if on %}echo \"a\"{% else %}true{% endif %} {{ x }}", "echo \"a\" 'a b'"),
        ("echo{% for a in list %} {{ a }}{% endfor %}", "echo a 'b c' ''"),
        ("{% set y = x ~ 1 %}echo {{ y | upper }}", "echo 'A B1'"),
        ("echo {% raw %}{{ x }}{% endraw %} {{ x }}", "echo {{ x }} 'a b'"),
        ("f() { echo {{ x }}; }; f", "f() { echo 'a b'; }; f"),
        ("printf {{ x }} | psql -d bash", "printf 'a b' | psql -d bash"),
        ("printf {{ x }} | redis-cli -x set a", "printf 'a b' | redis-cli -x set a"),
        ("printf {{ x }} | sudo tee /etc/a | grep -v sh", "printf 'a b' | sudo tee /etc/a | grep -v sh"),
        ("printf {{ x }} | sh -c 'cat >f'", "printf 'a b' | sh -c 'cat >f'"),
        ("printf {{ x }} | sh /opt/a.sh", "printf 'a b' | sh /opt/a.sh"),
        ("printf {{ x }} | ssh h 'cat >f'", "printf 'a b' | ssh h 'cat >f'"),
        ("printf {{ x }} | su - postgres -c psql", "printf 'a b' | su - postgres -c psql"),
        ("printf {{ x }} | runuser -u postgres -- psql", "printf 'a b' | runuser -u postgres -- psql"),
        ("printf {{ x }} | xargs -0 sh -c 'a \"$@\"' sh", "printf 'a b' | xargs -0 sh -c 'a \"$@\"' sh"),
        ("printf {{ x }} | xargs -I{} sh -c 'a \"$1\"' sh {}", "printf 'a b' | xargs -I{} sh -c 'a \"$1\"' sh {}"),
        ("printf {{ x }} | while read -r a; do b \"$a\"; done", "printf 'a b' | while read -r a; do b \"$a\"; done"),
        ("test {{ x }} || echo a | sh", "test 'a b' || echo a | sh"),
        ("echo {{ x }} | cat; sh <f", "echo 'a b' | cat; sh <f"),
        ("echo {{ x }} | (cat); sh f", "echo 'a b' | (cat); sh f"),
        ("echo {{ x }} | { cat; }; echo a | sh", "echo 'a b' | { cat; }; echo a | sh"),
        ("echo {{ x }} | cat && echo a | sh", "echo 'a b' | cat && echo a | sh"),
        ("echo a | sh; echo {{ x }}", "echo a | sh; echo 'a b'"),
        (". \"$(dirname {{ x }})/a.sh\"", ". \"$(dirname 'a b')/a.sh\""),
        ("psql <<<{{ x }}", "psql <<<'a b'"),
        ("diff <(a {{ x }}) b", "diff <(a 'a b') b"),
        ("echo \\\n  {{ x }}", "echo \\\n  'a b'"),
    ] {
        assert_eq!(rendered(text, &values), expected, "{text}");
    }
}

#[test]
fn shquote_quotes_as_its_argument_requires() {
    let text = |text: &str, x: &Value| Template::text(text).unwrap().render(&Context::from_serialize(&json!({"x": x})).unwrap());
    for (template, value, expected) in [
        ("-{{ x | shquote }}-", json!("a"), "-a-"),
        ("-{{ x | shquote }}-", json!("it's"), "-'it'\\''s'-"),
        ("-{{ x | shquote }}-", json!([1, "a b"]), "-1 'a b'-"),
        ("-{{ x | shquote(quotes='single') }}-", json!("a"), "-'a'-"),
        ("-{{ x | shquote(quotes='double') }}-", json!("a`$\"\\"), "-\"a\\`\\$\\\"\\\\\"-"),
    ] {
        assert_eq!(text(template, &value).unwrap(), json!(expected), "{template}");
    }
    let secret = crate::secret::SecretRef { host: "h".into(), name: "P".into() }.token(crate::secret::Encoding::Plain);
    for (value, reason) in [(json!({"a": 1}), "a map"), (json!(null), "nothing"), (json!(secret), "secret")] {
        assert!(text("-{{ x | shquote }}-", &value).unwrap_err().message.contains(reason), "{value}");
    }
}

/// Pieces of text that are hostile to shells, and arbitrary text.
pub(crate) fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "'",
        "\"",
        "`touch F`",
        "$(touch F)",
        ";touch F;",
        "\n touch F\n",
        "&touch F&",
        "|touch F",
        "\\",
        "$",
        "${",
        "}",
        "((",
        "))",
        "*",
        "?",
        "[a]",
        "~",
        "-c",
        "#",
        " ",
        "\t",
        "<",
        ">F",
        "!",
        "esac",
        "if",
        "EOF",
        "=",
        "A=b",
        "-",
        "%s",
        "%",
        "PATH=/",
        "{a,b}",
        "é",
    ]);
    prop_oneof![prop::collection::vec(pieces, 0..6).prop_map(|pieces| pieces.concat()), "[^\0]{0,24}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_real_shell_gets_each_value_unchanged_and_runs_nothing_else(x in hostile(), y in hostile(), list in prop::collection::vec(hostile(), 0..4)) {
        let values = json!({"x": x, "y": y, "list": list});
        let p = r"printf '%s\0'";
        let many = [vec!["a".to_owned()], list.clone(), vec!["b".to_owned()]].concat();
        let one = |text: String, expected: String| (text, vec![expected]);
        let places = [
            one(format!("{p} {{{{ x }}}}"), x.clone()),
            one(format!("{p} --dir={{{{ x }}}}/sub"), format!("--dir={x}/sub")),
            one(format!("{p} {{{{ x }}}}{{{{ y }}}}s"), format!("{x}{y}s")),
            one(format!("{p} {{{{{{ x }}}},b}}").replace("{{{ ", "{a{{ "), format!("{{a{x},b}}")),
            one(format!("{p} \"$(printf '%s.' {{{{ x }}}})\""), format!("{x}.")),
            one(format!("{p} \"$(printf '%s.' \"$(printf '%s,' a{{{{ x }}}})\")\""), format!("a{x},.")),
            one(format!("A={{{{ x }}}}; {p} \"$A\""), x.clone()),
            one("A={{ x }}{{ y }} sh -c 'printf \"%s\\0\" \"$A\"'".to_owned(), format!("{x}{y}")),
            one(format!("case {{{{ x }}}} in ({{{{ x }}}}) {p} same;; *) {p} other;; esac"), "same".to_owned()),
            one("sh -c 'printf \"%s\\0\" \"$1\"' sh {{ x }}".to_owned(), x.clone()),
            one(format!("f() {{ {p} \"$1\"; }}; f {{{{ x }}}}"), x.clone()),
            one(format!("{p} {{{{ x }}}} >&1"), x.clone()),
            one(format!("{{% if x == y %}}{p} {{{{ x }}}}{{% else %}}{p} {{{{ y }}}}{{% endif %}}"), y.clone()),
            (format!("{p} a {{{{ list }}}} b"), many.clone()),
            (format!("for i in a {{{{ list }}}} b; do {p} \"$i\"; done"), many.clone()),
            (format!("{p} a{{% for i in list %}} {{{{ i }}}}{{% endfor %}} b"), many),
        ];
        for (text, expected) in places {
            let shell_text = rendered(&text, &values);
            for shell in ["dash", "bash"] {
                let directory = tempfile::tempdir().unwrap();
                let output = Command::new(shell).arg("-c").arg(&shell_text).current_dir(directory.path()).output().unwrap();
                let words: Vec<u8> = expected.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
                // bash expands the braces of that place's literal text.
                if !(shell == "bash" && text.contains(",b}")) {
                    prop_assert_eq!(String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&words), "{}: {}", shell, shell_text);
                }
                prop_assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "{}: {}", shell, shell_text);
            }
        }
    }
}

#[test]
fn what_nests_too_deeply_is_refused_and_a_long_command_is_read_to_its_end() {
    let (place, message) = refused(&format!("{}{{{{ x }}}}", "\"$(".repeat(60)));
    assert_eq!((place.as_str(), message.as_str()), ("$", "quotes and brackets that are nested deeper than 100 levels"));
    let long = |end: &str| format!("echo {}; sh {} {end}", "$a ".repeat(10_000), "-x ".repeat(5000));
    assert_eq!(refused(&long("-c {{ x }}")).1, "a value as the script of `sh -c`");
    assert!(Template::shell(&long("-c 'echo' {{ x }}")).is_ok());
}
