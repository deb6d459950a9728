//! The first thing a newcomer sees.

use std::net::TcpListener;

use crate::support::Sandbox;

#[test]
fn it_answers_with_the_page_and_can_be_repeated() {
    answers_and_repeats(&Sandbox::new());
}

#[test]
fn it_answers_by_words_alone() {
    answers_and_repeats(&Sandbox::lexical());
}

fn answers_and_repeats(sandbox: &Sandbox) {
    let first = sandbox.run(&["quickstart", "--exit"]).ended(0);
    assert!(first.out.contains("45 days"), "{}", first.out);
    assert!(first.out.contains("page 4"), "{}", first.out);
    assert!(
        first.err.contains("/docs") && first.err.contains("curl"),
        "{}",
        first.err
    );
    let second = sandbox.run(&["quickstart", "--exit"]).ended(0);
    assert!(second.err.contains("0 published (0 chunks)"), "{}", second.err);
    assert!(second.out.contains("page 4"), "{}", second.out);
    assert!(sandbox.path().join(".ragstone/quickstart").is_dir());
}

#[test]
fn it_takes_another_port_where_one_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let sandbox = Sandbox::lexical().with("RAGSTONE_LISTEN", &address.to_string());
    let ran = sandbox.run(&["quickstart", "--exit"]).ended(0);
    assert!(
        ran.err.contains(&format!("port {} is taken, using", address.port())),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("searching by words alone"), "{}", ran.err);
}
