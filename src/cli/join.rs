//! `jointoken join`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::duration::HumanDuration;
use super::exit::{EXIT_CODES, Exit, Failure};
use super::input::TokenInput;
use super::output::{self, Output};
use crate::clock::SystemClock;
use crate::joiner::{self, DoorAddress, Join, JoinError, JoinFailure, Joined};
use crate::net::{Proxies, Proxy, file_words};
use crate::store::file_trouble;

/// Longer than a certificate in PEM.
const MAX_CA_FILE: u64 = 64 * 1024;

/// Joins this machine: makes its key, shows the token to the door, writes what it gets
///
/// The key is made here and never leaves. The door must prove to be the one that the token pins
/// before the token is sent. Run again, the same command is the same machine asking again: a lost
/// answer is given again, and a finished bundle is left as it is.
///
/// The folder then holds tls.key (the key, mode 0600), tls.crt (the machine's certificate),
/// ca.crt (what members' certificates chain to), info.json and csr.pem. A tls.key that is there
/// already is used; what another token gave before is replaced. Other users of the machine must not
/// be able to use tls.key: a mode that lets them is set to 0600, with a warning; reading by its group
/// (0640) is left as it is. If somebody else owns such a file, it is not used.
///
/// An HTTP proxy is used as curl uses it: --proxy, or else https_proxy, HTTPS_PROXY, all_proxy or
/// ALL_PROXY of the environment, except for hosts in no_proxy or NO_PROXY (names with all below
/// them, addresses, ranges such as 10.0.0.0/8, or *); localhost is no exception by itself. TLS goes
/// through the proxy unbroken (CONNECT), so it learns neither the token nor the key.
///
/// While the clock of this machine is wrong the token is not sent; the command waits for the clock
/// to be set as long as --timeout says.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  jointoken join --token-file /run/secrets/token --out /etc/jointoken
  kubectl get secret db-1-join-token -o jsonpath='{{.data.token}}' | base64 -d | ssh db-1 jointoken join

{EXIT_CODES}"))]
pub struct Args {
    #[command(flatten)]
    token: TokenInput,
    /// Folder for the key and what the machine gets; it is made if need be
    #[arg(long, value_name = "DIR", default_value = "/etc/jointoken")]
    out: PathBuf,
    /// Door to ask instead of those that the token names; may be given more than once
    #[arg(long = "url", value_name = "https://HOST[:PORT]")]
    urls: Vec<DoorAddress>,
    /// File that holds the certificate of the door's CA, for tokens that pin none (NodeDB's)
    #[arg(long, value_name = "FILE", conflicts_with = "ca_pin")]
    ca_file: Option<PathBuf>,
    /// SHA-256 of the public key of the door's CA, for tokens that pin none (NodeDB's)
    #[arg(long, value_name = "HEX", value_parser = joiner::pin_from_hex)]
    ca_pin: Option<[u8; 32]>,
    /// HTTP proxy to reach the doors through, instead of the environment's. A password in it can be
    /// seen by other users of the machine: better put that into HTTPS_PROXY
    #[arg(long, value_name = "http://[USER:PASSWORD@]HOST[:PORT]")]
    proxy: Option<String>,
    /// How long to go on asking, at least 1s
    #[arg(long, value_name = "TIME", default_value = "2m")]
    timeout: HumanDuration,
}

/// What came of it. Fields are kept from release to release.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    token_id: String,
    node: String,
    trust_domain: String,
    /// When the certificate ends, RFC 3339.
    not_after: String,
    public_key_sha256: String,
    #[serde(serialize_with = "output::path")]
    folder: PathBuf,
    /// The bundle was there already.
    already_joined: bool,
    /// What the user should know beside that.
    warning: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (node, domain) = (&self.node, &self.trust_domain);
        let headline = match self.already_joined {
            true => "has joined already",
            false => "joined",
        };
        writeln!(f, "{node} {headline} ({domain}, token {})", self.token_id)?;
        let folder = self.folder.display();
        writeln!(f, "  {folder}/tls.key  the key; it never left this machine")?;
        writeln!(
            f,
            "  {folder}/tls.crt  its certificate, until {}",
            self.not_after
        )?;
        write!(f, "  {folder}/ca.crt   what members' certificates chain to")?;
        match &self.warning {
            Some(warning) => write!(f, "\nwarning: {warning}"),
            None => Ok(()),
        }
    }
}

/// Joins, and says what the machine has now.
pub async fn run(args: Args, output: Output) -> Result<(), Failure> {
    if args.timeout.as_seconds() == 0 {
        return Err(Failure::usage(
            "--timeout is zero: no door could answer in that time, give 1s or more",
        ));
    }
    let pin = match &args.ca_file {
        Some(path) => Some(pin_in(path)?),
        None => args.ca_pin,
    };
    let join = Join {
        token: args.token.read()?,
        folder: args.out,
        urls: args.urls,
        pin,
        proxies: proxies(args.proxy.as_deref())?,
        timeout: Duration::from_secs(args.timeout.as_seconds()),
        clock: Arc::new(SystemClock),
        waiting: Box::new(move |line| output.print_progress(line)),
        warning: Box::new(move |line| output.warn(line)),
    };
    let joined = joiner::join(join).await.map_err(failure)?;
    output.report(&report(joined));
    Ok(())
}

/// What leads to the doors. No error repeats a URL: there may be a password in it.
fn proxies(given: Option<&str>) -> Result<Proxies, Failure> {
    let given = given.map(str::parse::<Proxy>).transpose();
    let given = given.map_err(|error| Failure::usage(format_args!("--proxy: {error}")))?;
    let variable = |name: &str| std::env::var(name).ok();
    Proxies::of(given, variable)
        .map_err(|(name, error)| Failure::usage(format_args!("{name} in the environment: {error}")))
}

fn pin_in(path: &Path) -> Result<[u8; 32], Failure> {
    let unusable = |why: &dyn fmt::Display| {
        Failure::usage(format_args!(
            "cannot use {} as the door's CA: {why}",
            path.display()
        ))
    };
    let metadata = fs::metadata(path).map_err(|error| unusable(&file_words(&error)));
    let length = metadata?.len();
    if length > MAX_CA_FILE {
        return Err(unusable(&"it is too long for one certificate"));
    }
    let pem = fs::read(path).map_err(|error| unusable(&file_words(&error)))?;
    joiner::pin_of_ca_pem(&pem).map_err(|error| unusable(&error))
}

fn failure(error: JoinError) -> Failure {
    let exit = match error.kind() {
        JoinFailure::Local | JoinFailure::BadAnswer => Exit::Failed,
        JoinFailure::Usage => Exit::Usage,
        JoinFailure::InvalidToken => Exit::Invalid,
        JoinFailure::Expired => Exit::Expired,
        JoinFailure::Used => Exit::Used,
        JoinFailure::DoorNotTrusted => Exit::DoorNotTrusted,
        JoinFailure::TryAgain => Exit::TryAgain,
        JoinFailure::Refused => Exit::Refused,
    };
    match error {
        // What the system says, with what to do about it.
        JoinError::File {
            action,
            path,
            source,
        } if source.raw_os_error().is_some() => {
            let why = file_trouble(&source, &path);
            Failure::new(
                exit,
                format_args!("cannot {action} {}: {why}", path.display()),
            )
        }
        error => Failure::new(exit, error),
    }
}

fn report(joined: Joined) -> Report {
    let warning = joined.unacknowledged.map(|why| {
        format!(
            "the answer could not be acknowledged ({why}); until its time is over the door would give it to this key again"
        )
    });
    Report {
        token_id: joined.info.token_id,
        node: joined.info.node_name,
        trust_domain: joined.info.trust_domain,
        not_after: joined.info.not_after,
        public_key_sha256: joined.info.public_key_sha256,
        folder: joined.folder,
        already_joined: joined.already,
        warning,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_the_system_does_not_allow_comes_with_a_next_step() {
        let error = |source| JoinError::File {
            action: "make",
            path: "/ro/x".into(),
            source,
        };
        let denied = failure(error(io::Error::from_raw_os_error(13))).message;
        let says = "cannot make /ro/x: Permission denied: this process runs as user";
        assert!(denied.starts_with(says), "{denied}");
        let ours = failure(error(io::Error::other("it is too long"))).message;
        assert_eq!(ours, "cannot make /ro/x: it is too long");
    }
}
