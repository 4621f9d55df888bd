//! This Linux machine, through nftables.
