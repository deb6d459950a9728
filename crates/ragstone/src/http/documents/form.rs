//! The fields of an upload, from JSON or from a multipart form.
//!
//! Invariant: an unknown field is refused, so that a misspelt `readers` never makes a document readable by everyone.

use ragstone_core::access::{Principal, ReaderSet};
use ragstone_core::document::{DocumentMetadata, DocumentUri};
use ragstone_core::id::{CollectionName, JobId, SourceName};
use ragstone_core::ingest::{GrantRequest, UploadMetadata, upload_uri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::problem::{ApiProblem, Code};
use crate::http::unknown::unknown_field;

/// Name of the source to which uploads belong.
pub(super) const UPLOADS: &str = "upload";
/// The names of all form fields, including `file`.
const FORM_FIELDS: &[&str] = &[
    "file",
    "uri",
    "title",
    "metadata",
    "department_id",
    "readers",
    "source_url",
    "collection",
    "batch",
    "replace",
];

/// The fields of an upload beside its bytes; for a form they apply to all of its files.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct UploadFields {
    pub uri: Option<String>,
    pub title: Option<String>,
    pub metadata: DocumentMetadata,
    pub department_id: Option<String>,
    pub readers: Vec<String>,
    pub source_url: Option<String>,
    pub collection: CollectionName,
    pub batch: Option<Uuid>,
    /// `None` is left out of the fingerprint of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<bool>,
}

/// A document whose text is sent as JSON.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct NewDocument {
    /// Name of the document within the uploads. The same name again makes a new version of the same document.
    pub uri: String,
    /// The text, as plain text or Markdown.
    pub text: String,
    /// Title: at most 1 KiB, without control characters.
    title: Option<String>,
    /// Key-value pairs that searches can filter by: at most 64 KiB and 256 keys.
    #[schema(value_type = Option<Object>)]
    metadata: Option<DocumentMetadata>,
    /// Department of the document; adds the reader `dept:<department_id>`.
    department_id: Option<String>,
    /// Readers, of which a caller needs to hold at least one: `everyone`, `dept:<id>`, `group:<id>`, `user:<id>`.
    readers: Option<Vec<String>>,
    /// URL that begins with `http://` or `https://`, where a person can open the document; at most 4 KiB.
    source_url: Option<String>,
    /// Collection to put the document into. Default: `default`.
    #[schema(value_type = Option<String>)]
    collection: Option<CollectionName>,
    /// Id of a batch to add the document's job to: any UUID that the client chose. The first document that names it
    /// creates the batch, which is a job with this id.
    batch: Option<Uuid>,
    /// Whether a different text may replace the one of an existing document with this `uri`. Default: `true`.
    replace: Option<bool>,
}

/// A form with one or several files. Its other fields may come before or after the files.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form; its parts are read one by one")]
pub(in crate::http) struct UploadForm {
    /// One part per file, each with a file name.
    #[schema(value_type = Vec<String>, format = Binary)]
    file: Vec<String>,
    /// Name of the document. Default: `upload://<subject>/<file name>`. For a single file only.
    uri: Option<String>,
    /// Title: at most 1 KiB, without control characters. For a single file only.
    title: Option<String>,
    /// A JSON object with key-value pairs that searches can filter by: at most 64 KiB and 256 keys.
    metadata: Option<String>,
    /// Department of the documents; adds the reader `dept:<department_id>`.
    department_id: Option<String>,
    /// A JSON array of readers such as `["everyone"]` or `["dept:<id>"]`.
    readers: Option<String>,
    /// URL where a person can open the document. For a single file only.
    source_url: Option<String>,
    /// Collection to put the documents into. Default: `default`.
    collection: Option<String>,
    /// Id of a batch to add the documents' jobs to: any UUID that the client chose. The first document that names it
    /// creates the batch, which is a job with this id.
    batch: Option<Uuid>,
    /// Whether a different file may replace an existing document of this name. Default: `true` if `uri` is given.
    /// Without `uri` it is `false`, and a file is refused with 409 `name_taken` if its sender has a different one of
    /// this name.
    replace: Option<bool>,
}

impl NewDocument {
    /// Splits the body into its fields and its text.
    pub fn into_parts(self) -> (UploadFields, String) {
        let fields = UploadFields {
            uri: Some(self.uri),
            title: self.title,
            metadata: self.metadata.unwrap_or_default(),
            department_id: self.department_id,
            readers: self.readers.unwrap_or_default(),
            source_url: self.source_url,
            collection: self.collection.unwrap_or_default(),
            batch: self.batch,
            replace: self.replace,
        };
        (fields, self.text)
    }
}

impl UploadFields {
    /// Sets one field of a form. An empty value counts as absent, because browsers send empty fields.
    pub fn set_field(&mut self, name: &str, value: String) -> Result<(), ApiProblem> {
        let wrong = |what: &dyn std::fmt::Display| {
            Err(ApiProblem::new(Code::BadField, format!("field {name}: {what}")).with_pointer(format!("/{name}")))
        };
        if !FORM_FIELDS.contains(&name) {
            return Err(unknown_field(Code::BadField, "", name, FORM_FIELDS));
        }
        if value.is_empty() {
            return Ok(());
        }
        match name {
            "uri" => self.uri = Some(value),
            "title" => self.title = Some(value),
            "source_url" => self.source_url = Some(value),
            "department_id" => self.department_id = Some(value),
            "metadata" => match serde_json::from_str(&value) {
                Ok(metadata) => self.metadata = metadata,
                Err(error) => return wrong(&error),
            },
            "readers" => match serde_json::from_str(&value) {
                Ok(readers) => self.readers = readers,
                Err(error) => return wrong(&error),
            },
            "collection" => match value.parse() {
                Ok(collection) => self.collection = collection,
                Err(error) => return wrong(&error),
            },
            "replace" => match value.parse() {
                Ok(replace) => self.replace = Some(replace),
                Err(_) => return wrong(&"is not true or false"),
            },
            "batch" => match value.parse() {
                Ok(batch) => self.batch = Some(batch),
                Err(error) => return wrong(&error),
            },
            _ => return Err(unknown_field(Code::BadField, "", name, FORM_FIELDS)),
        }
        Ok(())
    }

    /// Refuses fields that only one document can have, for a form with several files.
    pub fn check_several_files(&self) -> Result<(), ApiProblem> {
        let single = [
            ("uri", &self.uri),
            ("title", &self.title),
            ("source_url", &self.source_url),
        ];
        match single.iter().find(|(_, value)| value.is_some()) {
            Some((name, _)) => {
                let detail = format!("field {name}: belongs to one document, but several files were sent");
                Err(ApiProblem::new(Code::BadField, detail).with_pointer(format!("/{name}")))
            }
            None => Ok(()),
        }
    }

    /// The metadata of an upload by `principal` of a file with this name.
    pub fn build_upload(
        &self,
        principal: &Principal,
        default_readers: &ReaderSet,
        name: String,
        declared_media_type: Option<String>,
    ) -> Result<UploadMetadata, ApiProblem> {
        let grants = GrantRequest {
            readers: self.readers.clone(),
            department_id: self.department_id.clone(),
        };
        let uri: DocumentUri = match &self.uri {
            Some(uri) => uri.parse()?,
            None => upload_uri(principal, &name).parse()?,
        };
        Ok(UploadMetadata {
            acl: grants.build_acl(principal, default_readers)?,
            uri,
            may_replace: self.replace.unwrap_or(self.uri.is_some()),
            name,
            collection: self.collection.clone(),
            source: upload_source(),
            title: self.title.clone(),
            declared_media_type,
            department_id: self.department_id.clone(),
            metadata: self.metadata.clone().try_into()?,
            source_url: self.source_url.as_deref().map(str::parse).transpose()?,
            batch: self.batch.map(JobId),
        })
    }
}

fn upload_source() -> SourceName {
    UPLOADS.parse().expect("a word of letters is a name")
}

/// The last component of a Unix or Windows path, without control characters; `None` if nothing is left.
pub(super) fn last_component(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control()).collect();
    let clean = clean.trim();
    (!clean.is_empty() && clean != "." && clean != "..").then(|| clean.to_owned())
}

/// File name of a text sent as JSON: the end of its URI, with a text extension, so that it is parsed as text.
pub(super) fn text_file_name(uri: &str) -> String {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let name = last_component(path.trim_end_matches(['/', '\\'])).unwrap_or_else(|| "text".into());
    let lower = name.to_ascii_lowercase();
    match [".txt", ".md", ".markdown"].iter().any(|end| lower.ends_with(end)) {
        true => name,
        false => format!("{name}.txt"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_their_last_component() {
        let check = |name: &str, expected: Option<&str>| assert_eq!(last_component(name).as_deref(), expected);
        check("report.pdf", Some("report.pdf"));
        check("../../etc/passwd", Some("passwd"));
        check("C:\\Users\\me\\Bericht März.pdf", Some("Bericht März.pdf"));
        check("a\r\nb.txt", Some("ab.txt"));
        check("dir/", None);
        check("..", None);
        check(" ", None);
    }

    #[test]
    fn texts_are_named_as_text() {
        let check = |uri: &str, expected: &str| assert_eq!(text_file_name(uri), expected);
        check("https://x.example/guide.html?v=1", "guide.html.txt");
        check("notes.md", "notes.md");
        check("doc-1", "doc-1.txt");
        check("https://x.example/a/", "a.txt");
        check("///", "text.txt");
    }

    #[test]
    fn fields_are_read_or_refused_by_name() {
        let mut fields = UploadFields::default();
        fields.set_field("readers", r#"["dept:x"]"#.into()).unwrap();
        fields.set_field("metadata", r#"{"year": 2024}"#.into()).unwrap();
        fields.set_field("title", String::new()).unwrap();
        assert_eq!((fields.readers.len(), fields.title.clone()), (1, None));
        for (name, value) in [
            ("replace", "yes"),
            ("readers", "everyone"),
            ("metadata", "[]"),
            ("collection", "a b"),
            ("batch", "all"),
        ] {
            let problem = fields.set_field(name, value.into()).unwrap_err();
            assert_eq!(problem.code, Code::BadField);
            assert!(problem.detail.contains(name), "{}", problem.detail);
        }
        for value in ["everyone", ""] {
            let problem = fields.set_field("reader", value.into()).unwrap_err();
            assert!(problem.detail.contains("not known"), "{}", problem.detail);
        }
        let is_known = |name: &&&str| {
            let refused = fields.clone().set_field(name, "x".into()).err();
            refused.is_none_or(|problem| !problem.detail.contains("not known"))
        };
        let known = FORM_FIELDS.iter().filter(is_known).count();
        assert_eq!(
            known,
            FORM_FIELDS.len() - 1,
            "all but `file`, which is a part of its own"
        );
    }
}
