//! Metadata fields by column, for filters: each key's values once, and which groups or slots have them.
//!
//! Invariant: a filter selects the slots of exactly those groups whose fields it matches
//! ([`MetadataFilter::matches`]). A comparison is made once for each value of its column, not for each slot.

use std::collections::HashMap;
use std::sync::Arc;

use ragstone_core::document::DocumentMetadata;
use ragstone_core::filter::{ComparisonTest, FieldComparison, FieldValue, FilterShape, MetadataFilter};
use roaring::RoaringBitmap;
use serde_json::Value;

use super::slots::SlotSet;

/// A column of at most this many values has a bitmap of slots for each value.
const FEW_VALUES: usize = 256;
/// Position that means that a group has no value.
const NONE: u32 = u32::MAX;

/// The columns of a segment's groups, by field name.
#[derive(Debug, Clone, Default)]
pub struct FieldColumns(HashMap<Arc<str>, FieldColumn>);

#[derive(Debug, Clone)]
struct FieldColumn {
    /// Value position by group position; shorter than the list of groups if the last ones have no value.
    of_group: Vec<u32>,
    values: ColumnValues,
    /// Slots by value position; `None` once there are many values.
    slots: Option<Vec<RoaringBitmap>>,
}

#[derive(Debug, Clone)]
enum ColumnValues {
    /// Only texts, concatenated; `ends` has the end of each.
    Texts { text: String, ends: Vec<u32> },
    /// Values of any type.
    Mixed(Vec<Value>),
}

impl ColumnValues {
    fn len(&self) -> usize {
        match self {
            Self::Texts { ends, .. } => ends.len(),
            Self::Mixed(values) => values.len(),
        }
    }

    fn get(&self, place: usize) -> FieldValue<'_> {
        match self {
            Self::Texts { text, ends } => {
                let start = place.checked_sub(1).map_or(0, |before| ends[before] as usize);
                FieldValue::Text(&text[start..ends[place] as usize])
            }
            Self::Mixed(values) => FieldValue::from_json(&values[place]),
        }
    }

    fn push(&mut self, value: FieldValue<'_>) {
        match (&mut *self, value) {
            (Self::Texts { text, ends }, FieldValue::Text(new)) if text.len() + new.len() < u32::MAX as usize => {
                text.push_str(new);
                ends.push(text.len() as u32);
            }
            (Self::Texts { .. }, value) => {
                let held = (0..self.len()).map(|place| to_json_value(self.get(place)));
                *self = Self::Mixed(held.chain([to_json_value(value)]).collect());
            }
            (Self::Mixed(values), value) => values.push(to_json_value(value)),
        }
    }
}

fn to_json_value(value: FieldValue<'_>) -> Value {
    match value {
        FieldValue::Text(text) => Value::String(text.to_owned()),
        FieldValue::Other(value) => value.clone(),
    }
}

impl FieldColumn {
    fn new() -> Self {
        Self {
            of_group: Vec::new(),
            values: ColumnValues::Texts {
                text: String::new(),
                ends: Vec::new(),
            },
            slots: Some(Vec::new()),
        }
    }

    fn set_place(&mut self, group: usize, place: u32) {
        if self.of_group.len() <= group {
            self.of_group.resize(group + 1, NONE);
        }
        self.of_group[group] = place;
    }

    /// Returns the position of a value, adding it if needed. Duplicates are detected only while the column has few
    /// values.
    fn intern_value(&mut self, value: FieldValue<'_>, known: &mut HashMap<String, u32>) -> u32 {
        let next = self.values.len() as u32;
        if self.values.len() > FEW_VALUES {
            known.clear();
            self.values.push(value);
            return next;
        }
        // The JSON of no other value begins with a quotation mark.
        let written = match value {
            FieldValue::Text(text) => format!("\"{text}"),
            FieldValue::Other(value) => value.to_string(),
        };
        *known.entry(written).or_insert_with(|| {
            self.values.push(value);
            next
        })
    }

    /// Returns the position of a value, adding it if it is not among the first `FEW_VALUES + 1`.
    fn intern_among_few(&mut self, value: FieldValue<'_>) -> u32 {
        let few = 0..self.values.len().min(FEW_VALUES + 1);
        let held = few.into_iter().find(|place| self.values.get(*place) == value);
        held.unwrap_or_else(|| {
            self.values.push(value);
            self.values.len() - 1
        }) as u32
    }

    fn add_passing_slots(&self, test: ComparisonTest, wanted: &Value, groups: &[u32], slots: &mut SlotSet) {
        let passes = |place: usize| test.passes(self.values.get(place), wanted);
        let places = 0..self.values.len();
        match &self.slots {
            Some(by_value) => places
                .filter(|place| passes(*place))
                .for_each(|place| slots.add_bitmap(&by_value[place])),
            None => {
                let passes: Vec<bool> = places.map(passes).collect();
                let of_group = |group: &u32| self.of_group.get(*group as usize).copied().unwrap_or(NONE);
                slots.set_where(|slot| passes.get(of_group(&groups[slot]) as usize).copied().unwrap_or(false));
            }
        }
    }
}

impl FieldColumns {
    /// Slots whose fields `filter` matches; `groups` has the group position of each slot.
    pub fn matching_slots(&self, filter: &MetadataFilter, groups: &[u32]) -> SlotSet {
        let mut found = SlotSet::empty(groups.len());
        match filter.as_shape() {
            FilterShape::Comparison(FieldComparison { key, value }, test) => {
                if let Some(column) = self.0.get(key.as_str()) {
                    column.add_passing_slots(test, value, groups, &mut found);
                }
            }
            FilterShape::All(parts) => {
                found.fill();
                parts
                    .iter()
                    .for_each(|part| found.intersect_set(&self.matching_slots(part, groups)));
            }
            FilterShape::Any(parts) => parts
                .iter()
                .for_each(|part| found.union_set(&self.matching_slots(part, groups))),
            FilterShape::None(parts) => {
                found.fill();
                parts
                    .iter()
                    .for_each(|part| found.subtract_set(&self.matching_slots(part, groups)));
            }
        }
        found
    }

    /// Changes the fields of the group at `place`, whose slots are `slots`.
    pub fn change_group(&mut self, place: usize, fields: &DocumentMetadata, slots: &RoaringBitmap) {
        for column in self.0.values_mut() {
            let old = column.of_group.get(place).copied().unwrap_or(NONE);
            if old != NONE {
                column.of_group[place] = NONE;
                if let Some(by_value) = &mut column.slots {
                    by_value[old as usize] -= slots;
                }
            }
        }
        for (key, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            let column = self.0.entry(key.as_str().into()).or_insert_with(FieldColumn::new);
            let at = column.intern_among_few(FieldValue::from_json(value));
            column.set_place(place, at);
            if let Some(by_value) = &mut column.slots {
                by_value.resize_with(column.values.len(), RoaringBitmap::new);
                by_value[at as usize] |= slots;
            }
        }
    }
}

/// Builder of the columns of a segment.
#[derive(Default)]
pub struct FieldColumnsBuilder {
    columns: FieldColumns,
    known: HashMap<Arc<str>, HashMap<String, u32>>,
    groups: usize,
}

impl FieldColumnsBuilder {
    /// Appends a group with these fields.
    pub fn push(&mut self, fields: &DocumentMetadata) {
        for (key, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            self.push_field(key, FieldValue::from_json(value));
        }
        self.groups += 1;
    }

    /// Appends the group at `place` of `other`.
    pub fn push_from(&mut self, other: &FieldColumns, place: usize) {
        for (key, column) in &other.0 {
            match column.of_group.get(place).copied().unwrap_or(NONE) {
                NONE => {}
                value => self.push_field(key, column.values.get(value as usize)),
            }
        }
        self.groups += 1;
    }

    fn push_field(&mut self, key: &str, value: FieldValue<'_>) {
        if !self.columns.0.contains_key(key) {
            let key: Arc<str> = key.into();
            self.columns.0.insert(key.clone(), FieldColumn::new());
            self.known.insert(key, HashMap::new());
        }
        if let (Some(column), Some(known)) = (self.columns.0.get_mut(key), self.known.get_mut(key)) {
            let place = column.intern_value(value, known);
            column.set_place(self.groups, place);
        }
    }

    /// Builds the columns; `slots` are the slots of each pushed group.
    pub fn build(mut self, slots: &[RoaringBitmap]) -> FieldColumns {
        for column in self.columns.0.values_mut() {
            column.of_group.shrink_to_fit();
            column.slots = (column.values.len() <= FEW_VALUES).then(|| {
                let mut by_value = vec![RoaringBitmap::new(); column.values.len()];
                for (place, slots) in column.of_group.iter().zip(slots) {
                    if *place != NONE {
                        by_value[*place as usize] |= slots;
                    }
                }
                by_value
            });
        }
        self.columns
    }
}
