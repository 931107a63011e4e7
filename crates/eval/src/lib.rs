//! Evaluation: benchmarks and data files, graded samples, and the statistics that a careful reader believes.

pub mod stats;
