//! Parses the vectors of a reply, in all the forms in which services send them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::openai::{OpenAiClient, ServiceError, parse_error_body};

/// A text's vector at unit length, or why it has none.
pub(super) type VectorResult = Result<Vec<f32>, String>;

#[derive(Deserialize)]
struct EmbeddingsResponse {
    data: Vec<EmbeddingItem>,
}

#[derive(Deserialize)]
struct EmbeddingItem {
    /// Omitted by some services if it is 0, by others always.
    #[serde(default)]
    index: Value,
    #[serde(default)]
    embedding: RawVector,
}

/// A vector as sent: some services send numbers whatever encoding was requested.
#[derive(Deserialize, Default)]
#[serde(untagged)]
enum RawVector {
    Base64(String),
    Plain(Vec<f32>),
    /// One row, as models without pooling return.
    Row([Vec<f32>; 1]),
    Other(IgnoredAny),
    #[default]
    None,
}

/// Parses `count` vectors in the order of the texts, with `dimensions` components unless that is 0. A reply whose
/// vectors cannot be assigned to the texts is an error as a whole.
pub(super) fn parse_vectors(
    client: &OpenAiClient,
    bytes: &[u8],
    count: usize,
    dimensions: usize,
) -> Result<Vec<VectorResult>, ServiceError> {
    let reply: EmbeddingsResponse =
        serde_json::from_slice(bytes).map_err(|error| unreadable_reply(client, bytes, &error))?;
    if reply.data.len() > count {
        return Err(ServiceError::broken(format!(
            "it gave {} vectors for {count} texts",
            reply.data.len()
        )));
    }
    let places = assign_positions(&reply.data, count)?;
    let mut vectors: Vec<VectorResult> = vec![Err("it gave no vector".to_owned()); count];
    for (item, place) in reply.data.into_iter().zip(places) {
        vectors[place] = item
            .embedding
            .decode_vector()
            .and_then(|vector| normalize_vector(vector, dimensions));
    }
    Ok(vectors)
}

/// Error for a reply without vectors, with its error message if it has one.
fn unreadable_reply(client: &OpenAiClient, bytes: &[u8], error: &serde_json::Error) -> ServiceError {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let is_error = ["error", "message", "detail"]
        .iter()
        .any(|key| value.get(key).is_some());
    match is_error {
        true => ServiceError::broken(parse_error_body(&client.redact(&String::from_utf8_lossy(bytes))).0),
        false => ServiceError::broken(format!("its reply is not as expected: {error}")),
    }
}

/// Position of each item: its index, or else the order of the list. A single item without an index gets the remaining
/// position.
fn assign_positions(items: &[EmbeddingItem], count: usize) -> Result<Vec<usize>, ServiceError> {
    let wrong = |index: &Value| ServiceError::broken(format!("it gave a vector for no text, or a second one: {index}"));
    let mut taken = vec![false; count];
    for index in items.iter().map(|item| &item.index).filter(|index| !index.is_null()) {
        let place = parse_index(index)
            .and_then(|place| taken.get_mut(place))
            .filter(|taken| !**taken);
        *place.ok_or_else(|| wrong(index))? = true;
    }
    let without = items.iter().filter(|item| item.index.is_null()).count();
    if without == items.len() && without < count {
        return Err(ServiceError::broken(format!(
            "it gave {without} vectors for {count} texts"
        )));
    }
    let left = taken.iter().position(|taken| !taken).filter(|_| without == 1);
    let mut places = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        places.push(match parse_index(&item.index).or(left) {
            Some(place) => place,
            None if taken[at] => return Err(wrong(&item.index)),
            None => at,
        });
    }
    Ok(places)
}

fn parse_index(index: &Value) -> Option<usize> {
    let number = index.as_f64().or_else(|| index.as_str()?.parse().ok())?;
    (number >= 0.0 && number.fract() == 0.0).then_some(number as usize)
}

impl RawVector {
    fn decode_vector(self) -> VectorResult {
        let text = match self {
            Self::Plain(numbers) | Self::Row([numbers]) => return Ok(numbers),
            Self::Base64(text) => text,
            Self::Other(_) | Self::None => return Err("its vector is no list of numbers".to_owned()),
        };
        let bytes = STANDARD
            .decode(text)
            .map_err(|error| format!("its vector is not base64: {error}"))?;
        let (numbers, rest) = bytes.as_chunks::<4>();
        match rest.is_empty() {
            true => Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect()),
            false => Err(format!("its vector has {} bytes, not four a number", bytes.len())),
        }
    }
}

/// Scales the vector to unit length.
fn normalize_vector(mut vector: Vec<f32>, dimensions: usize) -> VectorResult {
    if dimensions != 0 && vector.len() != dimensions {
        return Err(format!(
            "its vector has {} dimensions, the others have {dimensions}",
            vector.len()
        ));
    }
    let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if !(length.is_finite() && length > 0.0) {
        return Err("its vector has no length".to_owned());
    }
    vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    Ok(vector)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::openai::{OpenAiConnection, ServiceLimits};

    fn read(reply: &str, count: usize) -> Result<Vec<VectorResult>, ServiceError> {
        let connection = OpenAiConnection::new("http://h", None, ServiceLimits::default()).unwrap();
        parse_vectors(&OpenAiClient::new(connection).unwrap(), reply.as_bytes(), count, 2)
    }

    fn item(index: Value, x: f32) -> Value {
        match index {
            Value::Null => json!({"embedding": [x, 0.0]}),
            index => json!({"index": index, "embedding": [x, 0.0]}),
        }
    }

    #[test]
    fn vectors_are_matched_with_their_texts() {
        // The sign of the first component identifies the vector: that of the first item is negative.
        let check = |indexes: [Value; 3], expected: Option<usize>| {
            let signs = [-1.0, 1.0, 1.0];
            let data: Vec<Value> = indexes
                .iter()
                .cloned()
                .zip(signs)
                .map(|(index, x)| item(index, x))
                .collect();
            let found = read(&json!({ "data": data }).to_string(), 3);
            let place = found.ok().map(|vectors| {
                vectors
                    .iter()
                    .position(|vector| vector.as_ref().unwrap()[0] < 0.0)
                    .unwrap()
            });
            assert_eq!(place, expected, "{indexes:?}");
        };
        let none = || Value::Null;
        check([json!(2), json!(1), json!(0)], Some(2));
        check([json!(2.0), json!("1"), json!(0)], Some(2));
        check([none(), none(), none()], Some(0));
        check([none(), json!(1), json!(2)], Some(0));
        check([none(), json!(1), json!(0)], Some(2));
        check([json!(2), none(), json!(0)], Some(2));
        check([json!(0), none(), none()], Some(0));
        check([json!(1), none(), none()], None);
        check([json!(0), json!(0), json!(1)], None);
        check([json!(0), json!(1), json!(7)], None);
        check([json!(0), json!(1), json!(-1)], None);
        check([json!(0), json!(1), json!(1.5)], None);
    }

    #[test]
    fn one_vector_that_is_none_costs_its_neighbours_nothing() {
        let check = |bad: &str, why: &str| {
            let reply = format!("{{\"data\": [{{\"index\": 0, \"embedding\": [1, 2]}}, {{\"index\": 1{bad}}}]}}");
            let vectors = read(&reply, 2).unwrap();
            assert!(vectors[0].is_ok(), "{bad}");
            assert!(
                vectors[1].as_ref().unwrap_err().contains(why),
                "{bad}: {:?}",
                vectors[1]
            );
        };
        check(", \"embedding\": null", "no list of numbers");
        check(", \"embedding\": [null, 1]", "no list of numbers");
        check(", \"embedding\": {}", "no list of numbers");
        check("", "no list of numbers");
        check(", \"embedding\": [0, 0]", "no length");
        check(", \"embedding\": [1, 2, 3]", "3 dimensions");
        check(", \"embedding\": []", "0 dimensions");
        check(", \"embedding\": \"AAAA\"", "3 bytes");
        check(", \"embedding\": \"?\"", "not base64");
        let nan = STANDARD.encode([f32::NAN.to_le_bytes(), 1.0_f32.to_le_bytes()].concat());
        check(&format!(", \"embedding\": \"{nan}\""), "no length");
    }

    #[test]
    fn a_reply_that_is_none_is_told_in_its_own_words() {
        let check = |reply: &str, why: &str| {
            let detail = read(reply, 2).unwrap_err().detail().to_owned();
            assert!(detail.contains(why), "{reply}: {detail}");
        };
        check(r#"{"error": {"message": "out of memory"}}"#, "out of memory");
        check(r#"{"object": "error", "message": "no such model"}"#, "no such model");
        check(r#"{"data": [{"index": 0, "embedding": [NaN, 1]}]}"#, "not as expected");
        check("<html>", "not as expected");
        check(r#"{"data": []}"#, "0 vectors for 2 texts");
        check(r#"{"data": [{}, {}, {}]}"#, "3 vectors for 2 texts");
    }

    #[test]
    fn numbers_come_in_several_forms() {
        let base64 = STANDARD.encode([3.0_f32.to_le_bytes(), 4.0_f32.to_le_bytes()].concat());
        for form in ["[3, 4]", "[3.0, 4.0]", "[[3, 4]]", &format!("{base64:?}")] {
            let vectors = read(&format!("{{\"data\": [{{\"embedding\": {form}}}]}}"), 1).unwrap();
            assert_eq!(vectors[0], Ok(vec![0.6, 0.8]), "{form}");
        }
    }
}
