//! `agentnet nats-config`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use agentnet::connect::context;
use agentnet_registry::callout::SeedError;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Context, up::secrets};
use crate::{
    failure::Failure,
    output::style::{BOLD, DIM, paint},
};

/// What nats-server includes.
const CONFIG: &str = "nats-secure.conf";
/// What the services' environment says about the keys; without secrets.
const ENVIRONMENT: &str = "services.env";
/// The file of each seed, and the variable that names it.
const VARIABLES: [(&str, &str); 6] = [
    ("nats-issuer", "AGENTNET_CALLOUT_SEED_FILE"),
    ("nats-xkey", "AGENTNET_CALLOUT_XKEY_SEED_FILE"),
    ("nats-system", "AGENTNET_SYSTEM_NKEY_SEED_FILE"),
    ("nats-registry", "AGENTNET_NKEY_SEED_FILE"),
    ("enrolment-token", "AGENTNET_ENROLMENT_TOKEN_FILE"),
    ("token-secret", "AGENTNET_TOKEN_SECRET_FILE"),
];

/// Make the keys of a secure network and the configuration of its nats-server
///
/// Keys are made once and found again, each in a file of its own (0600) under DIR. The configuration names public keys
/// only; it goes into the server's own by `include`. What the services need to find the keys is printed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where keys and configuration are kept
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Where the services will see DIR, if elsewhere, such as in a container
    #[arg(long, value_name = "DIR")]
    pub seen_as: Option<PathBuf>,
}

/// Makes what is missing and writes the configuration.
///
/// # Errors
/// `io`; `keys` for a file that holds something else.
pub fn run(ctx: &Context, args: &Args) -> Result<(), Failure> {
    let dir = &args.dir;
    let unusable = |error: &io::Error| {
        let detail = format!("{} can't be used: {error}", dir.display());
        Failure::local("io", detail, "name a directory that you may write to")
    };
    fs::create_dir_all(dir).map_err(|error| unusable(&error))?;
    let seeds = secrets::seeds(|name, make| keep(&dir.join(name), make).map_err(|error| unusable(&error)))?;
    let unfit = |error: SeedError| {
        let detail = format!("the keys in {} can't be used: {error}", dir.display());
        Failure::local("keys", detail, "restore the files, or remove them to have new ones made")
    };
    let config = seeds.server_config().map_err(unfit)?;
    // A name that no other network has: signatures are good in one only.
    let deployment = keep(&dir.join("deployment"), &mut || {
        use agentnet::proto::IdGen as _;
        agentnet::proto::SystemIds::new(agentnet::proto::SystemClock::shared()).ulid_lower().into()
    });
    let deployment = deployment.map_err(|error| unusable(&error))?;
    for name in ["enrolment-token", "token-secret"] {
        let secret = keep(&dir.join(name), &mut || {
            use agentnet::proto::IdGen as _;
            agentnet::proto::SystemIds::new(agentnet::proto::SystemClock::shared()).nonce().into()
        });
        secret.map_err(|error| unusable(&error))?;
    }
    let gateway = seeds.gateway_key().map_err(unfit)?;
    let seen_as = args.seen_as.as_deref().unwrap_or(dir);
    let environment = environment(seen_as, deployment.expose_secret(), &gateway);
    for (name, text) in [(CONFIG, &config), (ENVIRONMENT, &environment)] {
        fs::write(dir.join(name), text).map_err(|error| unusable(&error))?;
    }
    if ctx.out.is_json() {
        return ctx.out.document(&serde_json::json!({"config": config, "environment": environment}));
    }
    ctx.out.line(format_args!(
        "{}  {}\n{}\n{}  {}\n{}",
        paint(BOLD, "nats-server:"),
        paint(DIM, format_args!("include \"{}\" beside its jetstream block", dir.join(CONFIG).display())),
        config.trim_end(),
        paint(BOLD, "services:"),
        paint(
            DIM,
            format_args!(
                "of the persister AGENTNET_NKEY_SEED_FILE={}, of the gateway {}",
                seen_as.join("nats-persister").display(),
                seen_as.join("nats-gateway").display()
            )
        ),
        environment.trim_end()
    ))
}

/// A secret file, found or made.
fn keep(path: &Path, make: &mut dyn FnMut() -> SecretString) -> io::Result<SecretString> {
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned().into()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => {
            let made = make();
            context::write_private(path, made.expose_secret().as_bytes())?;
            Ok(made)
        }
    }
}

fn environment(dir: &Path, deployment: &str, gateway: &str) -> String {
    let files = VARIABLES.map(|(file, variable)| format!("{variable}={}\n", dir.join(file).display()));
    format!(
        "AGENTNET_SECURITY=secure\nAGENTNET_DEPLOYMENT={deployment}\nAGENTNET_GATEWAY_KEYS={gateway}\n{}",
        files.concat()
    )
}
