//! What is beyond firewalls and machines: somebody else's just-in-time access, and how the clouds fare.

use crate::outside::Outside;
use portcullis_app::ports::{Adoption, Checkup};

/// Neither a simulated fleet nor this machine has another just-in-time access than ours.
impl Adoption for Outside {}

/// Neither is asked over a network.
impl Checkup for Outside {}
