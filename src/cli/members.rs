//! `jointoken store members`.

use std::fmt;

use clap::Subcommand;
use serde::Serialize;

use super::admin::{Replica, failure};
use super::exit::{EXIT_CODES, Failure};
use super::output::Output;
use crate::admin::{MemberOfGroup, MembersResponse, RemoveMembersRequest};

/// Shows the replicas of the group as one of them knows them, or removes some
///
/// Every replica may be asked; up to where the others' logs agree with the leader's (MATCHED) only the leader knows. A replica
/// that lost its data comes back by itself under a new id, in the place of the old one, once that was silent for 30 seconds.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Health: ok; silent, not heard of for 3 seconds; incomplete (only of the replica that is asked), lacks entries that are
known to be committed, since it was away or set back, and does not campaign until it has them; behind by more than 1000
entries; stalled, heard of, and yet for some seconds not served its log, not coming on with it, or nothing is committed;
clock, more than 30 seconds off.
The role of one that is silent is the one that it had. Below the table stands whether a majority and its leader are
heard of, and whether the replica that was asked is ready; in JSON `majorityIsHeard`, `leaderIsHeard` and `isReady`.

Examples:
  jointoken store members
  jointoken store members --output json | jq -r '.members[] | select(.health != \"ok\") | .nodeId'
  jointoken store members remove 0a1b2c3d4e5f6071

{EXIT_CODES}"))]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(flatten)]
    replica: Replica,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Remove(RemoveArgs),
}

/// Removes replicas from the group for good, such as one that will never come back
///
/// Several are removed in one step. A replica that was removed and still runs is told so, stops, and sets its data aside; started
/// again it joins as a new one, if the list of members of the leader still has its address: take it out of the list first.
#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// Their ids, as `jointoken store members` shows them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Remove them though no majority of those that are left answers: until one does, the store stands still
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    replica: Replica,
}

/// Runs the subcommand.
pub async fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        None => {
            let members = args.replica.client().members().await;
            output.print(&Listed(members.map_err(failure)?))
        }
        Some(Command::Remove(args)) => {
            let request = RemoveMembersRequest {
                node_ids: args.ids,
                force: args.force,
            };
            let removed = args.replica.client().remove_members(&request).await;
            removed.map_err(failure)?;
            output.report(&Removed {
                removed: request.node_ids,
            });
            Ok(())
        }
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Listed(MembersResponse);

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = self
            .0
            .members
            .iter()
            .map(|member| member.address.len())
            .max();
        let width = widest.unwrap_or(0).max("ADDRESS".len()) + 2;
        write!(
            f,
            "{:<18}{:<width$}{:<9}{:>10}{:>10}{:>7}  {:<10}{:>7}",
            "ID", "ADDRESS", "ROLE", "MATCHED", "APPLIED", "LAG", "HEALTH", "HEARD"
        )?;
        for member in &self.0.members {
            write!(
                f,
                "\n{:<18}{:<width$}{:<9}{:>10}{:>10}{:>7}  {:<10}{:>7}",
                member.node_id,
                address(member),
                member.role,
                number(member.matched),
                number(member.applied),
                number(member.lag),
                member.health,
                heard(member),
            )?;
        }
        match &self.0.leader {
            Some(leader) if self.0.leader_is_heard => {
                write!(f, "\nterm {}, led by {leader}", self.0.term)?;
            }
            Some(leader) => write!(
                f,
                "\nterm {}, led by {leader} when that was last heard of, and it is silent now",
                self.0.term
            )?,
            None => write!(f, "\nterm {}, and no leader is known", self.0.term)?,
        }
        if self.0.is_changing {
            f.write_str("; the voters are being changed: until that is done it takes a majority of the former and one of the new ones")?;
        }
        match obstacle(&self.0) {
            Some(obstacle) => write!(f, "\n{obstacle}"),
            None => Ok(()),
        }
    }
}

/// Why nothing can be committed by way of the replica that was asked, and what to do.
fn obstacle(group: &MembersResponse) -> Option<&'static str> {
    if group.members.is_empty() {
        Some(
            "this replica is of no group yet: it waits to be let in, or, as the first of the list, for all others before it founds one. Its log says for whom",
        )
    } else if !group.majority_is_heard {
        Some(
            "this replica hears of no majority of the voters, without which nobody is admitted. Ask the others: if they have one, this replica is cut off, see why. \
             If not, start those that are silent; only if they are lost for good: `jointoken store recover`",
        )
    } else if !group.leader_is_heard {
        Some(
            "a majority is heard of: within seconds it has another leader. If not, see `/readyz` and the log of each replica",
        )
    } else if group.is_ready == Some(false) {
        Some(
            "the replica that was asked is not ready: its `/readyz` says why. Ask the leader, too: only that knows who takes the log",
        )
    } else {
        None
    }
}

fn address(member: &MemberOfGroup) -> &str {
    match member.address.as_str() {
        "" => "-",
        address => address,
    }
}

fn number(of: Option<u64>) -> String {
    of.map_or_else(|| "-".into(), |number| number.to_string())
}

fn heard(member: &MemberOfGroup) -> String {
    match member.heard_ms_ago {
        _ if member.is_asked => "itself".into(),
        None => "never".into(),
        Some(ms) => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
    }
}

#[derive(Serialize)]
struct Removed {
    removed: Vec<String>,
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "removed from the group: {}", self.removed.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(leader_is_heard: bool, majority_is_heard: bool, leader: Option<&str>) -> String {
        let member = MemberOfGroup {
            node_id: "0a1b2c3d4e5f6071".into(),
            address: "a.example:9443".into(),
            role: "leader".into(),
            is_asked: false,
            matched: None,
            applied: Some(7),
            lag: Some(0),
            heard_ms_ago: Some(45_678),
            clock_ahead_ms: Some(0),
            health: "silent".into(),
        };
        let listed = Listed(MembersResponse {
            term: 5,
            leader: leader.map(str::to_owned),
            leader_is_heard,
            majority_is_heard,
            is_ready: Some(true),
            is_changing: false,
            members: vec![member],
        });
        listed.to_string()
    }

    #[test]
    fn below_the_table_stands_who_is_not_heard_of_and_what_to_do() {
        let leader = Some("0a1b2c3d4e5f6071");
        let well = table(true, true, leader);
        assert!(
            well.ends_with("\nterm 5, led by 0a1b2c3d4e5f6071"),
            "{well}"
        );

        let silent = table(false, true, leader);
        let line = silent.lines().nth(1).unwrap();
        assert!(line.ends_with("silent      45.6s"), "{silent}");
        let says = "led by 0a1b2c3d4e5f6071 when that was last heard of, and it is silent now\na majority is heard of";
        assert!(silent.contains(says), "{silent}");

        for (is_heard, leader) in [(false, leader), (true, leader), (false, None)] {
            let alone = table(is_heard, false, leader);
            let advice = alone.lines().last().unwrap();
            for says in ["no majority", "start those", "jointoken store recover"] {
                assert!(advice.contains(says), "{alone}");
            }
            assert_eq!(
                alone.contains("it is silent now"),
                !is_heard && leader.is_some()
            );
        }
        // Right after an election nobody may be known yet.
        let none = table(false, true, None);
        assert!(
            none.contains("no leader is known\na majority is heard of"),
            "{none}"
        );
    }
}
