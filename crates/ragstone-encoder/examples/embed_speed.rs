//! How fast the embedding model of this process is. Every call measures one thing and prints one line of JSON, so that
//! `bench/embed_onnx.py` can interleave it with onnxruntime; only ratios of one run mean anything.
//!
//! ```text
//! embed_speed MODEL cut TEXT_FILE…                    texts -> chunks of about 160 tokens, a JSON list
//! embed_speed MODEL embed CHUNKS f32|bf16|f16 THREADS  chunks a second, GFLOP/s, question latency, memory
//! embed_speed MODEL ingest CHUNKS f32|bf16|f16 THREADS every chunk once, with the token vectors that an index keeps
//! embed_speed MODEL gemm                              the crate rten-gemm at the model's shapes, one thread
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ragstone_encoder::{InputRole, LocalModel, LocalOptions, NumericPrecision};
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use serde_json::{Value, json};

/// Wordpieces of a chunk without `[CLS]` and `[SEP]`.
const CHUNK: usize = 158;

/// Chunks that ingestion embeds at once.
const INGESTED: usize = 64;

/// How long each figure is measured.
const MEASURE: Duration = Duration::from_secs(4);

/// A question of twelve tokens.
const QUESTION: &str = "Which king ruled the duchy in those days?";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let line = match arguments[..] {
        [model, "cut", ref files @ ..] => cut(&load(model, NumericPrecision::F32, 1)?, files)?,
        [model, "embed", chunks, precision, threads] => measure(model, chunks, named(precision)?, threads.parse()?)?,
        [model, "ingest", chunks, precision, threads] => {
            ingest(&load(model, named(precision)?, threads.parse()?)?, chunks)?
        }
        [model, "gemm"] => json!({ "gflops": Shapes::read(model)?.gemm_gflops()? }),
        _ => bail!("see the head of examples/embed_speed.rs for the arguments"),
    };
    println!("{line}");
    Ok(())
}

fn named(precision: &str) -> Result<NumericPrecision> {
    Ok(match precision {
        "f32" => NumericPrecision::F32,
        "bf16" => NumericPrecision::Bf16,
        "f16" => NumericPrecision::F16,
        other => bail!("precision {other} is none of f32, bf16 and f16"),
    })
}

fn load(folder: &str, precision: NumericPrecision, threads: usize) -> Result<LocalModel> {
    let options = LocalOptions {
        precision,
        threads,
        ..Default::default()
    };
    Ok(LocalModel::load(Path::new(folder), options)?)
}

fn cut(model: &LocalModel, files: &[&str]) -> Result<Value> {
    let mut chunks = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| (*file).to_owned())?;
        let (mut chunk, mut pieces) = (String::new(), 0);
        for word in text.split_inclusive(char::is_whitespace) {
            let more = model.word_pieces(word)?.len();
            if pieces + more > CHUNK {
                chunks.push(std::mem::take(&mut chunk));
                pieces = 0;
            }
            chunk.push_str(word);
            pieces += more;
        }
    }
    Ok(json!(chunks))
}

fn measure(folder: &str, chunks: &str, precision: NumericPrecision, threads: usize) -> Result<Value> {
    let start = Instant::now();
    let model = load(folder, precision, threads)?;
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    let chunks: Vec<String> = serde_json::from_slice(&std::fs::read(chunks)?)?;
    let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
    let shapes = Shapes::read(folder)?;
    let lengths: Vec<usize> = chunks
        .iter()
        .map(|chunk| Ok(model.word_pieces(chunk)?.len() + 2))
        .collect::<Result<_>>()?;
    let embed = |texts: &[&str]| model.embed_texts(texts, InputRole::Passage, false).map(drop);
    embed(&chunks[..4])?;
    let (cpu, start, mut done, mut flops) = (cpu_seconds()?, Instant::now(), 0, 0.0);
    while start.elapsed() < MEASURE {
        let batch = done % (chunks.len() - 32)..done % (chunks.len() - 32) + 32;
        flops += lengths[batch.clone()]
            .iter()
            .map(|length| shapes.flops(*length))
            .sum::<f64>();
        embed(&chunks[batch])?;
        done += 32;
    }
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    let mut questions: Vec<f64> = Vec::new();
    for _ in 0..100 {
        let start = Instant::now();
        model.embed_texts(&[QUESTION], InputRole::Query, false)?;
        questions.push(start.elapsed().as_secs_f64() * 1e3);
    }
    questions.sort_by(f64::total_cmp);
    Ok(json!({
        "chunks_per_second": done as f64 / seconds, "chunks_per_cpu_second": done as f64 / cpu, "gflops": flops / cpu / 1e9,
        "question_ms": questions[questions.len() / 2], "load_ms": load_ms,
        "resident_mib": memory("VmRSS:")?, "peak_mib": memory("VmHWM:")?,
    }))
}

/// What ingestion asks of the model, and nothing else of ingestion.
fn ingest(model: &LocalModel, chunks: &str) -> Result<Value> {
    let chunks: Vec<String> = serde_json::from_slice(&std::fs::read(chunks)?)?;
    let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
    model.embed_texts(&chunks[..chunks.len().min(4)], InputRole::Passage, true)?;
    let start = Instant::now();
    for batch in chunks.chunks(INGESTED) {
        model.embed_texts(batch, InputRole::Passage, true)?;
    }
    Ok(json!({ "chunks_per_second": chunks.len() as f64 / start.elapsed().as_secs_f64() }))
}

/// User and system time of this process, which a busy machine disturbs less than the clock on the wall.
fn cpu_seconds() -> Result<f64> {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().context("no fields")?.split(' ').collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / TICKS_A_SECOND)
}

fn memory(field: &str) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with(field))
        .context("no such field")?;
    Ok(line.split_whitespace().nth(1).context("no value")?.parse::<f64>()? / 1024.0)
}

/// The sizes of a model that decide its work.
struct Shapes {
    layers: usize,
    hidden: usize,
    wide: usize,
}

impl Shapes {
    fn read(folder: &str) -> Result<Self> {
        let config: Value = serde_json::from_slice(&std::fs::read(Path::new(folder).join("config.json"))?)?;
        let size = |name: &str| {
            config[name]
                .as_u64()
                .map(|size| size as usize)
                .context("a size is missing")
        };
        Ok(Self {
            layers: size("num_hidden_layers")?,
            hidden: size("hidden_size")?,
            wide: size("intermediate_size")?,
        })
    }

    /// Floating-point operations of one text.
    fn flops(&self, tokens: usize) -> f64 {
        let products = 4 * self.hidden * self.hidden + 2 * self.hidden * self.wide + 2 * tokens * self.hidden;
        (2 * tokens * self.layers * products) as f64
    }

    /// The best of several shapes, in GFLOP/s on one thread, weights packed in advance.
    fn gemm_gflops(&self) -> Result<f64> {
        let square = (1024, 1024, 1024);
        let wide = (512, self.hidden, self.wide);
        let narrow = (512, self.wide, self.hidden);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
        let best = |shapes: [(usize, usize, usize); 3]| {
            shapes
                .into_iter()
                .map(|(m, k, n)| one_gemm(m, k, n))
                .try_fold(0.0, |best: f64, rate| Ok(best.max(rate?)))
        };
        pool.install(|| best([square, wide, narrow]))
    }
}

fn one_gemm(m: usize, k: usize, n: usize) -> Result<f64> {
    let filled = |rows: usize, columns: usize| {
        let values: Vec<f32> = (0..rows * columns).map(|index| (index % 17) as f32 / 17.0).collect();
        NdTensor::from_data([rows, columns], values)
    };
    let (a, b, mut out) = (filled(m, k), filled(k, n), vec![0.0; m * n]);
    let executor = GemmExecutor::<f32>::new();
    let packed = executor.prepack_b(b.view());
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < MEASURE / 4 {
        let start = Instant::now();
        executor
            .gemm(
                &mut out,
                GemmInputA::Unpacked(a.view()),
                GemmInputB::Packed(&packed),
                GemmOptions::default(),
            )
            .map_err(|error| anyhow::anyhow!("{error:?}"))?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok((2 * m * k * n) as f64 / best / 1e9)
}
