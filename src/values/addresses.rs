//! The addresses of a connection.

use std::net::IpAddr;

/// Both ends of the connection, as the node's sshd sees them (`SSH_CONNECTION`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The address from which the connection comes.
    pub client_ip: IpAddr,
    /// The port at the client.
    pub client_port: u16,
    /// The node's address.
    pub server_ip: IpAddr,
    /// sshd's port.
    pub server_port: u16,
}

impl Addresses {
    /// Parses the value of `SSH_CONNECTION`: client address, client port, server address, server port. An IPv4 address may be mapped into IPv6.
    #[must_use]
    pub fn from_ssh_connection(value: &str) -> Option<Self> {
        // A link-local address contains its interface: fe80::1%eth0.
        let address = |field: &str| Some(field.split('%').next()?.parse::<IpAddr>().ok()?.to_canonical());
        let mut fields = value.split_whitespace();
        let client_ip = address(fields.next()?)?;
        let client_port = fields.next()?.parse().ok()?;
        let server_ip = address(fields.next()?)?;
        let server_port = fields.next()?.parse().ok()?;
        fields.next().is_none().then_some(Self { client_ip, client_port, server_ip, server_port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_value_that_sshd_sets() {
        let addresses = Addresses::from_ssh_connection("::ffff:198.18.0.1 40000 ::ffff:198.18.0.2 22").unwrap();
        assert_eq!((addresses.client_ip, addresses.server_port), ("198.18.0.1".parse().unwrap(), 22));
        assert!(Addresses::from_ssh_connection("2001:db8::1 40000 2001:db8::2 22").is_some());
        assert!(Addresses::from_ssh_connection("fe80::1%eth0 40000 fe80::2%eth0 22").is_some());
        for invalid in ["", "198.18.0.1 1 198.18.0.2", "a 1 b 2", "198.18.0.1 1 198.18.0.2 70000", "198.18.0.1 1 198.18.0.2 2 3"]
        {
            assert!(Addresses::from_ssh_connection(invalid).is_none(), "{invalid}");
        }
    }
}
