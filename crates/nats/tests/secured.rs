//! Members prove who they are, and the connection is encrypted; what is wrong is one line that says so.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests, of real servers that take real time

mod common;

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use reliable_channel::transport::{Topic, Transport as _};
use reliable_channel_nats::{Credentials, Nats, NatsError, Options, Tls};
use serde_json::{Value, json};

use common::{BOTH, Server};

/// Whether somebody hears what a member with these options says.
async fn works(options: Options) {
    let (alice, bob) = (Nats::connect(options.clone()).await.unwrap(), Nats::connect(options).await.unwrap());
    let mut heard = bob.subscribe(&Topic::from("lobby")).await.unwrap();
    alice.publish(&Topic::from("lobby"), None, "hello".into()).await.unwrap();
    assert_eq!(heard.next().await.unwrap().unwrap().bytes, "hello");
}

/// Why a member with these options is refused, in one line. It does not wait for a server that there is.
async fn refused(options: Options) -> NatsError {
    let connecting = Nats::connect(Options { keep_trying: true, ..options });
    let error =
        tokio::time::timeout(std::time::Duration::from_secs(30), connecting).await.unwrap().map(drop).unwrap_err();
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

#[tokio::test]
async fn a_user_and_a_token_stand_in_the_options_or_in_the_url() {
    for generation in BOTH {
        let program = program_or_skip!(generation);
        let server = Server::with(&program, "authorization { token: right }\n");
        let with = |credentials| Options { credentials, ..server.options() };
        works(with(Credentials::Token("right".into()))).await;
        works(Options { url: server.url().replace("//", "//right@"), ..Options::default() }).await;
        let error = refused(with(Credentials::Token("wr0ng".into()))).await;
        assert!(matches!(error, NatsError::Credentials { .. }) && !error.to_string().contains("wr0ng"), "{error}");

        let server = Server::with(&program, "authorization { user: alice, password: right }\n");
        let user = |password: &str| Credentials::User { name: "alice".into(), password: password.into() };
        works(Options { credentials: user("right"), ..server.options() }).await;
        works(Options { url: server.url().replace("//", "//alice:right@"), ..Options::default() }).await;
        let error = refused(Options { url: server.url().replace("//", "//alice:wr0ng@"), ..Options::default() }).await;
        assert!(matches!(error, NatsError::Credentials { .. }) && !error.to_string().contains("wr0ng"), "{error}");
    }
}

#[tokio::test]
async fn an_nkey_that_the_server_knows_does() {
    for generation in BOTH {
        let program = program_or_skip!(generation);
        let (alice, mallory) = (KeyPair::new_user(), KeyPair::new_user());
        let server =
            Server::with(&program, &format!("authorization {{ users: [{{ nkey: {} }}] }}\n", alice.public_key()));
        let with = |seed: &str| Options { credentials: Credentials::Nkey(seed.into()), ..server.options() };
        works(with(&alice.seed().unwrap())).await;
        for wrong in [mallory.seed().unwrap().as_str(), "SUnot a seed", ""] {
            let error = refused(with(wrong)).await;
            assert!(matches!(error, NatsError::Credentials { .. }), "{wrong}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_credentials_file_does_and_another_accounts_does_not() {
    for generation in BOTH {
        let program = program_or_skip!(generation);
        let [operator, account] = [KeyPair::new_operator(), KeyPair::new_account()];
        let limits = json!({"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1,
            "leaf": -1, "wildcards": true});
        let of_operator = jwt(&operator, &operator, &json!({"type": "operator", "version": 2}));
        let of_account = jwt(&operator, &account, &json!({"type": "account", "version": 2, "limits": limits}));
        let server = Server::with(
            &program,
            &format!(
                "jetstream: false\noperator: {of_operator}\nresolver: MEMORY\nresolver_preload: {{ {}: {of_account} }}\n",
                account.public_key()
            ),
        );
        let dir = tempfile::tempdir().unwrap();
        let credentials = |name: &str, account: &KeyPair| {
            let user = KeyPair::new_user();
            let of_user =
                jwt(account, &user, &json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}));
            let path = dir.path().join(name);
            let text = format!(
                "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n\
                 -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
                user.seed().unwrap()
            );
            std::fs::write(&path, text).unwrap();
            Options { credentials: Credentials::File(path), history: None, ..server.options() }
        };
        works(credentials("right", &account)).await;
        let error = refused(credentials("wrong", &KeyPair::new_account())).await;
        assert!(matches!(error, NatsError::Credentials { .. }), "{error:?}");
        let broken = dir.path().join("broken");
        std::fs::write(&broken, "no credentials").unwrap();
        let error = refused(Options { credentials: Credentials::File(broken), ..server.options() }).await;
        assert!(matches!(error, NatsError::File { .. }) && error.to_string().contains("cannot be used"), "{error}");
    }
}

/// What `nsc` writes: claims about somebody, signed by the one above.
fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: &Value) -> String {
    let part = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let head = part(json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let claims = part(json!({"jti": "a test's", "iat": 1_700_000_000, "iss": issuer.public_key(),
        "sub": subject.public_key(), "name": "test", "nats": nats}));
    let signed = format!("{head}.{claims}");
    let signature = BASE64URL_NOPAD.encode(&issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

/// An authority, and certificates that it signed, by `openssl`.
struct Authority(tempfile::TempDir);

impl Authority {
    /// One of this test; `None` where there is no `openssl`.
    fn new() -> Option<Self> {
        let is_there = Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_ok();
        if !is_there {
            assert!(env::var_os("RC_NATS").is_none_or(|wanted| wanted != "required"), "no openssl");
            let _ = io::stderr().write_all(b"SKIPPED: no openssl here to make certificates with\n");
            return None;
        }
        let authority = Self(tempfile::tempdir().unwrap());
        authority.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem");
        Some(authority)
    }

    fn openssl(&self, line: &str) {
        let mut command = Command::new("openssl");
        let output = command.args(line.split(' ')).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Files of a certificate for this machine and of its key.
    fn signs(&self, name: &str) -> (PathBuf, PathBuf) {
        std::fs::write(self.file("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost").unwrap();
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out {name}.pem"
        ));
        (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Lines of a configuration with this certificate, which ask for one where an authority is given.
fn tls((certificate, key): &(PathBuf, PathBuf), asks: Option<&Path>, more: &str) -> String {
    let asks = asks.map(|ca| format!("verify: true, ca_file: {ca:?}")).unwrap_or_default();
    format!("tls {{ cert_file: {certificate:?}, key_file: {key:?}, {asks} {more} }}\n")
}

#[tokio::test]
async fn an_encrypted_connection_trusts_the_authority_that_is_given_and_no_other() {
    for generation in BOTH {
        let program = program_or_skip!(generation);
        let (Some(ours), Some(other)) = (Authority::new(), Authority::new()) else { return };
        let server = Server::with(&program, &tls(&ours.signs("server"), None, ""));
        let with = |tls: Tls| Options { tls, ..server.options() };
        let trusting = |ca: PathBuf| Tls { roots: Some(ca), ..Tls::default() };
        works(with(trusting(ours.file("ca.pem")))).await;
        works(Options { url: server.url().replace("nats:", "tls:"), ..with(trusting(ours.file("ca.pem"))) }).await;
        for tls in [Tls::default(), trusting(other.file("ca.pem"))] {
            let error = refused(with(tls)).await;
            assert!(matches!(error, NatsError::Tls { .. }), "{error:?}");
            assert!(error.to_string().contains("give the authority that signed"), "{error}");
        }
        for no_certificate in [other.file("ca.key"), other.file("none"), other.0.path().to_owned()] {
            let error = refused(with(trusting(no_certificate))).await;
            assert!(matches!(error, NatsError::File { .. }), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_the_members_own() {
    for generation in BOTH {
        let program = program_or_skip!(generation);
        let (Some(ours), Some(other)) = (Authority::new(), Authority::new()) else { return };
        let ca = ours.file("ca.pem");
        let server = Server::with(&program, &tls(&ours.signs("server"), Some(&ca), ""));
        let with = |own| Options { tls: Tls { roots: Some(ca.clone()), own, ..Tls::default() }, ..server.options() };
        works(with(Some(ours.signs("alice")))).await;
        for own in [None, Some(other.signs("mallory"))] {
            let error = refused(with(own)).await;
            assert!(matches!(error, NatsError::Tls { .. }), "{error:?}");
        }
        let (certificate, key) = ours.signs("bob");
        for (certificate, key) in [(key.clone(), key.clone()), (certificate.clone(), certificate)] {
            let error = refused(with(Some((certificate, key)))).await;
            assert!(matches!(error, NatsError::File { .. }), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_server_without_encryption_is_refused_where_it_is_required() {
    for generation in BOTH {
        let program = program_or_skip!(generation);
        let server = Server::start(&program);
        let required = Tls { required: true, ..Tls::default() };
        let error = refused(Options { tls: required, ..server.options() }).await;
        assert!(matches!(error, NatsError::Tls { .. }), "{error:?}");
    }
}

/// Only newer servers do so.
#[tokio::test]
async fn encryption_that_begins_before_the_greeting_does() {
    let program = program_or_skip!(common::Generation::Newer);
    let Some(ours) = Authority::new() else { return };
    let server = Server::with(&program, &tls(&ours.signs("server"), None, "handshake_first: true"));
    works(Options { tls: Tls { first: true, roots: Some(ours.file("ca.pem")), ..Tls::default() }, ..server.options() })
        .await;
}
