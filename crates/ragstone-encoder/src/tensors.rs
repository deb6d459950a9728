//! Reads tensors from a safetensors file, one at a time and widened to `f32`, so that loading needs little more memory
//! than the model.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::error::ModelError;
use super::simd::HalfFloat;

/// Longest accepted header in bytes; safetensors itself allows no more.
const MAX_HEADER: u64 = 100_000_000;

/// An open safetensors file.
pub(super) struct TensorFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    data_start: u64,
    prefix: &'static str,
    hasher: blake3::Hasher,
}

impl TensorFile {
    /// Opens a file and reads its header. All tensor names may begin with `bert.`, as in models trained with a task
    /// head.
    pub fn open_file(path: &Path) -> Result<Self, ModelError> {
        let unreadable = |source| ModelError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(unreadable)?;
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(unreadable)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER {
            return Err(ModelError::malformed(path, "the header is too long"));
        }
        let mut header = Vec::new();
        file.by_ref()
            .take(length)
            .read_to_end(&mut header)
            .map_err(unreadable)?;
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| ModelError::malformed(path, error))?;
        let plain = metadata.info("embeddings.word_embeddings.weight").is_some();
        Ok(Self {
            path: path.to_owned(),
            file,
            metadata,
            data_start: 8 + length,
            prefix: if plain { "" } else { "bert." },
            hasher: blake3::Hasher::new(),
        })
    }

    /// Reads one tensor and checks that it has this shape.
    pub fn read_tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let malformed = |reason: String| ModelError::malformed(&self.path, reason);
        let full_name = format!("{}{name}", self.prefix);
        let info = self
            .metadata
            .info(&full_name)
            .ok_or_else(|| malformed(format!("no tensor {full_name}")))?;
        if info.shape != shape {
            return Err(malformed(format!(
                "{full_name} has shape {:?}, expected {shape:?}",
                info.shape
            )));
        }
        let widen = widen_function(info.dtype)
            .ok_or_else(|| ModelError::unsupported(&self.path, &full_name, format!("{:?}", info.dtype)))?;
        let (start, end) = info.data_offsets;
        let mut bytes = vec![0; end - start];
        self.file
            .seek(SeekFrom::Start(self.data_start + start as u64))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(|source| ModelError::Unreadable {
                path: self.path.clone(),
                source,
            })?;
        self.hasher.update(full_name.as_bytes()).update(&bytes);
        Ok(widen(&bytes))
    }

    /// Hash of the names and bytes of all tensors read so far, in order of reading.
    pub fn digest(&self) -> blake3::Hash {
        self.hasher.finalize()
    }
}

/// Converts little-endian numbers of one type to single precision.
type WidenFn = fn(&[u8]) -> Vec<f32>;

fn widen_function(dtype: Dtype) -> Option<WidenFn> {
    fn widen_numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
    }
    match dtype {
        Dtype::F32 => Some(|bytes| widen_numbers(bytes, f32::from_le_bytes)),
        Dtype::F16 => Some(|bytes| widen_numbers(bytes, |half| HalfFloat(u16::from_le_bytes(half)).to_f32())),
        Dtype::BF16 => {
            Some(|bytes| widen_numbers(bytes, |half| f32::from_bits(u32::from(u16::from_le_bytes(half)) << 16)))
        }
        _ => None,
    }
}
