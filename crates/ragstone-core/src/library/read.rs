//! Reads without a search: documents, their chunks, pages, originals, and the text that a citation quotes.

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;

use super::text::{StoredText, original_key, text_key};
use super::{Library, LibraryError};
use crate::access::{Admitted, Scope};
use crate::document::{Chunk, Document, TextRange};
use crate::id::{DocumentId, Generation};
use crate::seam::catalogue::{DocumentAccess, DocumentFilter, ListPage, PageRequest};
use crate::seam::{CatalogueError, index::StoredChunk};

/// A document's original bytes, or a range of them.
pub struct OriginalBytes {
    /// The document, for its name and type.
    pub document: Document,
    /// Size of the whole original, in bytes.
    pub size: u64,
    /// The requested bytes, as a stream.
    pub bytes: BoxStream<'static, Result<Bytes, LibraryError>>,
}

impl Library {
    /// One page of the documents that `scope` admits.
    pub async fn list_documents(
        &self,
        scope: &Scope,
        filter: &DocumentFilter,
        page: &PageRequest,
    ) -> Result<ListPage<Document>, LibraryError> {
        Ok(self.catalogue.list_documents(scope, filter, page).await?)
    }

    /// A document; `None` if it does not exist or `scope` does not admit it.
    pub async fn get_document(&self, scope: &Scope, id: DocumentId) -> Result<Option<Document>, LibraryError> {
        let document = self.catalogue.get_document(scope, id).await?;
        Ok(document.filter(|document| scope.admits(&document.acl)))
    }

    /// The chunks of a document's published version, in their order; `None` if `scope` does not admit the document.
    pub async fn list_chunks(
        &self,
        scope: &Scope,
        id: DocumentId,
        page: &PageRequest,
    ) -> Result<Option<ListPage<Admitted<Chunk>>>, LibraryError> {
        let Some((_, generation)) = self.find_published(scope, id).await? else {
            return Ok(self.get_document(scope, id).await?.map(|_| ListPage {
                items: vec![],
                next_cursor: None,
            }));
        };
        let from = match &page.cursor {
            Some(cursor) => cursor.parse().map_err(|_| CatalogueError::BadCursor)?,
            None => 0,
        };
        let mut stored = self
            .index
            .list_chunks(scope, id, generation, from, page.limit + 1)
            .await?;
        let found = stored.len();
        stored.retain(|chunk| chunk.chunk.document_id == id && chunk.generation == generation);
        self.alarms.record_leaks(found - stored.len());
        let more = stored.len() > page.limit;
        let admit = |chunk: StoredChunk| Admitted::new(chunk.chunk);
        let items: Vec<_> = stored.into_iter().take(page.limit).map(admit).collect();
        let next_cursor = items
            .last()
            .filter(|_| more)
            .map(|chunk| (chunk.ordinal + 1).to_string());
        Ok(Some(ListPage { items, next_cursor }))
    }

    /// The text of a page (from 1) of a document's published version; `None` if there is no such page, or `scope` does
    /// not admit the document.
    pub async fn read_page(
        &self,
        scope: &Scope,
        id: DocumentId,
        page: u32,
    ) -> Result<Option<Admitted<String>>, LibraryError> {
        let Some((document, generation)) = self.find_published(scope, id).await? else {
            return Ok(None);
        };
        let key = text_key(&document.acl.tenant, id, generation);
        let stored = StoredText::open_text(self.blobs.as_ref(), key).await?;
        let span = stored.pages().iter().find(|span| span.page == Some(page)).cloned();
        Ok(match span {
            Some(span) => stored.read_range(&span.range).await?.map(Admitted::new),
            None => None,
        })
    }

    /// The stored text of `range`, read from the blobs and not from the index; quotes are compared with it. `None` if
    /// `generation` is no longer the published one, or `scope` does not admit the document.
    pub async fn read_quote(
        &self,
        scope: &Scope,
        id: DocumentId,
        generation: Generation,
        range: &TextRange,
    ) -> Result<Option<Admitted<String>>, LibraryError> {
        let texts = self
            .read_quotes(scope, id, generation, std::slice::from_ref(range))
            .await?;
        let text = texts.and_then(|texts| texts.into_inner().pop().flatten());
        Ok(text.map(Admitted::new))
    }

    /// [`Self::read_quote`] for several ranges of one version, which is opened once. An entry is `None` if it is not a
    /// range of the text.
    pub(super) async fn read_quotes(
        &self,
        scope: &Scope,
        id: DocumentId,
        generation: Generation,
        ranges: &[TextRange],
    ) -> Result<Option<Admitted<Vec<Option<String>>>>, LibraryError> {
        let access = self.catalogue.get_document_access(&[id]).await?.pop();
        let is_shown = |access: &DocumentAccess| access.published == Some(generation) && scope.admits(&access.acl);
        let Some(access) = access.filter(is_shown) else {
            return Ok(None);
        };
        let key = text_key(&access.acl.tenant, id, generation);
        let stored = StoredText::open_text(self.blobs.as_ref(), key).await?;
        let mut reader = stored.range_reader();
        let mut texts = Vec::with_capacity(ranges.len());
        for range in ranges {
            texts.push(reader.read_range(range).await?);
        }
        Ok(Some(Admitted::new(texts)))
    }

    /// The original bytes of a document's published version, all of them or a range; `None` if there is none, or
    /// `scope` does not admit the document.
    pub async fn open_original(
        &self,
        scope: &Scope,
        id: DocumentId,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<Option<OriginalBytes>, LibraryError> {
        let Some((document, generation)) = self.find_published(scope, id).await? else {
            return Ok(None);
        };
        let key = original_key(&document.acl.tenant, id, generation);
        let options = object_store::GetOptions {
            range: range.map(Into::into),
            ..Default::default()
        };
        let found = self.blobs.get_opts(&key, options).await?;
        let size = found.meta.size;
        let bytes = Box::pin(found.into_stream().map_err(LibraryError::from));
        Ok(Some(OriginalBytes { document, size, bytes }))
    }

    async fn find_published(
        &self,
        scope: &Scope,
        id: DocumentId,
    ) -> Result<Option<(Document, Generation)>, LibraryError> {
        let document = self.get_document(scope, id).await?;
        Ok(document.and_then(|document| document.published.map(|generation| (document, generation))))
    }
}
