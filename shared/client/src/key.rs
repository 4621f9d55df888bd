//! The key that names an ask.

use portcullis_program::Failure;

/// Names this ask, so that asking twice is asking once.
pub fn new_key() -> Result<String, Failure> {
    let mut dice = [0_u8; 16];
    getrandom::fill(&mut dice).map_err(|error| Failure::broken(format!("cannot generate a key: {error}")))?;
    Ok(format!("{:032x}", u128::from_be_bytes(dice)))
}
