//! Where clients are behind proxies (`Forwarded`, RFC 7239, and `X-Forwarded-For`): nothing that a client writes counts where a proxy
//! has written.

use std::net::IpAddr;

use plainwire::fuzzing::client_address;

use crate::Choices;

/// A choice of the header, then lines, as a client sent them.
pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let forwarded = choices.byte() & 1 == 1;
    let lines: Vec<&[u8]> = choices.rest().split(|byte| *byte == b'\n').collect();
    let [proxy, stranger, client] =
        ["10.0.0.1", "198.51.100.7", "192.0.2.1"].map(|text| text.parse::<IpAddr>().expect("an address"));

    assert_eq!(client_address(stranger, forwarded, &lines), stranger, "who is not trusted is not believed");
    let found = client_address(proxy, forwarded, &lines);
    assert_eq!(found, found.to_canonical());

    // A proxy adds a line of its own.
    let hop: &[u8] = if forwarded { b"for=192.0.2.1" } else { b"192.0.2.1" };
    let with_line: Vec<&[u8]> = lines.iter().copied().chain([hop]).collect();
    assert_eq!(client_address(proxy, forwarded, &with_line), client);

    // Or it goes on with the last one.
    let Some((last, before)) = lines.split_last() else { return };
    let longer = [last, &b", "[..], hop].concat();
    let with_hop: Vec<&[u8]> = before.iter().copied().chain([&longer[..]]).collect();
    let told = client_address(proxy, forwarded, &with_hop);
    // What cannot be sent at all, control characters, is left out by the target.
    let sent = last.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    if sent && !forwarded {
        assert_eq!(told, client, "a client hides nothing");
    } else if sent {
        assert!(told == client || told == proxy, "{told} is neither what the proxy wrote nor the proxy");
    }

    // What is to the left of a client that was found is made up.
    if !client_is_trusted(found) {
        let made_up: &[u8] = if forwarded { b"for=203.0.113.66" } else { b"203.0.113.66" };
        let more: Vec<&[u8]> = [made_up].into_iter().chain(lines.iter().copied()).collect();
        assert_eq!(client_address(proxy, forwarded, &more), found);
    }
}

fn client_is_trusted(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.octets()[0] == 10)
}
