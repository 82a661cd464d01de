//! The rights that RBAC objects grant, one line each, whatever roles they are written in.

use std::collections::BTreeSet;

use serde_json::Value;

use super::render::of_kind;

/// Every right of every role that is bound to the ServiceAccount `jointoken`:
/// `group/resource verb in namespace`, or `group/resource name verb in namespace` where it is for one object.
pub fn granted(objects: &[Value]) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    for (binding_kind, role_kind) in [
        ("ClusterRoleBinding", "ClusterRole"),
        ("RoleBinding", "Role"),
    ] {
        for binding in of_kind(objects, binding_kind) {
            let subjects = binding["subjects"].as_array().expect("subjects");
            assert_eq!(subjects.len(), 1);
            assert_eq!(subjects[0]["name"], "jointoken");
            assert_eq!(binding["roleRef"]["kind"], role_kind);
            let namespace = &binding["metadata"]["namespace"];
            let role = of_kind(objects, role_kind).into_iter().find(|role| {
                role["metadata"]["name"] == binding["roleRef"]["name"]
                    && role["metadata"]["namespace"] == *namespace
            });
            let role = role.expect("the role that is bound");
            let place = namespace.as_str().unwrap_or("all namespaces");
            for rule in role["rules"].as_array().expect("rules") {
                add(&mut rights, rule, place);
            }
        }
    }
    rights
}

fn add(rights: &mut BTreeSet<String>, rule: &Value, place: &str) {
    let names = match rule["resourceNames"].is_null() {
        true => String::new(),
        false => format!(" {}", strings(&rule["resourceNames"]).join(",")),
    };
    for group in strings(&rule["apiGroups"]) {
        for resource in strings(&rule["resources"]) {
            for verb in strings(&rule["verbs"]) {
                rights.insert(format!("{group}/{resource}{names} {verb} in {place}"));
            }
        }
    }
}

fn strings(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list");
    list.iter().filter_map(Value::as_str).collect()
}
