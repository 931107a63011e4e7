//! Parquet files as lines of JSON.

use parquet::basic::{ConvertedType, Type};
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::fs::File;
use std::io::Write;

/// Writes each row as a line; returns the names of columns that hold bytes without being declared as text, which become
/// base64.
pub(super) fn write_rows(file: File, out: &mut impl Write) -> Result<Vec<String>, String> {
    let failed = |e: parquet::errors::ParquetError| format!("not a readable Parquet file: {e}");
    let reader = SerializedFileReader::new(file).map_err(failed)?;
    let columns = reader.metadata().file_metadata().schema_descr().columns().to_vec();
    let bytes = columns.iter().filter(|column| {
        matches!(column.physical_type(), Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY)
            && column.converted_type() == ConvertedType::NONE
            && column.logical_type_ref().is_none()
    });
    let bytes = bytes.map(|column| column.path().string()).collect();
    for (number, row) in reader.get_row_iter(None).map_err(failed)?.enumerate() {
        let row = row.map_err(|e| format!("row {}: {e}", number + 1))?;
        writeln!(out, "{}", row.to_json_value()).map_err(|e| e.to_string())?;
    }
    Ok(bytes)
}
