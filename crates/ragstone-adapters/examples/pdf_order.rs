//! Text of PDF pages in each order of reading, as JSON lines `{file, page, top, columns, chosen, rows}`.
//!
//! `cargo run --release --no-default-features --features pdf --example pdf_order -- FILE...`

use ragstone_adapters::parse::pdf::{SpanOrder, parse_in_order};
use ragstone_adapters::parse::{DocumentCollector, ParseLimits};
use ragstone_core::document::ParsedDocument;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in std::env::args().skip(1) {
        let read = |order| -> Result<ParsedDocument, Box<dyn std::error::Error>> {
            let mut gathered = DocumentCollector::new(u64::MAX);
            let outline = parse_in_order(std::fs::read(&file)?, &ParseLimits::default(), order, &mut gathered)?;
            Ok(gathered.finish("application/pdf", outline))
        };
        let (top, columns, chosen, rows) = (
            read(SpanOrder::TopToBottom)?,
            read(SpanOrder::EngineColumns)?,
            read(SpanOrder::Automatic)?,
            read(SpanOrder::AutomaticTablesByRows)?,
        );
        for (index, page) in top.pages.iter().enumerate() {
            let text = |document: &ParsedDocument| document.text[document.pages[index].range.clone()].to_owned();
            let line = serde_json::json!({
                "file": file, "page": page.page, "top": text(&top), "columns": text(&columns), "chosen": text(&chosen), "rows": text(&rows),
            });
            println!("{line}");
        }
    }
    Ok(())
}
