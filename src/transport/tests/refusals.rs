//! What is said where a login fails: at the node, on the way to it, or in our own configuration.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use super::{
    super::{Frame, HostKeys, LinkError, SshArguments, Target},
    over_ssh::{Server, connect, transport},
};

/// A target behind a way, with a configuration that also lets the jump host in.
fn behind(server: &Server, way: &str) -> Target {
    let configuration = format!("Host *\n  IdentityFile {}\n  IdentitiesOnly yes\n", server.path("key").display());
    fs::write(server.path("ssh_config"), configuration).unwrap();
    let arguments = SshArguments::parse(&format!("-F {} {way}", server.path("ssh_config").display())).unwrap();
    Target { arguments, connect_timeout: Duration::from_secs(5), ..server.target() }
}

async fn refused(target: &Target) -> LinkError {
    let (transport, _base) = transport();
    let begun = Instant::now();
    let error = connect(&transport, target, Frame::default()).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(30), "it was tried again, for what time does not heal: {error}");
    error
}

#[tokio::test]
async fn the_jump_host_is_named_where_it_is_the_cause() {
    let (node, forbids) = (Server::start("").await, Server::start("AllowTcpForwarding no").await);
    let (weak, gate) = (Server::start("Ciphers aes128-cbc").await, Server::start("").await);
    let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let known = [&node, &forbids, &weak, &gate].map(|server| fs::read_to_string(server.path("known_hosts")).unwrap()).concat();
    fs::write(node.path("known_hosts"), known).unwrap();
    // The jump hosts let the same key in.
    for server in [&forbids, &weak, &gate] {
        fs::copy(node.path("key.pub"), server.path("key.pub")).unwrap();
    }
    let jump = |port: u16| format!("-J 127.0.0.1:{port}");
    let empty = node.path("empty");
    fs::write(&empty, "").unwrap();
    let cases = [
        (jump(forbids.port), "sshd there forbids to go on to"),
        ("-J no-such-host.invalid".to_owned(), "the name `no-such-host.invalid` cannot be resolved"),
        (jump(unused), "it refuses the connection"),
        (jump(weak.port), "no cipher in common; it offers aes128-cbc"),
        (format!("-J stranger@127.0.0.1:{}", node.port), "it does not let us in: stranger@127.0.0.1: Permission denied"),
        (
            "-o 'ProxyCommand=sh -c \"echo no way >&2; exit 3\"'".to_owned(),
            "because of the proxy command `sh -c \"echo no way >&2; exit 3\"`: it fails: no way",
        ),
    ];
    for (way, wanted) in cases {
        let error = refused(&behind(&node, &way)).await;
        assert!(matches!(error, LinkError::OnTheWay { .. }) && error.to_string().contains(wanted), "{way}: {error}");
    }
    // An unknown key: the file is one for all hosts.
    let unknown = Target { known_hosts: Some(empty.clone()), ..behind(&node, &jump(forbids.port)) };
    let error = refused(&unknown).await;
    let help = error.remedy().unwrap();
    assert!(error.to_string().contains("its host key is not known"), "{error}");
    assert!(help.contains(&format!("`ssh-keyscan -p {} 127.0.0.1 >> {}`", forbids.port, empty.display())), "{help}");
    // The same way works where nothing is in it.
    let (transport, _base) = transport();
    let through = behind(&node, &jump(gate.port));
    let (connected, _) = connect(&transport, &through, Frame::default()).await.unwrap();
    super::super::Channel::close(connected).await;
    // Behind a jump host that works, a fault of the node is the node's.
    let denied = Target { user: Some("stranger".to_owned()), ..through };
    let error = refused(&denied).await;
    assert!(matches!(error, LinkError::NoKeyAccepted { .. }), "{error}");
}

#[tokio::test]
async fn a_revoked_host_key_has_its_place_and_no_way_out() {
    let server = Server::start("").await;
    let key = fs::read_to_string(server.path("host.pub")).unwrap();
    fs::write(server.path("revoked"), format!("# keys\n\n@revoked * {key}")).unwrap();
    for host_keys in [HostKeys::Strict, HostKeys::AcceptNew] {
        let error = refused(&Target { known_hosts: Some(server.path("revoked")), host_keys, ..server.target() }).await;
        let wanted = format!(" is REVOKED in {}, line 3", server.path("revoked").display());
        assert!(error.to_string().contains(&wanted), "{error}");
        assert_eq!(error.remedy(), None);
    }
}

#[tokio::test]
async fn two_sides_that_have_nothing_in_common_are_told_apart() {
    for (setting, wanted) in [
        ("Ciphers aes128-cbc", "Ciphers"),
        ("KexAlgorithms diffie-hellman-group14-sha1", "KexAlgorithms"),
        ("MACs hmac-sha1-96\nCiphers aes128-ctr", "MACs"),
    ] {
        let server = Server::start(setting).await;
        let error = refused(&server.target()).await;
        let help = error.remedy().unwrap();
        assert!(
            matches!(error, LinkError::NothingInCommon { .. }) && help.contains(&format!("`-o {wanted}=+")),
            "{error} {help}"
        );
    }
    let server = Server::start("").await;
    let arguments = SshArguments::parse("-F none -o HostKeyAlgorithms=rsa-sha2-512").unwrap();
    let error = refused(&Target { arguments, ..server.target() }).await;
    assert!(error.to_string().contains("no host key type in common; it offers ssh-ed25519"), "{error}");
}

#[tokio::test]
async fn a_key_that_ssh_does_not_use_is_named() {
    let server = Server::start("").await;
    fs::set_permissions(server.path("key"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = refused(&server.target()).await;
    let wanted = format!("the private key `{}` has the mode 0644", server.path("key").display());
    assert!(matches!(error, LinkError::OwnConfiguration { .. }) && error.to_string().contains(&wanted), "{error}");
    let missing = Target { identity: Some(server.path("missing")), ..server.target() };
    let error = refused(&missing).await;
    assert!(error.to_string().contains(&format!("there is no private key `{}`", server.path("missing").display())), "{error}");
}

#[tokio::test]
async fn the_hint_for_an_unknown_key_works() {
    let server = Server::start("").await;
    let configuration = format!(
        "Host alias\n  HostName 127.0.0.1\n  Port {}\n  UserKnownHostsFile {}\n",
        server.port,
        server.path("new").display()
    );
    fs::write(server.path("ssh_config"), configuration).unwrap();
    let arguments = SshArguments::parse(&format!("-F {}", server.path("ssh_config").display())).unwrap();
    let target = Target { host: "alias".to_owned(), port: None, known_hosts: None, arguments, ..server.target() };
    let LinkError::UnknownHostKey { keyscan, .. } = refused(&target).await else { panic!("another error") };
    let ran = std::process::Command::new("sh").args(["-c", &keyscan]).output().unwrap();
    assert!(ran.status.success(), "{keyscan}: {ran:?}");
    let (transport, _base) = transport();
    let (node, _) = connect(&transport, &target, Frame::default()).await.unwrap();
    super::super::Channel::close(node).await;
}
