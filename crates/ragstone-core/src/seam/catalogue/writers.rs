//! Write permissions for `begin_version`, `patch_document` and `tombstone_document`, shared by all catalogues.
//!
//! Invariant: the check runs in the transaction that writes, on the row as that transaction sees it.

use super::{CatalogueError, CatalogueResult, DocumentPatch, NewVersion};
use crate::access::{Acl, Scope};
use crate::document::Document;

impl NewVersion {
    /// Whether the caller of `scope` may write this version over the existing document with its URI, if any.
    pub fn check_may_overwrite(&self, scope: &Scope, living: Option<&Document>) -> CatalogueResult<()> {
        if self.acl.tenant != *scope.tenant() {
            return Err(CatalogueError::UriTaken);
        }
        let Some(living) = living else {
            return Ok(());
        };
        if !scope.may_write(&living.acl, living.brought_by.as_deref()) {
            return Err(CatalogueError::UriTaken);
        }
        if !self.may_replace && living.content_hash != self.content_hash {
            return Err(CatalogueError::NameTaken);
        }
        check_readers(scope, &living.acl, &self.acl)
    }
}

impl DocumentPatch {
    /// Whether the caller of `scope`, who may read the document, may make these changes.
    pub fn check_may_patch(&self, scope: &Scope, document: &Document) -> CatalogueResult<()> {
        check_writer(scope, document)?;
        match &self.acl {
            Some(acl) if acl.tenant != *scope.tenant() => Err(CatalogueError::UriTaken),
            Some(acl) => check_readers(scope, &document.acl, acl),
            None => Ok(()),
        }
    }
}

/// Refuses a change that adds or removes a reader that the caller may not grant.
fn check_readers(scope: &Scope, before: &Acl, after: &Acl) -> CatalogueResult<()> {
    match scope.first_ungrantable_reader(before, after) {
        Some(reader) => Err(CatalogueError::ReaderRefused(reader.clone())),
        None => Ok(()),
    }
}

/// Whether the caller of `scope`, who may read a document, may also change or delete it.
pub fn check_writer(scope: &Scope, document: &Document) -> CatalogueResult<()> {
    match scope.may_write(&document.acl, document.brought_by.as_deref()) {
        true => Ok(()),
        false => Err(CatalogueError::WriteRefused),
    }
}
