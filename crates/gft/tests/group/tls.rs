//! HTTPS: a certificate that the system, or `SSL_CERT_FILE`, vouches for, and one that nobody does.

use gft_testserver::{Authority, Request, Server, openai};

use crate::Bench;
use crate::world::said;

#[test]
fn certificates_are_checked() {
    let bench = Bench::new();
    let authority = Authority::new();
    let server = Server::start_tls(&authority, |request: &Request| openai::good(&request.body));
    let url = format!("{}/v1", server.url);
    let flags = ["--teacher", "m", "--url", &url, "--limit", "3", "--tries", "1", "--timeout", "30"];
    let trusted = |name: &str, pem: &str| {
        let path = bench.path(name);
        std::fs::write(&path, pem).unwrap();
        bench.command("out.jsonl", &flags).env("SSL_CERT_FILE", path).output().unwrap()
    };
    let output = trusted("other.pem", &Authority::new().pem);
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    assert!(said(&output).contains("certificate"), "{}", said(&output));
    assert!(server.seen().is_empty() && !bench.path("out.jsonl").exists());
    let output = trusted("own.pem", &authority.pem);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!((bench.rows("out.jsonl").len(), server.seen().len()), (3, 3));
}
