//! What is beyond firewalls and machines: somebody else's just-in-time access, and how the clouds fare.

use crate::outside::Outside;
use portcullis_app::ports::Adoption;

/// Neither a simulated fleet nor this machine has another just-in-time access than ours.
impl Adoption for Outside {}
