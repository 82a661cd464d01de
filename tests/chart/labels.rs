//! What can never be changed once it is installed: selectors, and what the claims are made of.

use serde_json::{Value, json};

use super::DOMAIN;
use super::render::{chart, find, kustomization};

#[test]
fn what_belongs_to_the_server_says_so_and_its_volumes_are_not_backed_up_as_they_are() {
    let installed = chart(
        "jointoken",
        "jointoken-system",
        &[
            DOMAIN,
            "podLabels.team=edge",
            "podLabels.app\\.kubernetes\\.io/component=mine",
        ],
    );
    for objects in [installed, kustomization()] {
        let set = find(&objects, "StatefulSet", "jointoken");
        let component = |labels: &Value| labels["app.kubernetes.io/component"] == "server";
        let pod = &set["spec"]["template"]["metadata"];
        let claim = &set["spec"]["volumeClaimTemplates"][0]["metadata"];
        let budget = find(&objects, "PodDisruptionBudget", "jointoken");
        let policy = find(&objects, "NetworkPolicy", "jointoken");
        let door = find(&objects, "Service", "jointoken");
        let peers = find(&objects, "Service", "jointoken-peers");
        for selector in [
            &set["spec"]["selector"]["matchLabels"],
            &set["metadata"]["labels"],
            &pod["labels"],
            &budget["spec"]["selector"]["matchLabels"],
            &policy["spec"]["podSelector"]["matchLabels"],
            &policy["spec"]["ingress"][2]["from"][0]["podSelector"]["matchLabels"],
            &door["spec"]["selector"],
            &peers["spec"]["selector"],
        ] {
            assert!(component(selector), "{selector}");
        }
        let which = |service: &Value| service["metadata"]["labels"]["jointoken.io/service"].clone();
        assert_eq!(
            (which(&door), which(&peers)),
            ("door".into(), "peers".into())
        );
        assert_eq!(
            claim["labels"],
            json!({"velero.io/exclude-from-backup": "true"})
        );
        let annotations = json!({"backup.velero.io/backup-volumes-excludes": "data"});
        assert_eq!(pod["annotations"], annotations);
    }
    let values = [
        DOMAIN,
        "persistence.labels.team=edge",
        "persistence.annotations.a=b",
        "podAnnotations.backup\\.velero\\.io/backup-volumes-excludes=data\\,more",
    ];
    let objects = chart("jointoken", "home", &values);
    let set = find(&objects, "StatefulSet", "jointoken");
    let claim = &set["spec"]["volumeClaimTemplates"][0]["metadata"];
    assert_eq!(claim["labels"]["team"], "edge");
    assert_eq!(claim["annotations"], json!({"a": "b"}));
    let pod = &set["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(pod["backup.velero.io/backup-volumes-excludes"], "data,more");
}
