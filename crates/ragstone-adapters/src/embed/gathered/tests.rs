//! Counts of requests when several callers embed at once.

use futures::future::join_all;

use super::*;

/// Notes the texts of each request; a text is its own number.
struct Numbers {
    fingerprint: EmbedderFingerprint,
    requests: Mutex<Vec<Vec<String>>>,
}

impl Numbers {
    fn new() -> Arc<Self> {
        let fingerprint = EmbedderFingerprint {
            model: "numbers".into(),
            revision: String::new(),
            dimensions: 1,
            pooling: String::new(),
            query_prefix: String::new(),
            passage_prefix: String::new(),
        };
        Arc::new(Self {
            fingerprint,
            requests: Mutex::default(),
        })
    }

    fn sizes(&self) -> Vec<usize> {
        let requests = self.requests.lock().unwrap();
        requests.iter().map(Vec::len).collect()
    }
}

#[async_trait]
impl Embedder for Numbers {
    fn fingerprint(&self) -> &EmbedderFingerprint {
        &self.fingerprint
    }

    async fn embed_texts(&self, texts: &[String], _: TextKind) -> Result<Vec<Embedding>, EmbedError> {
        self.requests.lock().unwrap().push(texts.to_vec());
        let read = |text: &String| match text.as_str() {
            "refused" => Err(EmbedError::Refused {
                detail: "on purpose".into(),
            }),
            "outage" => Err(EmbedError::Broken {
                detail: "on purpose".into(),
            }),
            number => Ok(Embedding {
                vector: vec![number.parse().unwrap()],
                tokens: None,
            }),
        };
        texts.iter().map(read).collect()
    }

    fn word_statistics(&self, _: &str) -> Option<WordStatistics> {
        None
    }
}

/// What each caller gets; all of them wait before the first request is made.
async fn answers(embedder: &BatchingEmbedder, callers: &[&[&str]]) -> Vec<Result<Vec<f32>, String>> {
    let ask = async |texts: &&[&str]| {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let vector = |embedding| match embedding {
            PassageEmbedding::Full(embedding) => embedding.vector[0],
            other => panic!("{other:?}"),
        };
        let answer = embedder.embed_passages(&texts).await;
        answer
            .map(|embeddings| embeddings.into_iter().map(vector).collect())
            .map_err(|error| error.to_string())
    };
    join_all(callers.iter().map(ask)).await
}

#[tokio::test]
async fn those_who_wait_together_are_asked_for_together() {
    let numbers = Numbers::new();
    let embedder = BatchingEmbedder::new(numbers.clone(), 64, 4);
    let found = answers(&embedder, &[&["1"], &["2", "3"], &[], &["4"]]).await;
    assert_eq!(found, [Ok(vec![1.0]), Ok(vec![2.0, 3.0]), Ok(vec![]), Ok(vec![4.0])]);
    assert_eq!(numbers.sizes(), [4]);
    assert_eq!(answers(&embedder, &[&["5"]]).await, [Ok(vec![5.0])]);
    assert_eq!(numbers.sizes(), [4, 1]);
}

#[tokio::test]
async fn a_request_is_no_larger_than_its_bound() {
    let numbers = Numbers::new();
    let embedder = BatchingEmbedder::new(numbers.clone(), 4, 1);
    let callers: [&[&str]; 6] = [
        &["1"],
        &["2", "3"],
        &["4", "5"],
        &["6"],
        &["7"],
        &["8", "9", "10", "11"],
    ];
    let found = answers(&embedder, &callers).await;
    let expected = callers.map(|texts| Ok(texts.iter().map(|text| text.parse().unwrap()).collect()));
    assert_eq!(found, expected);
    let mut sizes = numbers.sizes();
    sizes.sort_unstable();
    assert_eq!(
        sizes,
        [3, 4, 4],
        "the last caller brings a whole request and waits for nobody"
    );
}

#[tokio::test]
async fn a_refusal_is_for_whom_it_is_meant() {
    let numbers = Numbers::new();
    let embedder = BatchingEmbedder::new(numbers.clone(), 64, 4);
    let found = answers(&embedder, &[&["1"], &["2", "refused"], &["3"]]).await;
    let refused = "the embedder refused: on purpose".to_owned();
    assert_eq!(found, [Ok(vec![1.0]), Err(refused), Ok(vec![3.0])]);
    assert_eq!(numbers.sizes(), [4, 1, 2, 1]);
}

#[tokio::test]
async fn an_outage_is_told_to_all() {
    let numbers = Numbers::new();
    let embedder = BatchingEmbedder::new(numbers.clone(), 64, 4);
    let found = answers(&embedder, &[&["1"], &["outage"]]).await;
    let failed = Err("the embedder failed: on purpose".to_owned());
    assert_eq!(found, [failed.clone(), failed]);
    assert_eq!(numbers.sizes(), [2]);
}

#[tokio::test]
async fn who_leaves_is_not_asked_for() {
    let numbers = Numbers::new();
    let embedder = BatchingEmbedder::new(numbers.clone(), 64, 4);
    let (leaves, stays) = (["1".to_owned()], ["2".to_owned()]);
    {
        let mut leaving = embedder.embed_passages(&leaves);
        assert!(futures::poll!(&mut leaving).is_pending());
    }
    assert_eq!(embedder.embed_passages(&stays).await.unwrap().len(), 1);
    assert_eq!(numbers.sizes(), [1]);
}
