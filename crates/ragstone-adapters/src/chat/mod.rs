//! Chat models: an extractive one that quotes the passages, and OpenAI-compatible services.

mod extractive;
#[cfg(feature = "openai")]
mod openai;

pub use extractive::ExtractiveChat;
#[cfg(feature = "openai")]
pub use openai::{OpenAiChat, OpenAiChatOptions, TokenLimitName};
