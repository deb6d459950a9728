//! What the parser sees in each file, as JSON lines.

use ragstone_adapters::parse::{ParseLimits, parse_bytes};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in std::env::args().skip(1) {
        match parse_bytes(std::fs::read(&file)?, &file, None, &ParseLimits::default()) {
            Ok(document) => println!("{}", serde_json::to_string(&document)?),
            Err(error) => println!(
                "{}",
                serde_json::json!({ "code": error.code(), "detail": error.to_string() })
            ),
        }
    }
    Ok(())
}
