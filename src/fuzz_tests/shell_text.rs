//! Shell text with values: the lexer that says where a value may stand.

use super::{
    Target,
    spans::{check_problems, check_text},
};
use crate::{
    shell::{Lexer, Words, code_in_words},
    template::{Template, program},
};

const PUMPS: &[(&str, &str, &str)] = &[
    ("echo ", "$a ", "{{ x }}"),
    ("", "sh -o ", "{{ x }}"),
    ("{{ x }} | ", "sh -o ", ""),
    ("echo ", "a ", "{{ x }}"),
    ("echo ", "{{ x }} ", ""),
    ("", "\"$(", ""),
    ("", "${a:-", ""),
    ("", "( ", ""),
    ("cat ", "<<A ", "\n{{ x }}"),
    ("cat <<A\n", "x\n", "A\n{{ x }}"),
    ("", "{ ", "{{ x }}"),
    ("", "case x in ", "{{ x }}"),
    ("", "a-=", "{{ x }}"),
    ("", "{% if a %}x{% endif %}\n", "{{ x }}"),
    ("", "{% for a in b %}", "{{ x }}"),
    ("", "-c ", "{{ x }}"),
];

#[test]
fn fuzz_shell_text() {
    let words = &[
        "{{ x }}",
        " {{ x }} ",
        "$(",
        "$((",
        "))",
        "${x:-",
        "<<EOF\n",
        "\nEOF\n",
        "<<-'E'\n",
        "<<<",
        "<(",
        "|",
        "||",
        "&&",
        ";;",
        "case x in ",
        "esac",
        "for i in ",
        "do ",
        "done",
        "if ",
        "fi",
        "sh -c ",
        "eval ",
        "ssh h ",
        "xargs -I{} ",
        "sh -o ",
        "'",
        "\"",
        "\\\n",
        "{% if a %}",
        "{% else %}",
        "{% endif %}",
        "{% for a in b %}",
        "{% endfor %}",
        "$x ",
        "a=",
        "[ ",
        "# ",
        "{ ",
        "} ",
    ];
    Target { name: "shell_text", words, pumps: PUMPS, property }.fuzz();
}

fn property(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Err(problems) = Template::shell(&text) {
        check_problems(&problems, &text);
    }
    let problems = program(&text);
    if !problems.is_empty() {
        check_problems(&problems, &text);
    }
    // How the text is cut makes no difference.
    let cut = text.floor_char_boundary(text.len() / 2);
    let (mut whole, mut halves) = (Lexer::new(), Lexer::new());
    let read = whole.text(&text);
    let second = halves.text(&text[..cut]).and_then(|()| halves.text(&text[cut..]).map_err(|(at, refusal)| (cut + at, refusal)));
    assert_eq!(read, second);
    match read {
        Ok(()) => {
            assert!(whole == halves, "the states differ");
            if let Err(refusal) = whole.value(7, Words::Unknown).map(drop).and_then(|()| whole.finish()) {
                assert!(refusal.value.is_none_or(|number| number == 7));
                check_text(&refusal.message);
                check_text(&refusal.help);
            }
        }
        Err((at, refusal)) => {
            assert!(text.is_char_boundary(at) && at < text.len(), "{at}");
            check_text(&refusal.message);
        }
    }
    // Words of a program and its arguments, every second of which holds a value.
    let words: Vec<(String, bool)> = text.split(' ').enumerate().map(|(at, word)| (word.to_owned(), at % 2 == 1)).collect();
    if let Some((at, refusal)) = code_in_words(&words) {
        assert!(words[at].1);
        check_text(&refusal.message);
    }
}
