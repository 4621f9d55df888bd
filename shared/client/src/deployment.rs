//! What a deployment in AWS lacks.

mod aws;
mod judged;
mod seen;

use self::{
    aws::{Aws, Looked, Unseen},
    seen::Seen,
};
use crate::{
    account::{self, Account, Named},
    auth::Auth,
    doctor,
    globals::Globals,
    network::{self, Network},
    output::Output,
    profile::{self, Profile},
    url::usable_url,
};
use clap::Args;
use jiff::Timestamp;
use portcullis_outgoing::Roots;
use portcullis_program::{Exit, Failure};
use portcullis_wire::DoctorView;
use std::{rc::Rc, time::Duration};
use ureq::Agent;

/// What the stack is called where nobody says otherwise, as in `samconfig.toml`.
const STACK: &str = "portcullis";
/// How long the API may take to say that it is in health: it may have to be started.
const HEALTH_MAX: Duration = Duration::from_secs(10);

/// Which deployment.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DeployCheck {
    /// The name of the stack [default: `stack` of the profile, or portcullis]
    #[arg(long, value_name = "NAME")]
    stack: Option<String>,
    /// The region of AWS [default: `region` of the profile, or as the AWS CLI has it]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// The profile of the AWS CLI to use [default: `aws-profile` of the profile, or as the AWS CLI has it]
    #[arg(long, value_name = "NAME")]
    aws_profile: Option<String>,
}

const EXAMPLES: &str = "\
Reads AWS, and changes nothing. Exit codes: 0 all checks passed or warned, 1 a check failed.

Examples:
  portcullis deploy-check
  portcullis deploy-check --stack portcullis --region eu-central-1";

impl DeployCheck {
    /// Asks AWS, and shows what was found with what to do about it.
    pub fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let profile = profile::chosen(globals)?;
        let named = Named {
            profile: self.aws_profile.clone().or_else(|| profile.aws.clone()),
            region: self.region.clone().or_else(|| profile.region.clone()),
        };
        let account = Rc::new(Account::of(&named)?);
        let aws = Aws::of(&account)?;
        // Whoever has none is told what to do, and not of each call by itself.
        account.keys(Timestamp::now())?;
        let name = self.stack.as_deref().or(profile.stack.as_deref()).unwrap_or(STACK);
        let stack = aws.stack(name).map_err(|unseen| no_stack(&aws, name, &unseen))?;
        let tokens = match stack.outputs.get("TableName") {
            Some(table) => account::people(&account, table).map_err(|failure| Unseen::of(failure.message())),
            None => Err(Unseen::of("the stack has no output `TableName`")),
        };
        // Whoever says which deployment means that one, wherever a profile is.
        let is_of_profile = self.stack.is_none() && self.region.is_none() && self.aws_profile.is_none();
        let url = deployed_at(Some(&profile).filter(|_| is_of_profile), stack.outputs.get("Url"));
        let health = health(&url, &if is_of_profile { profile.roots()? } else { network::roots(None)? });
        let seen = Seen::at(&aws, name, stack, tokens, (url, health));
        let view = DoctorView::from(judged::findings(&seen));
        let out = Output::of(globals);
        out.show(&view, || doctor::words(&out, &view))?;
        Ok(if view.healthy { Exit::Done } else { Exit::Broken })
    }
}

/// Where the person reaches it; where the stack says, if they did not say.
fn deployed_at(profile: Option<&Profile>, output: Option<&String>) -> String {
    // Where callers sign, who does not is not heard.
    let said = profile.filter(|it| it.is_said && it.auth == Auth::Bearer).map(|it| &it.url);
    said.or(output).cloned().unwrap_or_default().trim_end_matches('/').to_owned()
}

fn health(url: &str, roots: &Roots) -> Looked<()> {
    let unseen = |failure: Failure| Unseen::of(failure.message());
    let network = usable_url(url).and_then(|it| Network::to(&it, roots)).map_err(unseen)?;
    let config = Agent::config_builder().max_redirects(0).http_status_as_error(false);
    let config = config.tls_config(network.tls).proxy(network.proxy);
    let agent: Agent = config.timeout_global(Some(HEALTH_MAX)).build().into();
    let answer =
        agent.get(format!("{url}/healthz")).call().map_err(|error| Unseen::of(&error.to_string()))?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(Unseen::of(&format!("`/healthz` answers {status}"))),
    }
}

fn no_stack(aws: &Aws, name: &str, unseen: &Unseen) -> Failure {
    if unseen.is_missing() {
        return Failure::not_found(format!("there is no stack `{name}` in {}", aws.region())).next(
            "deploy it with `sam build` and `sam deploy`, or name it with --stack, --region or --aws-profile",
        );
    }
    Failure::unavailable(format!("cannot read the stack `{name}` in {}", aws.region()))
        .because([unseen.to_string()])
}
