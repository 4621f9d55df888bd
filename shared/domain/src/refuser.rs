//! Packet filters of others that may refuse what ours lets in: they are not on the network path that we write, and none of ours
//! overrules them.

use crate::{Gate, Protocol};
use std::{collections::BTreeMap, ops::RangeInclusive};

/// A packet filter that refuses new connections from anywhere to some ports, as far as can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refuser {
    /// Its family and its name, such as `inet firewalld`.
    pub table: String,
    /// The ports that it refuses, of TCP and of UDP.
    pub refused: BTreeMap<Protocol, Vec<RangeInclusive<u16>>>,
    /// How it is made to let a port in.
    pub remedy: Remedy,
}

/// The program that opens a port in a packet filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// `firewall-cmd`.
    Firewalld,
    /// `ufw`.
    Ufw,
    /// `nft`.
    Nft {
        /// Family, table and name of the chain that packets come to first.
        chain: String,
    },
}

impl Refuser {
    /// Does it refuse packets to this gate?
    pub fn may_refuse(&self, gate: Gate) -> bool {
        let refuses = |protocol| self.refused.get(protocol).into_iter().flatten();
        let port = gate.port.number();
        gate.protocol.transports().iter().any(|it| refuses(it).any(|ports| ports.contains(&port)))
    }

    /// In a sentence, with the command that lets a gate in.
    pub fn of(&self, gate: Gate) -> String {
        format!(
            "`{}` may still refuse port `{gate}`: `{}` opens it there",
            self.table,
            self.remedy.command(gate)
        )
    }
}

impl Remedy {
    /// The command that opens a gate; of a gate of both protocols for TCP.
    pub fn command(&self, gate: Gate) -> String {
        let protocol = if gate.protocol == Protocol::Udp { "udp" } else { "tcp" };
        let port = gate.port;
        match self {
            Self::Firewalld => format!("firewall-cmd --add-port={port}/{protocol}"),
            Self::Ufw => format!("ufw allow {port}/{protocol}"),
            Self::Nft { chain } => format!("nft insert rule {chain} {protocol} dport {port} accept"),
        }
    }
}
