//! Templates that would take all of the machine, and those that are only long.

use std::time::Instant;

use serde_json::json;

use super::*;
use crate::{controller::Limits, source::Span, template::worked};

/// The test that renders for the others.
pub(super) const WORKER: &str = "template::bounded::tests::a_process_renders_one_template_after_the_other";

fn renderer(milliseconds: u64) -> Renderer {
    let limits = Limits { rendering: Duration::from_millis(milliseconds), ..Limits::default() };
    Renderer::new(Arc::new(Controller { limits, ..Controller::default() }))
}

fn values(value: Value) -> Values<'static> {
    let Value::Object(own) = value else { panic!("{value}") };
    own.into()
}

fn file(text: &str) -> Template {
    Template::file("a.tera", text, &mut |_| None).unwrap()
}

/// Returns the message, and the text at its place.
fn problem(renderer: &Renderer, text: &str, with: Value) -> (String, String) {
    let problem = renderer.render(&file(text), &values(with)).unwrap_err();
    (problem.message, text[problem.range].to_owned())
}

#[test]
fn a_process_renders_one_template_after_the_other() {
    if std::env::var_os(RENDER).is_some() {
        return serve(io::stdin().lock(), io::stdout().lock()).unwrap();
    }
    let renderer = renderer(20_000);
    let pid = || renderer.idle.lock().unwrap().last().map(|worker| worker.child.id());
    let text = Template::text("{{ [x * 2 for x in list] }}").unwrap();
    assert_eq!(renderer.render(&text, &values(json!({"list": [1, 2.5]}))).unwrap(), json!([2, 5.0]));
    let first = pid();
    assert!(first.is_some(), "it was rendered elsewhere");
    let shell = Template::shell("echo {% for x in list %}{{ x }} {% endfor %}").unwrap();
    assert_eq!(renderer.render(&shell, &values(json!({"list": ["a b", "$c"]}))).unwrap(), json!("echo 'a b' '$c' "));
    let condition = Template::expression("list | join(sep='') == 'ab'").unwrap();
    assert_eq!(renderer.render(&condition, &values(json!({"list": ["a", "b"]}))).unwrap(), json!(true));
    let include = &mut |name: &str| (name == "b.tera").then(|| "{{ x }}!".to_owned());
    let included = Template::file("a.tera", "{% include 'b.tera' %}", include).unwrap();
    assert_eq!(renderer.render(&included, &values(json!({"x": "ü"}))).unwrap(), json!("ü!"));
    let missing = renderer.render(&file("{% for x in list %}{{ x.y }}{% endfor %}"), &values(json!({"list": [{}]}))).unwrap_err();
    assert_eq!((missing.range, missing.file), (24..25, 0), "{}", missing.message);
    assert_eq!(pid(), first, "one process");
    // Cheap things need none.
    let other = renderer_without_program();
    assert_eq!(other.render(&file("{{ x }} for you"), &values(json!({"x": 1}))).unwrap(), json!("1 for you"));
    let message = other.render(&text, &values(json!({"list": []}))).unwrap_err().message;
    assert_eq!(message, "the process that renders cannot be started: No such file or directory (os error 2)");
}

#[test]
fn a_shared_value_is_sent_to_a_process_once_and_another_in_its_place_is_sent_again() {
    let renderer = renderer(20_000);
    let template = file("{% for x in all.a %}{{ x }}{% endfor %}");
    let render = |shared: &Arc<Shared>| {
        let mut values = Values::default();
        values.share("all", shared);
        let mut text = Value::Null;
        let sent = worked(|| text = renderer.render(&template, &values).unwrap());
        (text, sent)
    };
    let long = |first: &str| Arc::new(Shared::new(json!({"a": [first, 2], "b": "x".repeat(100_000)})));
    let (one, other) = (long("1"), long("3"));
    let (text, sent) = render(&one);
    assert_eq!(text, json!("12"));
    assert!(sent > 100_000, "{sent}");
    let (text, sent) = render(&one);
    assert_eq!(text, json!("12"));
    assert!(sent < 1000, "it was sent again: {sent}");
    assert_eq!(render(&other).0, json!("32"));
    // A process that takes the place of one that has ended has nothing yet.
    renderer.idle.lock().unwrap().last_mut().unwrap().child.kill().unwrap();
    renderer.idle.lock().unwrap().last_mut().unwrap().child.wait().unwrap();
    assert_eq!(render(&other).0, json!("32"));
}

#[test]
fn a_plain_template_takes_a_large_shared_value_without_a_process() {
    let renderer = renderer_without_program();
    let shared = Arc::new(Shared::new(json!({"a": {"b": "c"}, "long": "x".repeat(100_000)})));
    let mut values = Values::default();
    values.share("all", &shared);
    values.insert("key", json!("a"));
    let part = Template::text("{{ all[key]?.b | default(value='') }}").unwrap();
    assert_eq!(renderer.render(&part, &values).unwrap(), json!("c"));
    let growing = Template::text("{{ all | to_json }}").unwrap();
    assert!(renderer.render(&growing, &values).is_err(), "it needs a process");
    let own = json!({"all": shared.value(), "key": "a"});
    assert!(renderer.render(&part, &self::values(own)).is_err(), "a value of its own is converted for each template");
}

fn renderer_without_program() -> Renderer {
    Renderer::new(Arc::new(Controller { renderer: "/nowhere".into(), ..Controller::default() }))
}

#[test]
fn what_never_ends_is_ended_and_the_next_template_is_rendered() {
    let renderer = renderer(1000);
    let began = Instant::now();
    let loops = "{% for i in range(end=10000) %}{% for j in range(end=100000) %}{% endfor %}{% endfor %}";
    assert_eq!(problem(&renderer, loops, json!({})), ("rendering took longer than 1 s".into(), "for".into()));
    let comprehension =
        "a\n{{ [x for x in range(end=100000) if [y for y in range(end=100000) if y < 0] | length > 0] | length }}";
    assert_eq!(problem(&renderer, comprehension, json!({})), ("rendering took longer than 1 s".into(), "for".into()));
    let alike = "{% set a = [1] %}{% set b = [1] %}".to_owned() + &"{% set a = [a, a] %}{% set b = [b, b] %}".repeat(40);
    assert_eq!(problem(&renderer, &(alike + "{% if a == b %}x{% endif %}"), json!({})).0, "rendering took longer than 1 s");
    let quadratic = Template::expression("list | unique | length").unwrap();
    let list: Vec<u32> = (0..100_000).collect();
    let message = renderer.render(&quadratic, &values(json!({"list": list}))).unwrap_err().message;
    assert_eq!(message, "rendering took longer than 1 s");
    assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
    let after = renderer.render(&file("{% for x in l %}{{ x }}{% endfor %}"), &values(json!({"l": [1, 2]})));
    assert_eq!(after.unwrap(), json!("12"));
}

#[test]
fn what_takes_all_memory_is_ended() {
    let renderer = renderer(20_000);
    let doubled = "{% set_global s = 'xxxxxxxx' %}".to_owned() + &"{% set_global s = s ~ s %}".repeat(30);
    let much = "rendering needs more than 128 MiB of memory, or nests too deeply";
    assert_eq!(problem(&renderer, &doubled, json!({})), (much.into(), "set_global".into()));
    let looped = "{% set s = 'x' %}{% for i in range(end=40) %}{% set_global s = s ~ s %}{% endfor %}";
    assert_eq!(problem(&renderer, looped, json!({})).0, much);
    let nested = "{% set_global a = [] %}{% for i in range(end=100000) %}{% set_global a = [a] %}{% endfor %}x";
    assert_eq!(problem(&renderer, nested, json!({})).0, much);
    let replaced = "{{ s | replace(from='x', to=s) | length }}";
    assert_eq!(problem(&renderer, replaced, json!({"s": "x".repeat(60_000)})).0, much);
}

#[test]
fn more_text_than_sixteen_mebibytes_is_refused_and_as_much_is_made() {
    let renderer = renderer(60_000);
    let text = "{% for i in range(end=n) %}{{ piece }}{% endfor %}";
    let with = |n: usize| json!({"n": n, "piece": "x".repeat(1 << 20)});
    let long = ("the template makes more than 16 MiB of text".to_owned(), "for".to_owned());
    assert_eq!(problem(&renderer, text, with(17)), long);
    assert_eq!(renderer.render(&file(text), &values(with(16))).unwrap().as_str().unwrap().len(), 16 << 20);
    let list = Template::text("{{ [piece for i in range(end=20)] }}").unwrap();
    assert_eq!(renderer.render(&list, &values(with(1))).unwrap_err().message, long.0);
    let shared = "{% set a = ['x'] %}".to_owned() + &"{% set a = [a, a] %}".repeat(40) + "{{ a | to_json }}";
    assert!(problem(&renderer, &shared, json!({})).0.contains("MiB"));
}

#[test]
fn a_message_has_the_place_in_the_file() {
    let source =
        crate::source::SourceFile::new("templates/a/b.tera", "one\ntwo {% for i in range(end=100000) %}{{ x }}{% endfor %}");
    let problem = renderer(20_000).render(&file(&source.text), &values(json!({"x": "y".repeat(1000)}))).unwrap_err();
    assert_eq!(Span::new(&source, problem.range).to_string(), "templates/a/b.tera:2:8");
}
