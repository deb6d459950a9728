//! What one search asks of the server, round by round.
//!
//! The first round brings the lists of all legs, ids and scores alone. The second brings, at once, the scores that the lists
//! do not hold, the stored vectors of the points that may be among the best, and the payloads of points that no search met
//! lately. Qdrant's own fusions do not tell the scores of the legs, so they are of no use here.
//!
//! Invariant: a payload is read under the conditions of the caller's scope, so a point that stopped to be the caller's
//! between both rounds is not found.

use std::collections::{HashMap, HashSet};

use qdrant_client::qdrant::{CountPoints, Filter as Conditions, QueryPoints, ScoredPoint, ScrollPoints};
use ragstone_core::access::Scope;
use ragstone_core::filter::Filter;
use ragstone_core::id::PointId;
use ragstone_core::rank::TermId;
use ragstone_core::rank::fusion::BIGRAM_WEIGHT;
use ragstone_core::seam::index::{IndexError, IndexQuery};

use super::exact::{ExactScorer, Scores, measured};
use super::facts::{Fact, Known};
use super::leg::Leg;
use super::lists::{Lists, Ranking};
use super::memory::SearchMemory;
use super::payload::{ACL_LONG, ACL_REVISION, CHUNK, DOCUMENT, FIELDS, GATE, GENERATION, Reading, point_id, summed};
use super::query::{among, ask, include, nearest, ranking};
use super::server::Server;
use super::sizes::number_of;

/// What a search asks by.
pub(super) struct Rounds<'a> {
    pub server: &'a Server,
    pub memory: &'a SearchMemory,
    pub scope: &'a Scope,
    pub asked: &'a IndexQuery,
    /// The question's vector, if there is a dense leg.
    pub dense: Option<&'a [f32]>,
    /// What Qdrant is told the caller may see.
    pub conditions: Conditions,
    /// The caller's filter, where Qdrant could not be told all of it.
    pub checked: Option<&'a Filter>,
}

/// What a second round brought.
pub(super) struct Second {
    /// Scores in single precision of points whose lists did not hold them.
    pub scores: MissingScores,
    /// Scores to the last digit.
    pub exact: HashMap<PointId, Scores>,
    /// Of all points that were asked about.
    pub known: Known,
}

/// Scores that no list holds, by leg.
#[derive(Default)]
pub(super) struct MissingScores {
    pub dense: HashMap<PointId, f64>,
    pub words: HashMap<PointId, f64>,
    pub pairs: HashMap<PointId, f64>,
}

impl Rounds<'_> {
    /// Whether so few points are in scope that each is compared.
    pub async fn is_small(&self) -> Result<bool, IndexError> {
        if self.dense.is_none() {
            return Ok(true);
        }
        let limit = self.server.options.exact_below;
        let all = Conditions::default();
        Ok(self.size(&all).await? <= limit || self.size(&self.conditions).await? <= limit)
    }

    async fn size(&self, conditions: &Conditions) -> Result<u64, IndexError> {
        let number = number_of(conditions);
        if let Some(points) = self.memory.sizes.recent(number) {
            return Ok(points);
        }
        self.memory.note_round();
        let request = CountPoints {
            collection_name: self.server.collection(),
            filter: Some(conditions.clone()),
            exact: Some(false),
            ..CountPoints::default()
        };
        let answer = self.server.read("estimating the scope", |client| {
            let request = request.clone();
            async move { client.count(request).await }
        });
        let points = answer.await?.result.map_or(0, |result| result.count);
        self.memory.sizes.remember(number, points);
        Ok(points)
    }

    /// The lists of all legs, `limit` points each, B' with `guess` for the gate.
    pub async fn first(&self, limit: usize, guess: f64, exact: bool) -> Result<Lists, IndexError> {
        let lexical = &self.asked.lexical;
        let weight = |(term, idf): &(TermId, f64)| (*term, BIGRAM_WEIGHT * guess * idf);
        let weighed = lexical.bigrams.iter().map(weight);
        let mixed = summed(lexical.unigrams.iter().copied().chain(weighed));
        let pairs = summed(lexical.bigrams.iter().copied());
        // Both lexical legs stand side by side and differ in nothing else, so the server filters once for both.
        let mut legs = vec![Leg::Lexical(mixed), Leg::Lexical(pairs)];
        legs.extend(self.dense_leg(exact));
        let query = |leg: &Leg| nearest(self.server, leg, &self.conditions, limit);
        let asked = |leg: &&Leg| !leg.is_empty();
        let queries: Vec<QueryPoints> = legs.iter().filter(asked).map(query).collect();
        self.memory.note_round();
        let mut answers = ask(self.server, "searching", queries).await?.into_iter();
        let mut rankings = Vec::with_capacity(legs.len());
        for leg in &legs {
            rankings.push(match leg.is_empty() {
                true => Ranking::nothing(),
                false => ranking(leg, &answers.next().unwrap_or_default(), limit)?,
            });
        }
        let mut rankings = rankings.into_iter();
        let mut next = || rankings.next().unwrap_or_else(Ranking::nothing);
        Ok(Lists {
            mixed: next(),
            pairs: next(),
            dense: next(),
            guess,
            is_final: false,
        })
    }

    fn dense_leg(&self, exact: bool) -> Option<Leg> {
        let vector = self.dense?.to_vec();
        Some(Leg::Dense { vector, exact })
    }

    /// What the lists do not hold. Points `ahead` are scored to the last digit, and need no other scores.
    pub async fn second(&self, lists: &Lists, mut known: Known, ahead: &[PointId]) -> Result<Second, IndexError> {
        let scorer = self.scorer();
        let mut unknown = lists.points();
        unknown.retain(|point| !known.contains_key(point));
        self.memory.note_round();
        let (scores, exact, read) = tokio::try_join!(
            self.missing(lists, ahead),
            measured(self.server, &scorer, ahead),
            self.read(&unknown),
        )?;
        known.extend(read);
        Ok(Second { scores, exact, known })
    }

    /// The scores of points to the last digit.
    pub async fn measured(&self, points: &[PointId]) -> Result<HashMap<PointId, Scores>, IndexError> {
        if points.is_empty() {
            return Ok(HashMap::new());
        }
        self.memory.note_round();
        measured(self.server, &self.scorer(), points).await
    }

    pub fn scorer(&self) -> ExactScorer<'_> {
        ExactScorer::new(self.asked, self.dense)
    }

    async fn missing(&self, lists: &Lists, ahead: &[PointId]) -> Result<MissingScores, IndexError> {
        let ahead: HashSet<PointId> = ahead.iter().copied().collect();
        let open = |points: Vec<PointId>, is_open: &dyn Fn(PointId) -> bool| -> Vec<PointId> {
            let open = points
                .into_iter()
                .filter(|point| !ahead.contains(point) && is_open(*point));
            open.collect()
        };
        let words_open = open(lists.points(), &|point| lists.unigrams(point, 0.0).is_none());
        let pairs_open = open(lists.points(), &|point| lists.bigrams(point).is_none());
        let far = open(lists.candidates(self.asked.mode), &|point| {
            lists.dense.score(point).is_none() && !lists.dense.leaves_out(point)
        });
        let lexical = &self.asked.lexical;
        let words = summed(lexical.unigrams.iter().copied());
        let pairs = summed(lexical.bigrams.iter().copied());
        let mut legs = vec![
            (Leg::Lexical(words), words_open.as_slice()),
            (Leg::Lexical(pairs), pairs_open.as_slice()),
        ];
        legs.extend(self.dense_leg(true).map(|leg| (leg, far.as_slice())));
        legs.iter_mut()
            .filter(|(leg, _)| leg.is_empty())
            .for_each(|(_, points)| *points = &[]);
        let query = |(leg, points): &(Leg, &[PointId])| {
            let filter = Conditions::must([among(points)]);
            nearest(self.server, leg, &filter, points.len())
        };
        let asked = legs.iter().filter(|(_, points)| !points.is_empty());
        let queries = asked.map(query).collect();
        let mut answers = ask(self.server, "scoring candidates", queries).await?.into_iter();
        let mut found = Vec::with_capacity(legs.len());
        for (_, points) in &legs {
            found.push(match points.is_empty() {
                true => HashMap::new(),
                false => scores(answers.next().unwrap_or_default().result)?,
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

    /// What is remembered of `points` since before `when`; nothing where the caller's filter is looked at again.
    pub fn remembered(&self, points: &[PointId], when: u64) -> Known {
        match self.checked {
            Some(_) => Known::new(),
            None => {
                let known = self.memory.facts.known(points, when).into_iter();
                known.map(|(point, fact)| (point, Some(fact))).collect()
            }
        }
    }

    /// What the server knows of `points`, as far as they are the caller's.
    async fn read(&self, points: &[PointId]) -> Result<Known, IndexError> {
        let mut known: Known = points.iter().map(|point| (*point, None)).collect();
        if points.is_empty() {
            return Ok(known);
        }
        let mut filter = self.conditions.clone();
        filter.must.push(among(points));
        let mut wanted = vec![CHUNK, DOCUMENT, GENERATION, ACL_REVISION, GATE, ACL_LONG];
        wanted.extend(self.checked.map(|_| FIELDS));
        let request = ScrollPoints {
            collection_name: self.server.collection(),
            filter: Some(filter),
            limit: Some(u32::try_from(points.len()).unwrap_or(u32::MAX)),
            with_payload: Some(include(wanted)),
            ..ScrollPoints::default()
        };
        let answer = self.server.read("reading candidates", |client| {
            let request = request.clone();
            async move { client.scroll(request).await }
        });
        let mut lasting = Vec::new();
        for found in answer.await?.result {
            let point = point_id(found.id.as_ref())?;
            let reading = Reading::of(point, &found.payload);
            let fact = fact(&reading)?;
            known.insert(point, self.admits(&reading)?.then_some(fact));
            // A long ACL is looked at each time.
            if reading.text(ACL_LONG)?.is_empty() {
                lasting.push((point, fact));
            }
        }
        self.memory.facts.remember(lasting);
        Ok(known)
    }

    /// What Qdrant could not be asked.
    fn admits(&self, reading: &Reading<'_>) -> Result<bool, IndexError> {
        if self.scope.readers().is_some()
            && !reading.text(ACL_LONG)?.is_empty()
            && !self.scope.admits(&reading.acl(ACL_LONG)?)
        {
            return Ok(false);
        }
        match self.checked {
            Some(filter) => Ok(filter.matches(&reading.fields()?)),
            None => Ok(true),
        }
    }
}

fn scores(found: Vec<ScoredPoint>) -> Result<HashMap<PointId, f64>, IndexError> {
    let scores = found.into_iter().map(|found| {
        let point = point_id(found.id.as_ref())?;
        Ok((point, f64::from(found.score)))
    });
    scores.collect()
}

fn fact(reading: &Reading<'_>) -> Result<Fact, IndexError> {
    Ok(Fact {
        chunk: reading.chunk()?,
        gate: reading.number(GATE)? as f32,
        document: reading.document()?,
        generation: reading.generation()?,
        acl_revision: reading.integer(ACL_REVISION)?,
    })
}
