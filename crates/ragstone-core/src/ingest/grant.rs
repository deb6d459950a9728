//! Who may read an upload: what its sender asks for, within what the sender may grant.

use crate::access::{Acl, Principal, Reader, ReaderError, ReaderSet, Role};

/// The reader a department stands for.
fn department_reader(id: &str) -> Result<Reader, ReaderError> {
    format!("dept:{id}").parse()
}

/// What a sender asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrantRequest {
    /// Readers any one of which is enough.
    pub readers: Vec<String>,
    /// A department, which counts as one more of them.
    pub department_id: Option<String>,
}

/// Why it was not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Not a reader.
    #[error(transparent)]
    Reader(#[from] ReaderError),
    /// Nobody was named and nothing stands for that.
    #[error("readers are required: name `readers` or a `department_id`")]
    Required,
    /// The sender does not hold it.
    #[error("you may not grant {0}")]
    NotYours(Reader),
    /// The sender may only read.
    #[error("this caller may read but not write")]
    ReadOnly,
}

impl GrantRequest {
    /// The ACL of the upload; `default` stands in where nothing was asked for.
    pub fn build_acl(&self, principal: &Principal, default: &ReaderSet) -> Result<Acl, GrantError> {
        self.build_acl_with_existing(principal, default, &ReaderSet::new())
    }

    /// The same for a document that has the readers `standing`: they need not be the sender's to grant.
    pub fn build_acl_with_existing(
        &self,
        principal: &Principal,
        default: &ReaderSet,
        standing: &ReaderSet,
    ) -> Result<Acl, GrantError> {
        if principal.role() == Role::Reader {
            return Err(GrantError::ReadOnly);
        }
        let mut readers: ReaderSet = self
            .readers
            .iter()
            .map(|reader| reader.parse())
            .collect::<Result<_, _>>()?;
        if let Some(id) = &self.department_id {
            readers.insert(department_reader(id)?);
        }
        if readers.is_empty() {
            readers.clone_from(default);
        }
        if readers.is_empty() {
            return Err(GrantError::Required);
        }
        let is_refused = |reader: &&Reader| !principal.may_grant(reader) && !standing.contains(*reader);
        match readers.iter().find(is_refused) {
            Some(reader) => Err(GrantError::NotYours(reader.clone())),
            None => Ok(Acl {
                tenant: principal.tenant().clone(),
                sets: vec![readers],
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(role: Role) -> Principal {
        let readers = ["dept:x".parse().unwrap()].into_iter().collect();
        Principal::verified("a".parse().unwrap(), "u".into(), readers, role)
    }

    #[test]
    fn a_sender_grants_what_it_holds_and_no_more() {
        let everyone: ReaderSet = [Reader::everyone()].into_iter().collect();
        let check = |role, readers: &[&str], department: Option<&str>, granted: Result<&[&str], &str>| {
            let grants = GrantRequest {
                readers: readers.iter().map(|&reader| reader.into()).collect(),
                department_id: department.map(Into::into),
            };
            let acl = grants
                .build_acl(&caller(role), &everyone)
                .map_err(|error| error.to_string());
            match (acl, granted) {
                (Ok(acl), Ok(names)) => {
                    let expected: ReaderSet = names.iter().map(|name| name.parse().unwrap()).collect();
                    assert_eq!(acl.sets, [expected]);
                }
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (acl, granted) => panic!("{acl:?} is not {granted:?}"),
            }
        };
        check(Role::Writer, &[], None, Ok(&["everyone"]));
        check(Role::Writer, &[], Some("x"), Ok(&["dept:x"]));
        check(Role::Writer, &["user:u"], Some("x"), Err("may not grant user:u"));
        check(Role::Writer, &[], Some("y"), Err("may not grant dept:y"));
        check(Role::Admin, &["user:u"], Some("y"), Ok(&["user:u", "dept:y"]));
        check(Role::Admin, &["staff"], None, Err("not one of"));
        check(Role::Reader, &[], Some("x"), Err("not write"));
        let none = GrantRequest::default().build_acl(&caller(Role::Admin), &ReaderSet::new());
        assert_eq!(none, Err(GrantError::Required));
    }
}
