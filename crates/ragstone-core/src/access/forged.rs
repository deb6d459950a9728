//! What must not compile, each beside its twin that does; seen by `cargo test` only, as documentation tests.
//!
//! A scope comes from a principal, and cannot be written down:
//!
//! ```
//! use ragstone_core::access::{Principal, Scope};
//! let scope: Scope = Principal::local_operator().scope();
//! assert_eq!(scope.tenant().as_str(), "default");
//! ```
//! ```compile_fail,E0451
//! use ragstone_core::access::{Principal, Scope};
//! let scope: Scope = Scope { ..Principal::local_operator().scope() };
//! assert_eq!(scope.tenant().as_str(), "default");
//! ```
//! ```compile_fail,E0599
//! use ragstone_core::access::{Principal, Scope};
//! let scope: Scope = Scope::default();
//! assert_eq!(scope.tenant().as_str(), "default");
//! ```
//! ```compile_fail,E0277
//! use ragstone_core::access::{Principal, Scope};
//! let scope: Scope = serde_json::from_str("{}").unwrap();
//! assert_eq!(scope.tenant().as_str(), "default");
//! ```
//!
//! Nor can it be widened:
//!
//! ```
//! use ragstone_core::access::Principal;
//! let mut scope = Principal::local_operator().scope();
//! scope = Principal::local_operator_of("other".parse().unwrap()).scope();
//! ```
//! ```compile_fail,E0616
//! use ragstone_core::access::Principal;
//! let mut scope = Principal::local_operator().scope();
//! scope.tenant = "other".parse().unwrap();
//! ```
//!
//! A supposed caller has an explanation and no scope:
//!
//! ```
//! use ragstone_core::access::{Role, Supposed};
//! let supposed = Supposed::new("a".parse().unwrap(), Default::default(), Role::Admin);
//! let readers = supposed.readers();
//! ```
//! ```compile_fail,E0616
//! use ragstone_core::access::{Role, Supposed};
//! let supposed = Supposed::new("a".parse().unwrap(), Default::default(), Role::Admin);
//! let scope = supposed.0;
//! ```
//!
//! A principal is verified as a whole, and keeps its rights:
//!
//! ```
//! use ragstone_core::access::{Principal, Role};
//! let principal = Principal::verified("a".parse().unwrap(), "ann".into(), Default::default(), Role::Reader);
//! assert_eq!(principal.role(), Role::Reader);
//! ```
//! ```compile_fail,E0451
//! use ragstone_core::access::{Principal, Role};
//! let principal = Principal { role: Role::Admin, ..Principal::local_operator() };
//! assert_eq!(principal.role(), Role::Admin);
//! ```
//! ```compile_fail,E0616
//! use ragstone_core::access::{Principal, Role};
//! let mut principal = Principal::verified("a".parse().unwrap(), "ann".into(), Default::default(), Role::Reader);
//! principal.role = Role::Admin;
//! ```
//!
//! What an index may be asked is made by the library alone; others read it:
//!
//! ```
//! use ragstone_core::access::{Principal, ScopedQuery};
//! fn asked(query: &ScopedQuery<&str>) -> bool {
//!     query.query().is_empty()
//! }
//! ```
//! ```compile_fail,E0624
//! use ragstone_core::access::{Principal, ScopedQuery};
//! fn asked() -> ScopedQuery<&'static str> {
//!     ScopedQuery::new(&Principal::local_operator().scope(), None, None, "all")
//! }
//! ```
//!
//! What is admitted too:
//!
//! ```
//! use ragstone_core::access::Admitted;
//! fn read(text: Admitted<String>) -> String {
//!     text.into_inner()
//! }
//! ```
//! ```compile_fail,E0624
//! use ragstone_core::access::Admitted;
//! fn read() -> Admitted<String> {
//!     Admitted::new(String::from("anything"))
//! }
//! ```
//! ```compile_fail,E0423
//! use ragstone_core::access::Admitted;
//! fn read() -> Admitted<String> {
//!     Admitted(String::from("anything"))
//! }
//! ```
//!
//! And a prompt is built of nothing else:
//!
//! ```
//! use ragstone_core::access::Admitted;
//! use ragstone_core::library::Passage;
//! use ragstone_core::prompt::{Prompt, PromptOptions, build_prompt};
//! fn prompt(passages: &[Admitted<Passage>], options: &PromptOptions<'_>) -> Prompt {
//!     build_prompt("What?", passages, options)
//! }
//! ```
//! ```compile_fail,E0308
//! use ragstone_core::access::Admitted;
//! use ragstone_core::library::Passage;
//! use ragstone_core::prompt::{Prompt, PromptOptions, build_prompt};
//! fn prompt(passages: &[Passage], options: &PromptOptions<'_>) -> Prompt {
//!     build_prompt("What?", passages, options)
//! }
//! ```
//!
//! Neither is a model shown anything else:
//!
//! ```
//! use ragstone_core::access::Admitted;
//! use ragstone_core::library::Passage;
//! use ragstone_core::seam::chat::ChatRequest;
//! fn show(request: &mut ChatRequest, passage: Admitted<Passage>) {
//!     request.passages = std::sync::Arc::new([passage]);
//! }
//! ```
//! ```compile_fail,E0308
//! use ragstone_core::access::Admitted;
//! use ragstone_core::library::Passage;
//! use ragstone_core::seam::chat::ChatRequest;
//! fn show(request: &mut ChatRequest, passage: Passage) {
//!     request.passages = std::sync::Arc::new([passage]);
//! }
//! ```
