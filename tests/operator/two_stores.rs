//! Two installations in one cluster: the second founds nothing beside the first by mistake, both work side by side when
//! they are told how, and two that live on the same JoinTokens all the same do each other no harm.

use serde_json::json;

use crate::place::Place;
use crate::program::Machine;
use crate::server::{Server, Setup};

/// The operator of `second`, which serves the JoinTokens of `first`.
pub fn beside(first: &Place, second: &Place, more: &[&str]) -> Setup {
    let setup = second.setup_with(more);
    let own = &second.tokens.namespace;
    let arguments = setup
        .arguments
        .iter()
        .map(|argument| match argument == own {
            true => first.tokens.namespace.clone(),
            false => argument.clone(),
        });
    Setup {
        arguments: arguments.collect(),
        ..setup
    }
}

/// The same, of all namespaces.
fn everywhere(setup: Setup) -> Setup {
    let mut arguments = setup.arguments.clone();
    let at = arguments.iter().position(|it| it == "--namespace").unwrap();
    arguments.drain(at..at + 2);
    Setup { arguments, ..setup }
}

/// The id of the store that has issued the token of this JoinToken.
pub async fn store_of(place: &Place, name: &str) -> String {
    let resource = place.resources().get(name).await.unwrap();
    resource.status.unwrap().store_id.expect("a store's id")
}

/// How many statuses an operator has written.
fn written(server: &Server) -> u64 {
    let (_, metrics) = server.get("/metrics").expect("metrics");
    let name = "jointoken_controller_effects_total{effect=\"write_status\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn a_second_operator_founds_nothing_beside_the_first_unless_that_one_is_gone_for_good() {
    let (first, second) = (Place::new("beside").await, Place::new("beside-too").await);
    let operator = first.start();
    let live = first.issue("live", json!({})).await;
    let used = first.issue("used", json!({})).await;
    Machine::new().join(&used).ok();
    first.wait_for_phase("used", "Consumed").await;
    let store = store_of(&first, "live").await;

    let says = [
        "no store is founded here",
        &format!("JoinToken {}/", first.tokens.namespace),
        &format!("like 1 more, is of store {store}"),
        "--class or --namespace",
        &format!("--take-over {store}"),
    ];
    beside(&first, &second, &[]).run().fails(1, &says);
    // Another store than the one that is told of does not help.
    let wrong = ["--take-over", &"7".repeat(32)];
    beside(&first, &second, &wrong).run().fails(1, &says);
    beside(&first, &second, &["--take-over", "seven"])
        .run()
        .code
        .filter(|code| *code == 2)
        .expect("a usage error");
    assert!(!second.data().join("identity").exists());
    let keys = second.keys().list(&Default::default()).await.unwrap();
    assert_eq!(keys.items.len(), 0, "keys were made");
    first.wait_for_phase("live", "Issued").await;
    assert_eq!(first.token("live").await, live);
    let late = first.issue("late", json!({})).await;
    Machine::new().join(&late).ok();
    first.wait_for_phase("late", "Consumed").await;

    // The first is gone for good, and the second is told so.
    operator.kill();
    let taking_over = beside(&first, &second, &["--take-over", &store]);
    let operator = taking_over.start();
    first.wait_for("live", "Ready", "False", "Restored").await;
    first.wait_for("used", "Ready", "False", "Restored").await;
    let status = first
        .wait_for_phase("used", "Consumed")
        .await
        .status
        .unwrap();
    assert!(status.consumed_at.is_some());
    let successor = store_of(&first, "live").await;
    assert_ne!(successor, store);
    assert!(operator.terminate().0.success());
    // It is written down: the flag is needed once.
    let operator = beside(&first, &second, &[]).start();
    first.patch("live", json!({"revision": 2})).await;
    first.wait_for_phase("live", "Issued").await;
    Machine::new().join(&first.token("live").await).ok();
    first.wait_for_phase("live", "Consumed").await;
    assert!(operator.terminate().0.success());
    first.remove().await;
    second.remove().await;
}

#[tokio::test]
async fn with_classes_two_operators_serve_the_whole_cluster_side_by_side() {
    let (first, second) = (Place::new("blue").await, Place::new("green").await);
    let [blue, green] = [&first, &second].map(|place| place.tokens.namespace.clone());
    let operators = [
        everywhere(first.setup_with(&["--class", &blue])).start(),
        // There are JoinTokens of the other class by then, and they count for nothing.
        {
            first.issue("one", json!({"className": blue})).await;
            everywhere(second.setup_with(&["--class", &green])).start()
        },
    ];
    // In the other one's namespace, too.
    for place in [&first, &second] {
        for class in [&blue, &green] {
            let name = format!("of-{class}");
            let token = place
                .issue(&name, json!({"className": class, "nodeName": "n"}))
                .await;
            Machine::new().join(&token).ok();
            place.wait_for_phase(&name, "Consumed").await;
        }
    }
    let of_blue = store_of(&first, &format!("of-{blue}")).await;
    let of_green = store_of(&first, &format!("of-{green}")).await;
    assert_ne!(of_blue, of_green);
    assert_eq!(store_of(&first, "one").await, of_blue);
    assert_eq!(store_of(&second, &format!("of-{blue}")).await, of_blue);
    let own = operators.map(|operator| {
        let said = operator.log();
        assert!(operator.terminate().0.success());
        said.contains("another store's")
    });
    assert_eq!(own, [false, false], "nothing is another store's");
    first.remove().await;
    second.remove().await;
}

#[tokio::test]
async fn two_that_live_on_the_same_join_tokens_do_each_other_no_harm() {
    let (first, second) = (Place::new("overlap").await, Place::new("overlap-too").await);
    // Neither has anything to tell of when it is founded.
    let operators = [first.start(), beside(&first, &second, &[]).start()];
    let names = ["n1", "n2", "n3", "n4"];
    for name in names {
        first.create(name, json!({})).await;
    }
    let mut tokens = Vec::new();
    for name in names {
        first.wait_for_phase(name, "Issued").await;
        tokens.push(first.token(name).await);
    }
    // Each is said to be the other's by whoever leaves it alone.
    for name in names {
        let events = first.wait_for_events(name, &["OfAnotherStore"]).await;
        assert!(events.len() <= 3, "{events:#?}");
    }
    let said = operators.each_ref().map(Server::log);
    let said = said.iter().flat_map(|log| log.lines());
    assert_eq!(
        said.filter(|line| line.contains("is left alone")).count(),
        4
    );
    for (name, token) in names.into_iter().zip(&tokens) {
        assert_eq!(first.token(name).await, *token, "{name} was ended");
        Machine::new().join(token).ok();
        first.wait_for_phase(name, "Consumed").await;
    }
    // Two or three for each: issued, claimed, used.
    let written: u64 = operators.iter().map(written).sum();
    assert!(
        (8..=16).contains(&written),
        "{written} statuses were written"
    );
    for operator in operators {
        assert!(operator.terminate().0.success());
    }
    first.remove().await;
    second.remove().await;
}
