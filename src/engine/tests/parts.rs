//! Parts of a run that follow each other on a held node.

use super::*;

/// The statuses of what is predicted for one role of the host.
fn statuses(prediction: &Prediction) -> Vec<(&str, Status)> {
    prediction.items.iter().map(|work| (work.item.id.as_str(), work.predicted.status)).collect()
}

#[test]
fn a_part_sees_what_an_earlier_part_has_changed_on_the_same_connection() {
    let roles = [
        (
            "first",
            "tasks:
  - {name: Make, copy: {content: made, dest: DIR/made}}
  - {name: Aside, command: {cmd: printf x >DIR/aside; touch DIR/done, creates: DIR/done}}
",
        ),
        (
            "second",
            "tasks:
  - {name: Look, command: {cmd: cat DIR/made || echo none, reads: true}, register: seen}
  - {name: Follow, copy: {content: \"{{ seen.stdout }}\", dest: DIR/seen}}
  - {name: Same, copy: {content: x, dest: DIR/aside}}
health:
  - {name: Seen, read: {command: {argv: [grep, -x, made, DIR/seen], reads: true}}}
",
        ),
    ];
    let scratch = Scratch::with_roles(&roles);
    let whole = scratch.host();
    let part = |name: &str| {
        let mut host = scratch.host();
        host.roles.retain(|role| role.name == name);
        host
    };
    let events = HostEvents::new("node", Sink::new("r1".parse().unwrap(), jiff::Timestamp::now));
    let (_handle, stop) = stop();
    let (provided, shared) = (SecretValues::default(), SharedSecrets::default());
    let inputs = |plan| HostInputs { plan, provided: &provided, shared: &shared };
    let (first, second) = (part("first"), part("second"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut node = scratch.node();
        // Everything is asked at once, as a deploy does. What the second part asks has another answer later.
        node.ask(&first_round(&whole, Scope::Everything).unwrap(), &mut |_: &str| {}).await.unwrap();
        let Ok(prediction) = node.predict(&inputs(&first), &events).await else { panic!() };
        assert_eq!(statuses(&prediction), [("first/Make", Status::Changed), ("first/Aside", Status::Changed)]);
        assert_eq!(node.traffic().round_trips, 1, "what was asked is not asked again");
        let Ok(applied) = node.apply(prediction, &events, &stop, None).await else { panic!() };
        assert_eq!(applied.end.result.status(), HostStatus::Changed);

        // A check asks for less than a prediction needs: what was answered before the change does not count.
        let Ok(checkup) = node.check(&inputs(&second), &events).await else { panic!() };
        assert_eq!(node.exercise(checkup, false, &events).await.status(), HostStatus::Failed);
        let Ok(prediction) = node.predict(&inputs(&second), &events).await else { panic!() };
        assert_eq!(statuses(&prediction)[1], ("second/Follow", Status::Changed));
        assert_eq!(statuses(&prediction)[2], ("second/Same", Status::Ok));
        let Ok(_) = node.apply(prediction, &events, &stop, None).await else { panic!() };
        assert_eq!(scratch.read("seen").as_deref(), Some("made"));

        let Ok(checkup) = node.check(&inputs(&second), &events).await else { panic!() };
        assert_eq!(node.exercise(checkup, false, &events).await.status(), HostStatus::Ok);
        let said = node.run(&crate::script::Script::new("echo $1").arg("still here"), &mut |_: &str| {}).await.unwrap();
        assert_eq!(said[0].stdout, b"still here\n");
        node.let_go().await;
    });
}
