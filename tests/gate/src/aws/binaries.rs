//! The functions as they are deployed to an emulator.

use portcullis_tests::built::{FUNCTIONS, How, built};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// Where a function's program is. All of them are built together, once.
pub fn function(name: &str) -> &'static Path {
    static BINARIES: OnceLock<BTreeMap<&str, PathBuf>> = OnceLock::new();
    let built = BINARIES.get_or_init(|| FUNCTIONS.into_iter().zip(built(&FUNCTIONS, How::AsTests)).collect());
    built.get(name).unwrap_or_else(|| panic!("{name} is none of them"))
}
