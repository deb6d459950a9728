//! What a scope admits, beside what it refuses.

use super::*;

fn readers(names: &[&str]) -> ReaderSet {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn caller(tenant: &str, names: &[&str]) -> Principal {
    Principal::verified(tenant.parse().unwrap(), "u".into(), readers(names), Role::Writer)
}

#[test]
fn a_scope_admits_what_every_set_grants_and_refuses_the_twin() {
    let acl = |tenant: &str, sets: &[&[&str]]| Acl {
        tenant: tenant.parse().unwrap(),
        sets: sets.iter().map(|set| readers(set)).collect(),
    };
    let check = |acl: Acl, admitted: bool| {
        assert_eq!(
            caller("a", &["dept:x", "group:g"]).scope().admits(&acl),
            admitted,
            "{acl:?}"
        );
    };
    check(acl("a", &[&["dept:x"]]), true);
    check(acl("b", &[&["dept:x"]]), false);
    check(acl("a", &[&["dept:y"]]), false);
    check(acl("a", &[&["everyone"]]), true);
    check(acl("b", &[&["everyone"]]), false);
    check(acl("a", &[&["dept:x", "dept:y"], &["group:g"]]), true);
    check(acl("a", &[&["dept:x"], &["group:h"]]), false);
    check(acl("a", &[]), false);
    check(acl("a", &[&[]]), false);
    check(acl("a", &[&["everyone"], &[]]), false);
}

#[test]
fn the_operator_reads_its_tenant_and_no_other() {
    let operator = Principal::local_operator().scope();
    let acl = |tenant: &str| Acl::any_of(tenant.parse().unwrap(), readers(&["user:someone"]));
    assert!(operator.admits(&acl("default")));
    assert!(!operator.admits(&acl("other")));
}

#[test]
fn a_writer_grants_only_what_it_holds() {
    let writer = caller("a", &["dept:x"]);
    assert!(writer.may_grant(&"dept:x".parse().unwrap()));
    assert!(!writer.may_grant(&"dept:y".parse().unwrap()));
}

#[test]
fn nobody_cannot_be_granted_or_held() {
    assert!("nobody".parse::<Reader>().is_err());
    let forged = [Reader::nobody()].into_iter().collect();
    let caller = Principal::verified(TenantId::default(), "u".into(), forged, Role::Reader);
    assert!(
        !caller
            .scope()
            .admits(&Acl::any_of(TenantId::default(), [Reader::nobody()]))
    );
}

#[test]
fn readers_are_parsed_at_the_door() {
    for bad in ["", "dept:", "dept: ", "team:x", "user:a\nb", "Everyone"] {
        assert!(bad.parse::<Reader>().is_err(), "{bad:?}");
    }
}
