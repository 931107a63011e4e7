//! Rows as Parquet columns: each nested value is taken apart into the values of its leaves, with the levels that say
//! where a list begins and how deep a value is defined (Melnik et al., Dremel, VLDB 2010).

use super::Object;
use super::schema::Shape;
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use serde_json::Value;
use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;

/// Rows of a row group at most, and bytes of text in it.
const GROUP_ROWS: usize = 10_000;
const GROUP_BYTES: usize = 64 << 20;

/// Writes rows of one type.
pub(super) struct RowWriter {
    writer: SerializedFileWriter<BufWriter<File>>,
    shape: Shape,
    leaves: Vec<Leaf>,
    rows: usize,
}

/// The values of one leaf in the row group that is being filled.
struct Leaf {
    values: Values,
    definition: Vec<i16>,
    repetition: Vec<i16>,
    bytes: usize,
}

enum Values {
    Bool(Vec<bool>),
    Int(Vec<i64>),
    Double(Vec<f64>),
    Text(Vec<ByteArray>),
}

fn said(error: ParquetError) -> String {
    format!("Parquet: {error}")
}

impl RowWriter {
    pub fn new(file: File, shape: Shape) -> Result<Self, String> {
        let schema = shape.schema().map_err(said)?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let file = BufWriter::with_capacity(1 << 20, file);
        let writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).map_err(said)?;
        let mut leaves = Vec::new();
        make_leaves(&shape, &mut leaves);
        Ok(Self { writer, shape, leaves, rows: 0 })
    }

    pub fn write(&mut self, row: Object) -> Result<(), String> {
        if let Shape::Struct(fields) = &self.shape {
            let mut at = 0;
            for (name, shape) in fields {
                let value = row.get(name).unwrap_or(&Value::Null);
                at += put(shape, value, Levels::default(), &mut self.leaves[at..]);
            }
        }
        self.rows += 1;
        let bytes: usize = self.leaves.iter().map(|leaf| leaf.bytes).sum();
        if self.rows >= GROUP_ROWS || bytes >= GROUP_BYTES { self.flush() } else { Ok(()) }
    }

    pub fn finish(mut self) -> Result<File, String> {
        if self.rows > 0 {
            self.flush()?;
        }
        let buffer = self.writer.into_inner().map_err(said)?;
        buffer.into_inner().map_err(|error| format!("Parquet: {}", error.error()))
    }

    /// Writes the row group.
    fn flush(&mut self) -> Result<(), String> {
        let mut group = self.writer.next_row_group().map_err(said)?;
        for leaf in &mut self.leaves {
            let column = group.next_column().map_err(said)?.ok_or("Parquet: a column too few")?;
            leaf.write(column).map_err(said)?;
        }
        group.close().map_err(said)?;
        self.rows = 0;
        Ok(())
    }
}

impl Leaf {
    fn write(&mut self, mut column: SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let (definition, repetition) = (Some(self.definition.as_slice()), Some(self.repetition.as_slice()));
        match &mut self.values {
            Values::Bool(values) => {
                column.typed::<BoolType>().write_batch(values, definition, repetition)?;
                values.clear();
            }
            Values::Int(values) => {
                column.typed::<Int64Type>().write_batch(values, definition, repetition)?;
                values.clear();
            }
            Values::Double(values) => {
                column.typed::<DoubleType>().write_batch(values, definition, repetition)?;
                values.clear();
            }
            Values::Text(values) => {
                column.typed::<ByteArrayType>().write_batch(values, definition, repetition)?;
                values.clear();
            }
        }
        self.definition.clear();
        self.repetition.clear();
        self.bytes = 0;
        column.close()
    }

    /// One value, or none where the definition level says that it stops above.
    fn push(&mut self, value: Option<&Value>, levels: Levels) {
        match (&mut self.values, value) {
            (Values::Bool(values), Some(value)) => values.push(value.as_bool().unwrap_or_default()),
            (Values::Int(values), Some(value)) => values.push(value.as_i64().unwrap_or_default()),
            (Values::Double(values), Some(value)) => values.push(value.as_f64().unwrap_or_default()),
            (Values::Text(values), Some(value)) => {
                let text = value.as_str().unwrap_or_default();
                self.bytes += text.len();
                values.push(ByteArray::from(text));
            }
            (_, None) => {}
        }
        self.bytes += 16;
        self.definition.push(levels.definition);
        self.repetition.push(levels.repetition);
    }
}

fn make_leaves(shape: &Shape, leaves: &mut Vec<Leaf>) {
    let values = match shape {
        Shape::Struct(fields) if !fields.is_empty() => {
            return fields.iter().for_each(|(_, shape)| make_leaves(shape, leaves));
        }
        Shape::List(element) => return make_leaves(element, leaves),
        Shape::Bool => Values::Bool(Vec::new()),
        Shape::Int => Values::Int(Vec::new()),
        Shape::Double => Values::Double(Vec::new()),
        Shape::Null | Shape::Text | Shape::Struct(_) => Values::Text(Vec::new()),
    };
    leaves.push(Leaf { values, definition: Vec::new(), repetition: Vec::new(), bytes: 0 });
}

/// Where a value stands: optional and repeated levels that are defined above it, the level at which it repeats, and how
/// many lists it is in.
#[derive(Clone, Copy, Default)]
struct Levels {
    definition: i16,
    repetition: i16,
    lists: i16,
}

/// Puts a value into the leaves below it and returns how many these are.
fn put(shape: &Shape, value: &Value, at: Levels, leaves: &mut [Leaf]) -> usize {
    match (shape, value) {
        (Shape::List(element), Value::Array(list)) if !list.is_empty() => {
            let mut used = 0;
            for (i, value) in list.iter().enumerate() {
                let repetition = if i == 0 { at.repetition } else { at.lists + 1 };
                let inner = Levels { definition: at.definition + 2, repetition, lists: at.lists + 1 };
                used = put(element, value, inner, leaves);
            }
            used
        }
        (Shape::List(element), value) => {
            let empty = i16::from(value.is_array());
            nothing(element, Levels { definition: at.definition + empty, ..at }, leaves)
        }
        (Shape::Struct(fields), Value::Object(object)) if !fields.is_empty() => {
            let inner = Levels { definition: at.definition + 1, ..at };
            let mut used = 0;
            for (name, shape) in fields {
                let value = object.get(name).unwrap_or(&Value::Null);
                used += put(shape, value, inner, &mut leaves[used..]);
            }
            used
        }
        (Shape::Struct(_) | Shape::Null, _) | (_, Value::Null) => nothing(shape, at, leaves),
        (_, value) => {
            leaves[0].push(Some(value), Levels { definition: at.definition + 1, ..at });
            1
        }
    }
}

/// Says in every leaf below that there is no value.
fn nothing(shape: &Shape, at: Levels, leaves: &mut [Leaf]) -> usize {
    match shape {
        Shape::List(element) => nothing(element, at, leaves),
        Shape::Struct(fields) if !fields.is_empty() => {
            fields.iter().fold(0, |used, (_, shape)| used + nothing(shape, at, &mut leaves[used..]))
        }
        _ => {
            leaves[0].push(None, at);
            1
        }
    }
}
