//! The OpenAI-compatible adapters over real sockets: against a small server of our own, and against the stub of the
//! shared tools where that is at hand.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
#![cfg(feature = "openai")]

mod chat;
mod chat_forms;
mod embed;
mod embed_faults;
mod extractive;
mod fake;
mod stub;

use std::time::Duration;

use ragstone_adapters::openai::{ApiSecret, OpenAiConnection, ServiceLimits};
use ragstone_core::access::Admitted;
use ragstone_core::document::Chunk;
use ragstone_core::id::{ChunkId, CollectionName, DocumentId, Generation, PointId};
use ragstone_core::library::{Passage, PassageRanks};
use ragstone_core::prompt::{self, PromptOptions, PromptTemplate};
use ragstone_core::seam::chat::ChatRequest;

const KEY: &str = "sk-test-very-secret";

/// Waits that make a hanging server a matter of a moment.
fn limits() -> ServiceLimits {
    ServiceLimits {
        first_byte: Duration::from_millis(300),
        idle: Duration::from_millis(300),
        pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(2),
        ..ServiceLimits::default()
    }
}

fn connection(base_url: &str) -> OpenAiConnection {
    OpenAiConnection::new(base_url, Some(ApiSecret::new(KEY)), limits()).unwrap()
}

fn passage(text: &str) -> Admitted<Passage> {
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes());
    Admitted::for_contract(Passage {
        chunk: Chunk {
            id: ChunkId(id),
            document_id: DocumentId(id),
            ordinal: 0,
            text: text.to_owned(),
            range: 0..text.len(),
            page: None,
            section: None,
        },
        point: PointId(id),
        generation: Generation(1),
        collection: CollectionName::default(),
        title: "A title".into(),
        uri: "file:///x".into(),
        source_url: None,
        score: 1.0,
        ranks: PassageRanks::default(),
        sentences: Vec::new(),
    })
}

/// A request as `ask` makes it.
fn request(question: &str, texts: &[&str]) -> ChatRequest {
    let passages: Vec<_> = texts.iter().map(|text| passage(text)).collect();
    let template = PromptTemplate::default();
    let options = PromptOptions {
        template: &template,
        boundary: "k7Qz",
        instructions: None,
        language: None,
        budget: 4_000,
    };
    ChatRequest {
        messages: prompt::build_prompt(question, &passages, &options).messages,
        question: question.to_owned(),
        passages: passages.into(),
        model: None,
        temperature: None,
        max_tokens: None,
        reply_schema: None,
    }
}
