//! Who is connected to this machine, as the kernel lists it.

use portcullis_domain::{Gate, Port, Protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// In `/proc/net/tcp`: a connection that is established. Source: Linux, `include/net/tcp_states.h`.
const ESTABLISHED: &str = "01";

/// The remote ends of established connections, with the port here; without those from here.
///
/// Takes the text of `/proc/net/tcp` or `/proc/net/tcp6`. Source: proc(5).
pub fn parse(text: &str) -> Vec<(Gate, IpAddr)> {
    text.lines().skip(1).filter_map(line).filter(|(_, from)| !from.is_loopback()).collect()
}

fn line(line: &str) -> Option<(Gate, IpAddr)> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    if state != ESTABLISHED {
        return None;
    }
    let (_, port) = local.split_once(':')?;
    let port: Port = u16::from_str_radix(port, 16).ok()?.try_into().ok()?;
    let (address, _) = remote.split_once(':')?;
    Some((Gate { port, protocol: Protocol::Tcp }, parse_address(address)?))
}

/// The kernel prints addresses as words of this machine's byte order, in hexadecimal.
fn parse_address(text: &str) -> Option<IpAddr> {
    const WORD_DIGITS: usize = 8;
    let word = |n: usize| {
        let digits = text.get(n * WORD_DIGITS..(n + 1) * WORD_DIGITS)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    if text.len() == WORD_DIGITS {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let bytes: Vec<u8> = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
    let address: [u8; 16] = bytes.try_into().ok()?;
    Some(IpAddr::from(Ipv6Addr::from(address)).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn established_connections_from_elsewhere_are_told() {
        let v4 = "  sl  local_address rem_address   st tx_queue\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n\
            1: 02004D0A:0016 0500A8C0:D431 01 00000000:00000000\n\
            2: 0100007F:0016 0100007F:D432 01 00000000:00000000\n";
        let told = |text: &str| {
            let told = parse(text).into_iter().map(|(gate, from)| format!("{gate} from {from}"));
            told.collect::<Vec<_>>()
        };
        assert_eq!(told(v4), ["22/tcp from 192.168.0.5"]);
        let v6 = "header\n\
            0: 0000000000000000FFFF000002004D0A:0016 0000000000000000FFFF00000300A8C0:D431 01 0\n\
            1: 000077FD000000000000000001000000:0016 000077FD000000000000000002000000:D431 01 0\n";
        assert_eq!(told(v6), ["22/tcp from 192.168.0.3", "22/tcp from fd77::2"]);
    }
}
