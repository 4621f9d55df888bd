//! Secrets that nobody guesses.

use std::error::Error;

/// 256 bits from the system: nobody guesses them.
pub fn secret() -> Result<[u8; 32], Box<dyn Error + Send + Sync>> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    Ok(secret)
}
