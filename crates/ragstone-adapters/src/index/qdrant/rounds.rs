//! The requests of one search, round by round.
//!
//! The first round fetches the lists of all legs, with ids and scores only. The second fetches, concurrently, the
//! scores that the lists do not contain, the stored vectors of the points that may be among the best, and the payloads
//! of points that are not cached. Qdrant's own fusions do not return the scores of the legs, so they cannot be used
//! here.
//!
//! Invariant: a payload is read under the conditions of the caller's scope, so a point that left the scope between
//! both rounds is not found.

use std::collections::{HashMap, HashSet};

use qdrant_client::qdrant::{CountPoints, Filter as Conditions, QueryPoints, ScoredPoint, ScrollPoints};
use ragstone_core::access::Scope;
use ragstone_core::filter::MetadataFilter;
use ragstone_core::id::PointId;
use ragstone_core::rank::TermId;
use ragstone_core::rank::fusion::BIGRAM_WEIGHT;
use ragstone_core::seam::index::{IndexError, IndexQuery};

use super::exact::{ExactScorer, PointScores, score_points};
use super::facts::{KnownPoints, PointFact};
use super::leg::SearchLeg;
use super::lists::{CandidateLists, LegRanking};
use super::memory::SearchCache;
use super::payload::{
    ACL_LONG, ACL_REVISION, CHUNK, DOCUMENT, FIELDS, GATE, GENERATION, PayloadReader, parse_point_id, sum_terms,
};
use super::query::{include_fields, nearest_query, only_points, parse_ranking, run_queries};
use super::server::QdrantClient;
use super::sizes::hash_conditions;

/// Inputs of a search.
pub(super) struct SearchRounds<'a> {
    pub server: &'a QdrantClient,
    pub cache: &'a SearchCache,
    pub scope: &'a Scope,
    pub asked: &'a IndexQuery,
    /// Query vector, if there is a dense leg.
    pub dense: Option<&'a [f32]>,
    /// Conditions for the points that the caller may see.
    pub conditions: Conditions,
    /// The caller's filter, if the conditions do not express all of it.
    pub checked: Option<&'a MetadataFilter>,
}

/// Results of a second round.
pub(super) struct SecondRound {
    /// Scores in single precision of points that the lists do not contain.
    pub scores: MissingScores,
    /// Exact scores of the points ahead.
    pub exact: HashMap<PointId, PointScores>,
    /// Data of all points of the lists.
    pub known: KnownPoints,
}

/// Scores that no list contains, by leg.
#[derive(Default)]
pub(super) struct MissingScores {
    pub dense: HashMap<PointId, f64>,
    pub words: HashMap<PointId, f64>,
    pub pairs: HashMap<PointId, f64>,
}

impl SearchRounds<'_> {
    /// Whether so few points are in scope that an exact scan is used.
    pub async fn is_small(&self) -> Result<bool, IndexError> {
        if self.dense.is_none() {
            return Ok(true);
        }
        let limit = self.server.options.exact_below;
        let all = Conditions::default();
        Ok(self.scope_size(&all).await? <= limit || self.scope_size(&self.conditions).await? <= limit)
    }

    async fn scope_size(&self, conditions: &Conditions) -> Result<u64, IndexError> {
        let number = hash_conditions(conditions);
        if let Some(points) = self.cache.sizes.recent_size(number) {
            return Ok(points);
        }
        self.cache.count_round();
        let request = CountPoints {
            collection_name: self.server.collection_name(),
            filter: Some(conditions.clone()),
            exact: Some(false),
            ..CountPoints::default()
        };
        let answer = self.server.send_read("estimating the scope", |client| {
            let request = request.clone();
            async move { client.count(request).await }
        });
        let points = answer.await?.result.map_or(0, |result| result.count);
        self.cache.sizes.record_size(number, points);
        Ok(points)
    }

    /// Fetches the lists of all legs, `limit` points each, by B' with `guess` as the gate.
    pub async fn first_round(&self, limit: usize, guess: f64, exact: bool) -> Result<CandidateLists, IndexError> {
        let lexical = &self.asked.lexical;
        let weight = |(term, idf): &(TermId, f64)| (*term, BIGRAM_WEIGHT * guess * idf);
        let weighed = lexical.bigrams.iter().map(weight);
        let mixed = sum_terms(lexical.unigrams.iter().copied().chain(weighed));
        let pairs = sum_terms(lexical.bigrams.iter().copied());
        // Both lexical legs are adjacent and differ in nothing else, so the server evaluates the filter once for both.
        let mut legs = vec![SearchLeg::Lexical(mixed), SearchLeg::Lexical(pairs)];
        legs.extend(self.dense_leg(exact));
        let query = |leg: &SearchLeg| nearest_query(self.server, leg, &self.conditions, limit);
        let asked = |leg: &&SearchLeg| !leg.is_empty();
        let queries: Vec<QueryPoints> = legs.iter().filter(asked).map(query).collect();
        self.cache.count_round();
        let mut answers = run_queries(self.server, "searching", queries).await?.into_iter();
        let mut rankings = Vec::with_capacity(legs.len());
        for leg in &legs {
            rankings.push(match leg.is_empty() {
                true => LegRanking::empty(),
                false => parse_ranking(leg, &answers.next().unwrap_or_default(), limit)?,
            });
        }
        let mut rankings = rankings.into_iter();
        let mut next = || rankings.next().unwrap_or_else(LegRanking::empty);
        Ok(CandidateLists {
            mixed: next(),
            pairs: next(),
            dense: next(),
            guess,
            is_final: false,
        })
    }

    fn dense_leg(&self, exact: bool) -> Option<SearchLeg> {
        let vector = self.dense?.to_vec();
        Some(SearchLeg::Dense { vector, exact })
    }

    /// Fetches what the lists do not contain. Points `ahead` get exact scores, and need no others.
    pub async fn second_round(
        &self,
        lists: &CandidateLists,
        mut known: KnownPoints,
        ahead: &[PointId],
    ) -> Result<SecondRound, IndexError> {
        let scorer = self.exact_scorer();
        let mut unknown = lists.all_points();
        unknown.retain(|point| !known.contains_key(point));
        self.cache.count_round();
        let (scores, exact, read) = tokio::try_join!(
            self.fetch_missing_scores(lists, ahead),
            score_points(self.server, &scorer, ahead),
            self.read_points(&unknown),
        )?;
        known.extend(read);
        Ok(SecondRound { scores, exact, known })
    }

    /// Exact scores of the given points.
    pub async fn score_points(&self, points: &[PointId]) -> Result<HashMap<PointId, PointScores>, IndexError> {
        if points.is_empty() {
            return Ok(HashMap::new());
        }
        self.cache.count_round();
        score_points(self.server, &self.exact_scorer(), points).await
    }

    pub fn exact_scorer(&self) -> ExactScorer<'_> {
        ExactScorer::new(self.asked, self.dense)
    }

    async fn fetch_missing_scores(
        &self,
        lists: &CandidateLists,
        ahead: &[PointId],
    ) -> Result<MissingScores, IndexError> {
        let ahead: HashSet<PointId> = ahead.iter().copied().collect();
        let open = |points: Vec<PointId>, is_open: &dyn Fn(PointId) -> bool| -> Vec<PointId> {
            let open = points
                .into_iter()
                .filter(|point| !ahead.contains(point) && is_open(*point));
            open.collect()
        };
        let words_open = open(lists.all_points(), &|point| lists.unigram_score(point, 0.0).is_none());
        let pairs_open = open(lists.all_points(), &|point| lists.bigram_score(point).is_none());
        let far = open(lists.hit_candidates(self.asked.mode), &|point| {
            lists.dense.score(point).is_none() && !lists.dense.excludes_point(point)
        });
        let lexical = &self.asked.lexical;
        let words = sum_terms(lexical.unigrams.iter().copied());
        let pairs = sum_terms(lexical.bigrams.iter().copied());
        let mut legs = vec![
            (SearchLeg::Lexical(words), words_open.as_slice()),
            (SearchLeg::Lexical(pairs), pairs_open.as_slice()),
        ];
        legs.extend(self.dense_leg(true).map(|leg| (leg, far.as_slice())));
        legs.iter_mut()
            .filter(|(leg, _)| leg.is_empty())
            .for_each(|(_, points)| *points = &[]);
        let query = |(leg, points): &(SearchLeg, &[PointId])| {
            let filter = Conditions::must([only_points(points)]);
            nearest_query(self.server, leg, &filter, points.len())
        };
        let asked = legs.iter().filter(|(_, points)| !points.is_empty());
        let queries = asked.map(query).collect();
        let mut answers = run_queries(self.server, "scoring candidates", queries)
            .await?
            .into_iter();
        let mut found = Vec::with_capacity(legs.len());
        for (_, points) in &legs {
            found.push(match points.is_empty() {
                true => HashMap::new(),
                false => parse_scores(answers.next().unwrap_or_default().result)?,
            });
        }
        let mut found = found.into_iter();
        let mut next = || found.next().unwrap_or_default();
        Ok(MissingScores {
            words: next(),
            pairs: next(),
            dense: next(),
        })
    }

    /// Cached data of `points` from before `when`; empty if the caller's filter has to be checked here.
    pub fn cached_points(&self, points: &[PointId], when: u64) -> KnownPoints {
        match self.checked {
            Some(_) => KnownPoints::new(),
            None => {
                let known = self.cache.facts.known_at(points, when).into_iter();
                known.map(|(point, fact)| (point, Some(fact))).collect()
            }
        }
    }

    /// Reads `points` from the server; those outside the caller's scope are `None`.
    async fn read_points(&self, points: &[PointId]) -> Result<KnownPoints, IndexError> {
        let mut known: KnownPoints = points.iter().map(|point| (*point, None)).collect();
        if points.is_empty() {
            return Ok(known);
        }
        let mut filter = self.conditions.clone();
        filter.must.push(only_points(points));
        let mut wanted = vec![CHUNK, DOCUMENT, GENERATION, ACL_REVISION, GATE, ACL_LONG];
        wanted.extend(self.checked.map(|_| FIELDS));
        let request = ScrollPoints {
            collection_name: self.server.collection_name(),
            filter: Some(filter),
            limit: Some(u32::try_from(points.len()).unwrap_or(u32::MAX)),
            with_payload: Some(include_fields(wanted)),
            ..ScrollPoints::default()
        };
        let answer = self.server.send_read("reading candidates", |client| {
            let request = request.clone();
            async move { client.scroll(request).await }
        });
        let mut lasting = Vec::new();
        for found in answer.await?.result {
            let point = parse_point_id(found.id.as_ref())?;
            let reading = PayloadReader::new(point, &found.payload);
            let fact = read_fact(&reading)?;
            known.insert(point, self.admits_payload(&reading)?.then_some(fact));
            // A point with a long ACL is not cached, because its ACL has to be checked each time.
            if reading.read_text(ACL_LONG)?.is_empty() {
                lasting.push((point, fact));
            }
        }
        self.cache.facts.record_facts(lasting);
        Ok(known)
    }

    /// Checks what the conditions could not express.
    fn admits_payload(&self, reading: &PayloadReader<'_>) -> Result<bool, IndexError> {
        if self.scope.readers().is_some()
            && !reading.read_text(ACL_LONG)?.is_empty()
            && !self.scope.admits(&reading.read_acl(ACL_LONG)?)
        {
            return Ok(false);
        }
        match self.checked {
            Some(filter) => Ok(filter.matches(&reading.read_fields()?)),
            None => Ok(true),
        }
    }
}

fn parse_scores(found: Vec<ScoredPoint>) -> Result<HashMap<PointId, f64>, IndexError> {
    let scores = found.into_iter().map(|found| {
        let point = parse_point_id(found.id.as_ref())?;
        Ok((point, f64::from(found.score)))
    });
    scores.collect()
}

fn read_fact(reading: &PayloadReader<'_>) -> Result<PointFact, IndexError> {
    Ok(PointFact {
        chunk: reading.read_chunk_id()?,
        gate: reading.read_number(GATE)? as f32,
        document: reading.read_document_id()?,
        generation: reading.read_generation()?,
        acl_revision: reading.read_integer(ACL_REVISION)?,
    })
}
