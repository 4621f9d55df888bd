//! The firewalls that `portcullis up` guards, by its options and by its table.

use super::{
    args::{Args, EstablishedArg, Guard},
    data::simcloud_file,
    threads::Handles,
};
use crate::{
    failed::failed,
    outside::Outside,
    simulated::Simulated,
    site::{LocalSite, Settling},
    steady,
};
use portcullis_app::{
    Call, Error, Issuer, Principal, PrincipalKind, command, perform,
    ports::{Inventory, Store},
};
use portcullis_domain::{Person, Target, TargetId, Via};
use portcullis_http::Site as _;
use portcullis_local::{Established, Host, RedbStore};
use portcullis_program::Failure;
use portcullis_simcloud::Simcloud;
use std::{path::Path, sync::Arc};

/// What has rules somewhere, by the table.
pub(super) async fn guarded(store: &RedbStore) -> Result<Vec<Target>, Failure> {
    const PAGE: usize = 200;
    let mut guarded: Vec<Target> = vec![];
    let mut after: Option<TargetId> = None;
    loop {
        let page = store.targets(after.as_ref(), PAGE).await.map_err(failed)?;
        let Some(last) = page.last() else { return Ok(guarded) };
        after = Some(last.id.clone());
        guarded.extend(page.into_iter().filter(|it| it.policy().is_some() || !it.grants().is_empty()));
    }
}

/// Ways to everything that holds rules here. Each call makes connections of its own.
pub(super) fn outside(
    args: &Args,
    store: &Arc<RedbStore>,
    guarded: &[Target],
    simulated: Option<&Simulated>,
) -> Result<Outside, Failure> {
    let clock = || -> portcullis_local::Clock { Arc::new(steady::now) };
    let mut outside = Outside { azure: None, host: None, table: Arc::clone(store) };
    if let Some(simulated) = simulated {
        outside.azure = Some(simulated.azure(&args.azure)?);
    } else if args.guard.contains(&Guard::Azure) {
        outside.azure = Some(args.azure.azure()?);
    }
    if args.guard.contains(&Guard::Host) {
        let established = match args.established {
            EstablishedArg::Survive => Established::Survive,
            EstablishedArg::Cut => Established::Cut,
        };
        let known = guarded.iter().map(|it| it.id.clone()).find(TargetId::is_host);
        outside.host = Some(Host::here(&hostname(), known, established, clock()).map_err(failed)?);
    }
    Ok(outside)
}

/// Fails at the start where nothing could be guarded later. A simulated cloud refuses only where that is wanted.
pub(super) async fn answers(args: &Args, outside: &Outside) -> Result<(), Failure> {
    if let Some(azure) = outside.azure.as_ref().filter(|_| args.guard.contains(&Guard::Azure)) {
        match azure.machines(None, 1).await {
            Ok(_) => {}
            // What is due is tried until it answers.
            Err(error @ Error::Unavailable { .. }) => {
                tracing::warn!(error = error.full(), "Azure does not answer; the login will be tried again");
            }
            Err(error) => {
                let login = "choose the login with --azure-login; `developer` uses the login of `az login`";
                return Err(failed(error).next(login));
            }
        }
    }
    if let Some(host) = &outside.host {
        host.probe().await.map_err(failed)?;
    }
    Ok(())
}

/// The simulated cloud, where that is guarded.
pub(super) async fn simulated(
    args: &Args,
    data: &Path,
    threads: &Handles,
) -> Result<Option<Simulated>, Failure> {
    if args.guard.contains(&Guard::Simcloud) && args.guard.contains(&Guard::Azure) {
        let message = "`--guard simcloud,azure` names a simulated Azure and a real one";
        return Err(Failure::usage(message).next("give only one of them"));
    }
    if !args.guard.contains(&Guard::Simcloud) {
        return Ok(None);
    }
    let start = Simulated::start(simcloud_file(data), args.simcloud_listen, args.simcloud_pace);
    let started = threads.cloud.spawn(start).await;
    started.map_err(|error| Failure::cannot("simulate a cloud", error))?.map(Some)
}

/// What the table guards must be among what is guarded here, or it would never be settled again.
pub(super) fn leave_nothing_alone(args: &Args, guarded: &[Target], data: &Path) -> Result<(), Failure> {
    let simulated = Simcloud::load(&simcloud_file(data), Arc::new(steady::now)).ok().flatten();
    let simulated = simulated.map(|it| it.subscription().to_ascii_lowercase());
    let place = |it: &Target| {
        let is_simulated = simulated.as_ref().is_some_and(|simulated| it.id.as_str().contains(simulated));
        match (it.id.is_host(), is_simulated) {
            (true, _) => Guard::Host,
            (false, true) => Guard::Simcloud,
            (false, false) => Guard::Azure,
        }
    };
    let Some(left) = guarded.iter().find(|it| !args.guard.contains(&place(it))) else { return Ok(()) };
    let data = data.display();
    Err(Failure::usage(format!(
        "`{}` is guarded in `{data}`, and would not be served without its `--guard`",
        left.id
    ))
    .next(format!("add `--guard {}`, or choose another folder with --data", place(left).word())))
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A fleet that nobody has seen yet has one machine that is guarded already.
pub(super) async fn furnish(site: &LocalSite, settling: &Settling, operator: &Person) -> Result<(), Failure> {
    const GUARDED: &str = "db-1";
    const MACHINES_MAX: usize = 100;
    let principal =
        Principal { kind: PrincipalKind::Platform, ..Principal::person(operator.clone(), Issuer::Tokens) };
    let call = Call { via: Via::Portcullis, ..Call::over_http(principal, None, steady::now()) };
    for machine in settling.outside.machines(None, MACHINES_MAX).await.map_err(failed)?.items {
        if machine.name == GUARDED {
            let (ports, accept, confirm_within) = (vec![], vec![], None);
            let enable =
                command::Enable { target: machine.id, ports, confirm_within, take_over: false, accept };
            perform(site.parts_with(&settling.outside), &call, enable).await.map_err(failed)?;
        }
    }
    Ok(())
}
