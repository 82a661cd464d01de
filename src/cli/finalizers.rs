//! `jointoken finalizers`.

use std::fmt;
use std::path::PathBuf;

use clap::Subcommand;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde_json::json;

use super::confirm::confirm;
use super::exit::{EXIT_CODES, Exit, Failure};
use super::kubernetes::Access;
use super::output::Output;
use crate::api::JoinToken;
use crate::controller::{FINALIZER, PAGE, is_away, told};
use crate::token::is_node_name;

/// How often a JoinToken that somebody else changes at the same time is tried.
const TRIES: usize = 5;
/// The operator's StatefulSets, whatever their release is called.
const OPERATORS: &str = "app.kubernetes.io/name=jointoken,app.kubernetes.io/component=server";

/// Lets go of JoinTokens whose operator is gone
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXIT_CODES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Release(Release),
}

/// Takes the operator's finalizer off JoinTokens, when the operator is gone for good
///
/// A JoinToken with a live token is kept until the operator has ended that token. Once the operator is gone nobody does, and the
/// JoinTokens, their namespaces and the CustomResourceDefinition cannot be deleted. This takes the operator's finalizer off, and no
/// other. Where the operator runs, delete the JoinTokens instead.
///
/// Nothing is told to the store: if it ever comes back, tokens that were live can be used until they expire.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  jointoken finalizers release --all-namespaces
  jointoken finalizers release --namespace edge,db --yes

{EXIT_CODES}"))]
struct Release {
    /// Namespaces of the JoinTokens
    #[arg(long = "namespace", value_name = "NAMES", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// JoinTokens of all namespaces
    #[arg(
        long,
        conflicts_with = "namespaces",
        required_unless_present = "namespaces"
    )]
    all_namespaces: bool,
    /// Where the operator was: no other namespace is searched for one that is there still [default: all]
    #[arg(long, value_name = "NAME")]
    system_namespace: Option<String>,
    /// Kubeconfig to use [default: the environment's KUBECONFIG, else the pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Does not ask
    #[arg(long)]
    yes: bool,
}

/// Runs the subcommand.
pub async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let Command::Release(release) = args.command;
    let client = Access::find(release.kubeconfig.as_deref())
        .await?
        .client()?;
    refuse_if_operator_is_there(&client, release.system_namespace.as_deref()).await?;
    refuse_unless_there(&client, &release.namespaces).await?;
    let held = held(&client, &release.namespaces).await?;
    if !held.is_empty() && !release.yes {
        let meaning = format!(
            "{} JoinTokens are held by the finalizer {FINALIZER}, which only an operator takes off once it has ended the token. \
             No operator was found in this cluster; one that runs elsewhere cannot be found. If the store comes back, tokens \
             that are live can be used until they expire.",
            held.len()
        );
        let unasked = "this lets go of JoinTokens whose tokens nobody has ended";
        confirm(&meaning, "Let go of all of them?", unasked)?;
    }
    let mut released = Vec::new();
    for token in held {
        if let_go(&client, &token).await? {
            let namespace = token.namespace().unwrap_or_default();
            released.push(format!("{namespace}/{}", token.name_any()));
        }
    }
    output.report(&Released { released });
    Ok(())
}

/// A StatefulSet of the operator's that has pods, or is to have some.
async fn refuse_if_operator_is_there(
    client: &Client,
    namespace: Option<&str>,
) -> Result<(), Failure> {
    let sets: Api<StatefulSet> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let found = sets.list(&ListParams::default().labels(OPERATORS)).await;
    let found = found.map_err(|error| {
        let mut failure = failed("whether an operator is there cannot be known", &error);
        if namespace.is_none() && is_forbidden(&error) {
            let other_way = ", or say with --system-namespace where it was";
            failure.message.push_str(other_way);
        }
        failure
    })?;
    let is_there = |set: &&StatefulSet| {
        let has = set.status.as_ref().map_or(0, |status| status.replicas);
        has > 0 || set.spec.replicas != Some(0)
    };
    match found.iter().find(is_there) {
        None => Ok(()),
        Some(set) => Err(Failure::new(
            Exit::Refused,
            format_args!(
                "the operator is there: StatefulSet {}/{}. Delete the JoinTokens, it lets go of them itself; if it is broken for good, remove it or scale it to 0 first",
                set.namespace().unwrap_or_default(),
                set.name_any()
            ),
        )),
    }
}

/// A list in a namespace that does not exist is an empty one: a misspelt name would pass for one in which nothing is held.
async fn refuse_unless_there(client: &Client, namespaces: &[String]) -> Result<(), Failure> {
    let there: Api<Namespace> = Api::all(client.clone());
    let mut missing = Vec::new();
    for name in namespaces {
        if !is_node_name(name) {
            return Err(Failure::usage(format_args!(
                "{name:?} is not the name of a namespace: --namespace takes names separated by commas"
            )));
        }
        match there.get_metadata_opt(name).await {
            Ok(Some(_)) => {}
            Ok(None) => missing.push(name.as_str()),
            // Who has rights in single namespaces alone need not see them as such.
            Err(error) if is_forbidden(&error) => {}
            Err(error) => {
                return Err(failed(
                    format_args!("namespace {name} cannot be looked at"),
                    &error,
                ));
            }
        }
    }
    match &missing[..] {
        [] => Ok(()),
        missing => Err(Failure::usage(format_args!(
            "there is no namespace {} in this cluster, and nothing was let go of: `kubectl get namespaces` lists those that there are",
            missing.join(", ")
        ))),
    }
}

/// The JoinTokens that carry our finalizer.
async fn held(
    client: &Client,
    namespaces: &[String],
) -> Result<Vec<PartialObjectMeta<JoinToken>>, Failure> {
    let places: Vec<Api<JoinToken>> = match namespaces {
        [] => vec![Api::all(client.clone())],
        named => named
            .iter()
            .map(|namespace| Api::namespaced(client.clone(), namespace))
            .collect(),
    };
    let mut held = Vec::new();
    for place in places {
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = place.list_metadata(&params).await;
            let page = page.map_err(|error| failed("JoinTokens cannot be listed", &error))?;
            held.extend(page.items.into_iter().filter(is_held));
            match page.metadata.continue_.filter(|more| !more.is_empty()) {
                Some(more) => params = params.continue_token(&more),
                None => break,
            }
        }
    }
    Ok(held)
}

fn is_held(token: &PartialObjectMeta<JoinToken>) -> bool {
    token.finalizers().iter().any(|name| name == FINALIZER)
}

/// `false`: somebody else has, or it is gone.
async fn let_go(client: &Client, token: &PartialObjectMeta<JoinToken>) -> Result<bool, Failure> {
    let namespace = token.namespace().unwrap_or_default();
    let name = token.name_any();
    let tokens: Api<JoinToken> = Api::namespaced(client.clone(), &namespace);
    let what = || format!("JoinToken {namespace}/{name} is not let go of");
    let mut seen = token.clone();
    for _ in 0..TRIES {
        let mut finalizers = seen.finalizers().to_vec();
        finalizers.retain(|name| name != FINALIZER);
        // What others add or take away meanwhile is theirs.
        let patch = Patch::Merge(json!({"metadata": {
            "uid": seen.uid(), "resourceVersion": seen.resource_version(), "finalizers": finalizers,
        }}));
        let params = PatchParams {
            field_manager: Some("jointoken".to_owned()),
            ..PatchParams::default()
        };
        let patched = tokens.patch_metadata(&name, &params, &patch);
        match patched.await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(false),
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(error) => return Err(failed(what(), &error)),
        }
        let now = tokens.get_metadata_opt(&name).await;
        match now.map_err(|error| failed(what(), &error))? {
            Some(now) if is_held(&now) && now.uid() == token.uid() => seen = now,
            _ => return Ok(false),
        }
    }
    Err(Failure::new(
        Exit::TryAgain,
        format_args!("{}: somebody changes it all the time", what()),
    ))
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden())
}

fn failed(what: impl fmt::Display, error: &kube::Error) -> Failure {
    let hint = match is_away(error) {
        true => ". Is the Kubernetes API running, and is this the right kubeconfig?",
        false => "",
    };
    Failure::new(Exit::Failed, format_args!("{what}: {}{hint}", told(error)))
}

/// What was done.
#[derive(Serialize)]
struct Released {
    /// namespace/name of each.
    released: Vec<String>,
}

impl fmt::Display for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.released {
            writeln!(f, "{name}")?;
        }
        match self.released.len() {
            0 => write!(
                f,
                "there was nothing to let go of: no JoinToken is held by {FINALIZER}"
            ),
            1 => f.write_str("1 JoinToken let go of"),
            count => write!(f, "{count} JoinTokens let go of"),
        }
    }
}
