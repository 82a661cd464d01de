//! The other ways in which a token ends, and what comes after its end. One operator for all of them.

use std::process::Command;

use futures::join;
use serde_json::json;

use crate::cluster::variable;
use crate::place::Place;
use crate::program::{Machine, finish, id_of};

#[tokio::test]
async fn tokens_expire_are_revoked_deleted_adopted_and_replaced() {
    let place = Place::new("ends").await;
    let operator = place.start();
    join!(
        expired(&place),
        expired_and_to_be_issued_again(&place),
        revoked(&place),
        revoked_after_its_use(&place),
        deleted_while_live(&place),
        deleted_after_its_use(&place),
        superseded(&place),
        of_a_lower_revision(&place),
    );
    assert!(operator.terminate().0.success());
    place.remove().await;
}

async fn expired(place: &Place) {
    let token = place.issue("late", json!({"ttlSeconds": 60})).await;
    place.wait_for_phase("late", "Expired").await;
    place.wait_for("late", "Ready", "True", "Expired").await;
    place
        .wait_for("late", "Succeeded", "False", "Expired")
        .await;
    Machine::new()
        .join(&token)
        .fails(4, &["the token has expired"]);
    assert!(place.secret("late").await.is_none());
    place.wait_for_events("late", &["Issued", "Expired"]).await;
}

async fn expired_and_to_be_issued_again(place: &Place) {
    let spec = json!({"ttlSeconds": 60, "reissuePolicy": "WhenUnused"});
    place.issue("later", spec).await;
    place.wait_for_phase("later", "Expired").await;
    let message = place
        .wait_for("later", "Ready", "True", "ReissueDelayed")
        .await;
    assert!(message.contains("it will be issued again at"), "{message}");
}

async fn revoked(place: &Place) {
    let token = place.issue("regretted", json!({})).await;
    place.patch("regretted", json!({"revoked": true})).await;
    place
        .wait_for("regretted", "Ready", "True", "Revoked")
        .await;
    place.wait_for_phase("regretted", "Aborted").await;
    Machine::new()
        .join(&token)
        .fails(8, &["the token was revoked"]);
    assert!(place.secret("regretted").await.is_none());
    place.wait_for_events("regretted", &["Revoked"]).await;
    // Not even deleting and applying it again brings it back.
    place.delete("regretted").await;
    place.create("regretted", json!({})).await;
    place
        .wait_for("regretted", "Adopted", "True", "AdoptedEnded")
        .await;
    assert!(place.secret("regretted").await.is_none());
}

async fn revoked_after_its_use(place: &Place) {
    let token = place.issue("barred", json!({})).await;
    let machine = Machine::new();
    machine.join(&token).ok();
    place.wait_for_phase("barred", "Consumed").await;
    place.patch("barred", json!({"revoked": true})).await;
    let message = place.wait_for("barred", "Ready", "True", "Revoked").await;
    assert!(message.contains("it was barred at"), "{message}");
    // The machine's own key, without what it had got: it gets nothing more.
    let out = machine.out();
    std::fs::remove_file(out.join("tls.crt")).unwrap();
    std::fs::remove_file(out.join("info.json")).unwrap();
    machine.join(&token).fails(8, &["the token was revoked"]);
}

async fn deleted_while_live(place: &Place) {
    let token = place.issue("abandoned", json!({})).await;
    place.delete("abandoned").await;
    Machine::new()
        .join(&token)
        .fails(8, &["ended before it was used (deleted)"]);
    place.wait_for_events("abandoned", &["Aborted"]).await;
    place.create("abandoned", json!({})).await;
    let message = place
        .wait_for("abandoned", "Adopted", "True", "AdoptedEnded")
        .await;
    assert!(
        message.contains("the token of revision 1 ended unused at"),
        "{message}"
    );
    assert!(place.secret("abandoned").await.is_none());
}

async fn deleted_after_its_use(place: &Place) {
    let token = place.issue("used", json!({})).await;
    Machine::new().join(&token).ok();
    let used = place
        .wait_for_phase("used", "Consumed")
        .await
        .status
        .unwrap();
    place.delete("used").await;

    place.create("used", json!({})).await;
    let message = place
        .wait_for("used", "Adopted", "True", "AdoptedConsumed")
        .await;
    let adopted = place
        .wait_for_phase("used", "Consumed")
        .await
        .status
        .unwrap();
    assert_eq!(adopted.token_id, used.token_id);
    assert_eq!(adopted.joiner, used.joiner);
    assert!(place.secret("used").await.is_none());
    place.wait_for_events("used", &["Adopted"]).await;

    // What to do is in the message, ready to be pasted.
    let (_, command) = message.split_once("(kubectl").expect(&message);
    let (command, _) = command.rsplit_once(')').expect(&message);
    let kubectl = variable("JOINTOKEN_TEST_KUBECTL");
    finish(Command::new("sh").args(["-c", &format!("{kubectl}{command}")])).ok();
    place
        .wait("used", "revision 2", |_, status| status.revision == Some(2))
        .await;
    place.wait_for_phase("used", "Issued").await;
    let second = place.token("used").await;
    assert_ne!(id_of(&second), id_of(&token));
    Machine::new().join(&second).ok();
}

async fn superseded(place: &Place) {
    let first = place.issue("replaced", json!({})).await;
    place
        .patch("replaced", json!({"revision": 2, "nodeName": "another"}))
        .await;
    place
        .wait("replaced", "revision 2", |_, status| {
            status.revision == Some(2)
        })
        .await;
    place.wait_for_phase("replaced", "Issued").await;
    let second = place.token("replaced").await;
    assert_ne!(first, second);
    Machine::new()
        .join(&first)
        .fails(8, &["ended before it was used (superseded)"]);
    assert!(
        Machine::new()
            .join(&second)
            .ok()
            .stdout
            .starts_with("another joined")
    );
}

async fn of_a_lower_revision(place: &Place) {
    let token = place.issue("outdated", json!({"revision": 5})).await;
    place.delete("outdated").await;
    place.create("outdated", json!({"revision": 3})).await;
    let message = place
        .wait_for("outdated", "Ready", "True", "RevisionTooLow")
        .await;
    assert!(
        message.contains("spec.revision 3 is lower than 5"),
        "{message}"
    );
    assert!(place.secret("outdated").await.is_none());
    Machine::new().join(&token).fails(8, &["deleted"]);
}
