//! No engine: this program was built without the feature `policy`.

use super::asked::{Lint, WhoCan};
use crate::output::Output;
use portcullis_program::{Exit, Failure};
use std::path::Path;

pub fn check(folder: &Path, _: &Output) -> Result<Exit, Failure> {
    Err(absent(&[format!("the folder `{}` needs it", folder.display())]))
}

pub fn lint(asked: &Lint, _: &Output) -> Result<Exit, Failure> {
    let Lint { folder, widest_ipv4, widest_ipv6 } = asked;
    let bound = widest_ipv4.or(*widest_ipv6).map(|it| format!("so does the bound of {it} bits"));
    let folder = format!("the folder `{}` needs it", folder.display());
    Err(absent(&[Some(folder), bound].into_iter().flatten().collect::<Vec<_>>()))
}

pub fn test(file: &Path, _: &Output) -> Result<Exit, Failure> {
    Err(absent(&[format!("the file `{}` needs it", file.display())]))
}

pub fn who_can(asked: &WhoCan, _: &Output) -> Result<Exit, Failure> {
    let WhoCan { target, port, policies, from, length, at } = asked;
    let at = at.map(|it| format!(" at {it}")).unwrap_or_default();
    let folder = policies.display();
    Err(absent(&[format!("{port} of `{target}` from {from} for {length:#}{at} by `{folder}` needs it")]))
}

pub fn schema() -> Result<Exit, Failure> {
    Err(absent(&[]))
}

fn absent(why: &[String]) -> Failure {
    Failure::usage("this program was built without the feature `policy`")
        .because(why.iter().cloned())
        .next("build it with that feature: `cargo install --locked --path functions/portcullis`")
}
