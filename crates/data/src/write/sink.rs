//! Files that rows are written to: under a temporary name, by the extension of the final one.

use super::Object;
use crate::{DataError, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempPath};

/// How rows are put into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Lines(Packing),
    Array(Packing),
    Parquet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Format {
    /// By the file's name.
    pub fn of_path(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let (name, packing) = match name.rsplit_once('.') {
            Some((stem, "gz")) => (stem, Packing::Gzip),
            Some((stem, "zst" | "zstd")) => (stem, Packing::Zstd),
            _ => (name.as_str(), Packing::None),
        };
        match (name.rsplit_once('.').map(|(_, extension)| extension), packing) {
            (Some("jsonl" | "ndjson"), packing) => Ok(Self::Lines(packing)),
            (Some("json"), packing) => Ok(Self::Array(packing)),
            (Some("parquet"), Packing::None) if cfg!(feature = "parquet") => Ok(Self::Parquet),
            _ => Err(DataError::Argument(format!(
                "{}: the extension says how to write; known are .jsonl, .jsonl.gz, .jsonl.zst, .json, .parquet",
                path.display()
            ))),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Lines(Packing::None) => "JSONL",
            Self::Lines(Packing::Gzip) => "JSONL, gzip",
            Self::Lines(Packing::Zstd) => "JSONL, zstd",
            Self::Array(Packing::None) => "JSON array",
            Self::Array(Packing::Gzip) => "JSON array, gzip",
            Self::Array(Packing::Zstd) => "JSON array, zstd",
            Self::Parquet => "Parquet",
        }
    }
}

/// The types of columns, where the format needs them.
pub(super) struct Columns {
    #[cfg(feature = "parquet")]
    schema: Option<super::schema::Shape>,
}

impl Columns {
    #[cfg(feature = "parquet")]
    pub fn new(format: Format) -> Self {
        Self { schema: (format == Format::Parquet).then_some(super::schema::Shape::Null) }
    }

    #[cfg(not(feature = "parquet"))]
    pub fn new(_: Format) -> Self {
        Self {}
    }

    /// Takes note of a row; says what does not go together.
    #[cfg(feature = "parquet")]
    pub fn add(&mut self, object: &Object) -> std::result::Result<(), String> {
        match &mut self.schema {
            Some(schema) => schema.add_row(object),
            None => Ok(()),
        }
    }

    #[cfg(not(feature = "parquet"))]
    pub fn add(&mut self, _: &Object) -> std::result::Result<(), String> {
        Ok(())
    }
}

/// A file that is being written.
pub(super) struct Sink {
    temporary: TempPath,
    rows: Rows,
}

enum Rows {
    Lines(Packed),
    Array(Packed, bool),
    #[cfg(feature = "parquet")]
    Parquet(super::parquet::RowWriter),
}

/// A writer that may compress.
enum Packed {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl Sink {
    /// Opens a temporary file beside `path`.
    pub fn create(format: Format, path: &Path, columns: Columns) -> Result<Self> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut builder = tempfile::Builder::new();
        let prefix = format!(".{name}.partial-");
        builder.prefix(&prefix);
        // As any file that a program creates; the library's own default is for secrets.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(Permissions::from_mode(0o666));
        }
        let file: NamedTempFile = builder.tempfile_in(folder).map_err(DataError::io(path, "create"))?;
        let (file, temporary) = file.into_parts();
        let packed = |file, packing| -> Result<Packed> {
            let file = BufWriter::with_capacity(1 << 20, file);
            Ok(match packing {
                Packing::None => Packed::Plain(file),
                Packing::Gzip => Packed::Gzip(GzEncoder::new(file, Compression::default())),
                Packing::Zstd => {
                    Packed::Zstd(zstd::Encoder::new(file, 3).map_err(DataError::io(path, "compress"))?)
                }
            })
        };
        let rows = match format {
            Format::Lines(packing) => Rows::Lines(packed(file, packing)?),
            Format::Array(packing) => Rows::Array(packed(file, packing)?, true),
            #[cfg(feature = "parquet")]
            Format::Parquet => {
                let schema = columns.schema.unwrap_or(super::schema::Shape::Null);
                let writer = super::parquet::RowWriter::new(file, schema);
                Rows::Parquet(writer.map_err(|message| DataError::file(path, message))?)
            }
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => {
                return Err(DataError::file(path, "this build has no Parquet (cargo feature)"));
            }
        };
        #[cfg(not(feature = "parquet"))]
        let _ = columns;
        Ok(Self { temporary, rows })
    }

    pub fn write(&mut self, row: Object) -> Result<()> {
        let failed = DataError::io(&self.temporary, "write");
        match &mut self.rows {
            Rows::Lines(out) => line(out, &row).map_err(failed),
            Rows::Array(out, first) => {
                let before: &[u8] = if std::mem::take(first) { b"[\n" } else { b",\n" };
                out.write_all(before)
                    .and_then(|()| serde_json::to_writer(out, &row).map_err(Into::into))
                    .map_err(failed)
            }
            #[cfg(feature = "parquet")]
            Rows::Parquet(writer) => {
                writer.write(row).map_err(|message| DataError::file(&self.temporary, message))
            }
        }
    }

    /// Ends the file and puts it on disk, still under its temporary name.
    pub fn finish(self) -> Result<Written> {
        let path = self.temporary.to_path_buf();
        let failed = DataError::io(&path, "write");
        let file = match self.rows {
            Rows::Lines(out) => out.finish().map_err(failed)?,
            Rows::Array(mut out, first) => {
                let end: &[u8] = if first { b"[]\n" } else { b"\n]\n" };
                out.write_all(end).and_then(|()| out.finish()).map_err(failed)?
            }
            #[cfg(feature = "parquet")]
            Rows::Parquet(writer) => {
                writer.finish().map_err(|message| DataError::file(&self.temporary, message))?
            }
        };
        file.sync_all().map_err(DataError::io(&self.temporary, "write"))?;
        Ok(Written { temporary: self.temporary })
    }
}

fn line(out: &mut Packed, row: &Object) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, row)?;
    out.write_all(b"\n")
}

impl Packed {
    fn finish(self) -> std::io::Result<File> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        file.into_inner().map_err(std::io::IntoInnerError::into_error)
    }
}

impl Write for Packed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(out) => out.write(bytes),
            Self::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(out) => out.flush(),
            Self::Zstd(out) => out.flush(),
        }
    }
}

/// A whole file without its name; it goes away unless it is given one.
pub(super) struct Written {
    temporary: TempPath,
}

impl Written {
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Gives the file its name.
    pub fn persist(self, path: &Path, overwrite: bool) -> Result<()> {
        let to: PathBuf = path.into();
        let done =
            if overwrite { self.temporary.persist(&to) } else { self.temporary.persist_noclobber(&to) };
        done.map_err(|error| DataError::Io { path: to, action: "write", source: error.error })
    }
}
