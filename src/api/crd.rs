//! The CustomResourceDefinition: what the derive makes of the types, and what it cannot express.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, ValidationRule,
};
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::join_token::JoinToken;
use super::rules::{RULES, Rule};

/// The comment at the head of the generated file.
const HEADER: &str = "\
# The JoinToken resource. Generated from src/api/ by `cargo xtask generate`; do not edit.
# `jointoken crd` prints the same.
";

/// Far more than the operator has kinds of conditions.
const MAX_CONDITIONS: i64 = 32;
/// How long the texts of a condition may be, as Kubernetes' own kinds have it.
const CONDITION_LENGTHS: [(&str, i64); 4] = [
    ("type", 316),
    ("status", 16),
    ("reason", 1_024),
    ("message", 32_768),
];

/// The CustomResourceDefinition of `JoinToken`, as it is installed.
pub fn crd() -> CustomResourceDefinition {
    let mut crd = JoinToken::crd();
    for version in &mut crd.spec.versions {
        if let Some(root) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        {
            complete(root);
        }
    }
    crd
}

/// The same as a YAML document, the same bytes each time.
///
/// # Panics
///
/// Never: the document does not depend on any input, and a test makes it.
pub fn crd_yaml() -> String {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: true };
    let document = serde_json::to_value(crd())
        .map(integers)
        .map_err(|error| error.to_string())
        .and_then(|value| {
            serde_saphyr::to_string_with_options(&value, options).map_err(|error| error.to_string())
        })
        .unwrap_or_else(|error| unreachable!("the CRD is plain data: {error}"));
    format!("{HEADER}{document}")
}

/// Bounds are floating-point in the Kubernetes types; people write and expect `60`, not `60.0`.
fn integers(value: Value) -> Value {
    match value {
        Value::Object(map) => map.into_iter().map(|(k, v)| (k, integers(v))).collect(),
        Value::Array(list) => list.into_iter().map(integers).collect(),
        Value::Number(number) => match number.as_f64() {
            // The cast is exact: the bounds lie within 2^53.
            Some(float) if number.is_f64() && float.fract() == 0.0 => json!(float as i64),
            _ => Value::Number(number),
        },
        other => other,
    }
}

fn complete(root: &mut JSONSchemaProps) {
    forbid_null(root);
    unwrap_descriptions(root);
    // A resource without a spec is as valid as one with an empty spec.
    root.required = None;
    if let Some(spec) = descend(root, &["spec"]) {
        spec.default = Some(JSON(json!({})));
    }
    if let Some(status) = descend(root, &["status"]) {
        // Tells kstatus and whoever waits for a condition that nobody has looked at the resource yet.
        status.default = Some(JSON(json!({ "observedGeneration": -1 })));
    }
    if let Some(conditions) = descend(root, &["status", "conditions"]) {
        conditions.x_kubernetes_list_type = Some("map".to_owned());
        conditions.x_kubernetes_list_map_keys = Some(vec!["type".to_owned()]);
        conditions.max_items = Some(MAX_CONDITIONS);
    }
    for (field, max) in CONDITION_LENGTHS {
        if let Some(text) = descend(root, &["status", "conditions", "items", field]) {
            text.max_length = Some(max);
        }
    }
    for rule in RULES {
        if let Some(schema) = descend(root, rule.at) {
            schema
                .x_kubernetes_validations
                .get_or_insert_default()
                .push(validation(rule));
        }
    }
}

/// The derive makes every optional field nullable. A null would then be kept, count as set for `has()`,
/// and differ from the absence that it means.
fn forbid_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| !value.0.is_null());
    }
    for_each_child(schema, forbid_null);
}

/// The source wraps its lines at its own width; `kubectl explain` wraps at the reader's.
fn unwrap_descriptions(schema: &mut JSONSchemaProps) {
    if let Some(description) = &mut schema.description {
        let paragraphs: Vec<String> = description
            .split("\n\n")
            .map(|paragraph| paragraph.replace('\n', " "))
            .collect();
        *description = paragraphs.join("\n\n");
    }
    for_each_child(schema, unwrap_descriptions);
}

fn for_each_child(schema: &mut JSONSchemaProps, visit: fn(&mut JSONSchemaProps)) {
    for property in schema
        .properties
        .iter_mut()
        .flat_map(|map| map.values_mut())
    {
        visit(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        visit(items);
    }
}

fn descend<'a>(schema: &'a mut JSONSchemaProps, path: &[&str]) -> Option<&'a mut JSONSchemaProps> {
    let Some((first, rest)) = path.split_first() else {
        return Some(schema);
    };
    let next = match (&mut schema.items, *first) {
        (Some(JSONSchemaPropsOrArray::Schema(items)), "items") => items.as_mut(),
        _ => schema.properties.as_mut()?.get_mut(*first)?,
    };
    descend(next, rest)
}

fn validation(rule: &Rule) -> ValidationRule {
    ValidationRule {
        rule: rule.rule.to_owned(),
        message: Some(rule.message.to_owned()),
        message_expression: rule.message_expression.map(str::to_owned),
        field_path: rule.field_path.map(str::to_owned),
        reason: rule.reason.map(str::to_owned),
        optional_old_self: None,
    }
}

#[cfg(test)]
mod tests;
