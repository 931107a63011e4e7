//! The types of columns, found from the rows, as Parquet needs them before the first row is written.

use super::Object;
use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::schema::types::{Type, TypePtr};
use serde_json::Value;
use std::sync::Arc;

/// The type of a column. Everything may be null.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Null,
    Bool,
    Int,
    Double,
    Text,
    List(Box<Shape>),
    Struct(Vec<(String, Shape)>),
}

impl Shape {
    /// Widens the type to hold a row.
    pub fn add_row(&mut self, row: &Object) -> Result<(), String> {
        if *self == Self::Null {
            *self = Self::Struct(Vec::new());
        }
        self.add_fields(row, "")
    }

    fn add_fields(&mut self, object: &Object, path: &str) -> Result<(), String> {
        let Self::Struct(fields) = self else { return Err(conflict(path, self.name(), "an object")) };
        for (key, value) in object {
            let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match fields.iter_mut().find(|(name, _)| name == key) {
                Some((_, shape)) => shape.add(value, &at)?,
                None => {
                    let mut shape = Self::Null;
                    shape.add(value, &at)?;
                    fields.push((key.clone(), shape));
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, value: &Value, path: &str) -> Result<(), String> {
        let found = match value {
            Value::Null => return Ok(()),
            Value::Bool(_) => Self::Bool,
            Value::Number(number) if number.is_i64() => Self::Int,
            Value::Number(_) => Self::Double,
            Value::String(_) => Self::Text,
            Value::Array(list) => {
                if *self == Self::Null {
                    *self = Self::List(Box::new(Self::Null));
                }
                let Self::List(element) = self else { return Err(conflict(path, self.name(), "a list")) };
                return list.iter().try_for_each(|value| element.add(value, path));
            }
            Value::Object(object) => {
                if *self == Self::Null {
                    *self = Self::Struct(Vec::new());
                }
                return self.add_fields(object, path);
            }
        };
        *self = match (&*self, found) {
            (Self::Null, found) => found,
            (known, found) if *known == found => found,
            (Self::Int | Self::Double, Self::Int | Self::Double) => Self::Double,
            (known, found) => return Err(conflict(path, known.name(), found.name())),
        };
        Ok(())
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Int | Self::Double => "a number",
            Self::Text => "text",
            Self::List(_) => "a list",
            Self::Struct(_) => "an object",
        }
    }

    /// The file's schema.
    pub fn schema(&self) -> Result<TypePtr, parquet::errors::ParquetError> {
        let fields = match self {
            Self::Struct(fields) => {
                fields.iter().map(|(name, shape)| shape.field(name)).collect::<Result<_, _>>()?
            }
            _ => Vec::new(),
        };
        Ok(Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?))
    }

    /// One column; lists in the three levels of the format's specification.
    fn field(&self, name: &str) -> Result<TypePtr, parquet::errors::ParquetError> {
        let primitive = |physical, logical| {
            let builder = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
            builder.with_logical_type(logical).build()
        };
        let built = match self {
            Self::Bool => primitive(Physical::BOOLEAN, None)?,
            Self::Int => primitive(Physical::INT64, None)?,
            Self::Double => primitive(Physical::DOUBLE, None)?,
            // A column of nulls alone, and an object that has no keys anywhere: there is no such type, so it is text
            // that is never there.
            Self::Null | Self::Text => primitive(Physical::BYTE_ARRAY, Some(LogicalType::String))?,
            Self::Struct(fields) if fields.is_empty() => {
                primitive(Physical::BYTE_ARRAY, Some(LogicalType::String))?
            }
            Self::List(element) => {
                let list = Type::group_type_builder("list")
                    .with_repetition(Repetition::REPEATED)
                    .with_fields(vec![element.field("element")?])
                    .build()?;
                Type::group_type_builder(name)
                    .with_repetition(Repetition::OPTIONAL)
                    .with_logical_type(Some(LogicalType::List))
                    .with_fields(vec![Arc::new(list)])
                    .build()?
            }
            Self::Struct(fields) => {
                let fields =
                    fields.iter().map(|(name, shape)| shape.field(name)).collect::<Result<Vec<_>, _>>()?;
                let builder = Type::group_type_builder(name).with_repetition(Repetition::OPTIONAL);
                builder.with_fields(fields).build()?
            }
        };
        Ok(Arc::new(built))
    }
}

fn conflict(path: &str, known: &str, found: &str) -> String {
    format!(
        "column {path:?} is {found} here and {known} in an earlier row; a Parquet column has one type (JSONL has no such \
         bound)"
    )
}
