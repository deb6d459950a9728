//! What comes with the bytes of an upload, in JSON or beside the files of a form.
//!
//! Invariant: a field that is not known is refused, so that a misspelt `readers` never opens a document to everyone.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ragstone_core::access::{Principal, ReaderSet};
use ragstone_core::document::Metadata;
use ragstone_core::id::{CollectionName, JobId, SourceName};
use ragstone_core::ingest::{Grants, Upload};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::problem::{Code, Problem};
use crate::http::unknown::unknown_field;

/// The source that uploads belong to.
const UPLOADS: &str = "upload";
/// The fields of a form, its files included.
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
];
/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What comes with a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Fields {
    pub uri: Option<String>,
    pub title: Option<String>,
    pub metadata: Metadata,
    pub department_id: Option<String>,
    pub readers: Vec<String>,
    pub source_url: Option<String>,
    pub collection: CollectionName,
    pub batch: Option<Uuid>,
}

/// A document whose text is sent as JSON.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct NewDocument {
    /// Its name within the uploads; the same again is a new version of the same document.
    pub uri: String,
    /// Plain text or Markdown.
    pub text: String,
    title: Option<String>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Metadata>,
    /// Counts as one more reader, `dept:<department_id>`.
    department_id: Option<String>,
    /// Readers any one of which may read it: `everyone`, `dept:<id>`, `group:<id>`, `user:<id>`.
    readers: Option<Vec<String>>,
    /// Where a person can open it.
    source_url: Option<String>,
    /// `default` unless said.
    #[schema(value_type = Option<String>)]
    collection: Option<CollectionName>,
    /// Makes the document's job a child of a batch: any UUID of the caller's choice; the first document that names it
    /// begins the batch, which is a job of this id.
    batch: Option<Uuid>,
}

/// A form with one or several files; the fields may stand before or after them.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form; its parts are read one by one")]
pub(in crate::http) struct UploadForm {
    /// One part a file, with its file name.
    #[schema(value_type = Vec<String>, format = Binary)]
    file: Vec<String>,
    /// `upload://<subject>/<file name>` unless said; for one file only.
    uri: Option<String>,
    /// For one file only.
    title: Option<String>,
    /// A JSON object.
    metadata: Option<String>,
    /// Counts as one more reader, `dept:<department_id>`.
    department_id: Option<String>,
    /// A JSON array of readers.
    readers: Option<String>,
    /// Where a person can open it; for one file only.
    source_url: Option<String>,
    /// `default` unless said.
    collection: Option<String>,
    /// Makes the documents' jobs children of a batch: any UUID of the caller's choice; the first document that names it
    /// begins the batch, which is a job of this id.
    batch: Option<Uuid>,
}

impl NewDocument {
    /// The fields, and the text.
    pub fn split(self) -> (Fields, String) {
        let fields = Fields {
            uri: Some(self.uri),
            title: self.title,
            metadata: self.metadata.unwrap_or_default(),
            department_id: self.department_id,
            readers: self.readers.unwrap_or_default(),
            source_url: self.source_url,
            collection: self.collection.unwrap_or_default(),
            batch: self.batch,
        };
        (fields, self.text)
    }
}

impl Fields {
    /// Reads one field of a form. An empty one counts as not sent, as browsers send it.
    pub fn set(&mut self, name: &str, value: String) -> Result<(), Problem> {
        let wrong = |what: &dyn std::fmt::Display| {
            Err(Problem::new(Code::BadField, format!("field {name}: {what}")).at(format!("/{name}")))
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
            "batch" => match value.parse() {
                Ok(batch) => self.batch = Some(batch),
                Err(error) => return wrong(&error),
            },
            _ => return Err(unknown_field(Code::BadField, "", name, FORM_FIELDS)),
        }
        Ok(())
    }

    /// Refuses what can name only one document.
    pub fn fit_several(&self) -> Result<(), Problem> {
        let single = [
            ("uri", &self.uri),
            ("title", &self.title),
            ("source_url", &self.source_url),
        ];
        match single.iter().find(|(_, value)| value.is_some()) {
            Some((name, _)) => {
                let detail = format!("field {name}: belongs to one document, but several files were sent");
                Err(Problem::new(Code::BadField, detail).at(format!("/{name}")))
            }
            None => Ok(()),
        }
    }

    /// The upload of a file of this name by `principal`.
    pub fn upload(
        &self,
        principal: &Principal,
        default_readers: &ReaderSet,
        name: String,
        declared_media_type: Option<String>,
    ) -> Result<Upload, Problem> {
        let grants = Grants {
            readers: self.readers.clone(),
            department_id: self.department_id.clone(),
        };
        let uri = || format!("{UPLOADS}://{}/{}", encoded(principal.subject()), encoded(&name));
        Ok(Upload {
            acl: grants.acl(principal, default_readers)?,
            uri: self.uri.clone().unwrap_or_else(uri),
            name,
            collection: self.collection.clone(),
            source: source(),
            title: self.title.clone(),
            declared_media_type,
            department_id: self.department_id.clone(),
            metadata: self.metadata.clone(),
            source_url: self.source_url.clone(),
            batch: self.batch.map(JobId),
        })
    }
}

fn source() -> SourceName {
    UPLOADS.parse().expect("a word of letters is a name")
}

/// Percent-encoded, all but unreserved characters.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The last component of a path of any system, without control characters; none if nothing is left.
pub(super) fn last_component(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control()).collect();
    let clean = clean.trim();
    (!clean.is_empty() && clean != "." && clean != "..").then(|| clean.to_owned())
}

/// The file name of a text that came as JSON: the end of its URI, made to say that it is text.
pub(super) fn text_name(uri: &str) -> String {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let name = last_component(path.trim_end_matches(['/', '\\'])).unwrap_or_else(|| "text".into());
    let lower = name.to_ascii_lowercase();
    match [".txt", ".md", ".markdown"]
        .iter()
        .any(|end| lower.ends_with(end))
    {
        true => name,
        false => format!("{name}.txt"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_their_last_component() {
        let check =
            |name: &str, expected: Option<&str>| assert_eq!(last_component(name).as_deref(), expected);
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
        let check = |uri: &str, expected: &str| assert_eq!(text_name(uri), expected);
        check("https://x.example/guide.html?v=1", "guide.html.txt");
        check("notes.md", "notes.md");
        check("doc-1", "doc-1.txt");
        check("https://x.example/a/", "a.txt");
        check("///", "text.txt");
    }

    #[test]
    fn fields_are_read_or_refused_by_name() {
        let mut fields = Fields::default();
        fields.set("readers", r#"["dept:x"]"#.into()).unwrap();
        fields.set("metadata", r#"{"year": 2024}"#.into()).unwrap();
        fields.set("title", String::new()).unwrap();
        assert_eq!((fields.readers.len(), fields.title.clone()), (1, None));
        for (name, value) in [
            ("reader", "everyone"),
            ("readers", "everyone"),
            ("metadata", "[]"),
            ("collection", "a b"),
            ("batch", "all"),
        ] {
            let problem = fields.set(name, value.into()).unwrap_err();
            assert_eq!(problem.code, Code::BadField);
            assert!(problem.detail.contains(name), "{}", problem.detail);
        }
    }
}
