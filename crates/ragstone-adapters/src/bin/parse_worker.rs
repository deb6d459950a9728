//! The parser process alone, for this crate's own tests; the product's binary starts itself instead.

fn main() {
    ragstone_adapters::parse::worker_main()
}
