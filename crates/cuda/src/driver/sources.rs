//! The kernels' sources, in the binary.

/// A file's name and text.
pub type Source = (&'static str, &'static str);

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../kernels/", $name)))),+]
    };
}

/// Programs, each compiled by itself.
pub const SOURCES: &[Source] = files![
    "attention.cu",
    "attention_backward.cu",
    "attention_bf16.cu",
    "attention_bf16_backward.cu",
    "cached_attention.cu",
    "cast.cu",
    "elementwise.cu",
    "norms.cu",
    "optimizer.cu",
    "rotary.cu",
    "rows.cu",
    "sampling.cu",
    "vocabulary.cu",
];

/// What they include.
pub const HEADERS: &[Source] =
    files!["attention.cuh", "attention_bf16.cuh", "columns.cuh", "common.cuh", "mma.cuh"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_listed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/kernels");
        let mut found: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".cu") || name.ends_with(".cuh"))
            .collect();
        found.sort();
        let mut listed: Vec<&str> = SOURCES.iter().chain(HEADERS).map(|(name, _)| *name).collect();
        listed.sort_unstable();
        assert_eq!(listed, found);
    }
}
