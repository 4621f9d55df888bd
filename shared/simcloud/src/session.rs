//! Sessions that are open: a change of rules leaves them, but where a security group judges established flows anew.

use crate::{
    cloud::Cloud,
    packet::{self, Packet},
    refused::Refused,
};
use std::collections::BTreeSet;

/// A session that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session(usize);

/// All that were opened.
#[derive(Debug, Default)]
pub struct Sessions(Vec<Known>);

#[derive(Debug)]
struct Known {
    vm: String,
    /// Its first packet.
    packet: Packet,
    stands: bool,
}

impl Sessions {
    /// Opens a session by its first packet; nothing where that does not get through.
    pub fn connect(&mut self, cloud: &Cloud, vm: &str, packet: Packet) -> Result<Option<Session>, Refused> {
        if !packet::passes(cloud, vm, packet)?.passes {
            return Ok(None);
        }
        self.0.push(Known { vm: vm.to_owned(), packet, stands: true });
        Ok(Some(Session(self.0.len() - 1)))
    }

    pub fn stands(&self, session: Session) -> bool {
        self.0.get(session.0).is_some_and(|it| it.stands)
    }

    /// The rules of these security groups have changed: sessions behind them are judged by the rules as they are now.
    pub fn judge(&mut self, cloud: &Cloud, groups: &BTreeSet<String>) {
        for it in self.0.iter_mut().filter(|it| it.stands) {
            let is_behind = packet::groups_before(cloud, &it.vm).iter().any(|it| groups.contains(it));
            it.stands = !is_behind || packet::passes(cloud, &it.vm, it.packet).is_ok_and(|it| it.passes);
        }
    }
}
