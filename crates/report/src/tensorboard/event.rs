//! Events as protocol buffers: `tensorboard/compat/proto/{event,summary,tensor,tensor_shape,histogram}.proto`.

use super::protobuf::Message;

/// One event, encoded.
#[derive(Clone, Debug)]
pub(super) struct Event(Message);

/// Field numbers, as in the files named above.
mod field {
    pub(super) mod event {
        pub(in super::super) const WALL_TIME: u32 = 1;
        pub(in super::super) const STEP: u32 = 2;
        pub(in super::super) const FILE_VERSION: u32 = 3;
        pub(in super::super) const SUMMARY: u32 = 5;
        pub(in super::super) const SESSION_LOG: u32 = 7;
    }
    pub(super) mod value {
        pub(in super::super) const TAG: u32 = 1;
        pub(in super::super) const SIMPLE_VALUE: u32 = 2;
        pub(in super::super) const HISTOGRAM: u32 = 5;
        pub(in super::super) const TENSOR: u32 = 8;
        pub(in super::super) const METADATA: u32 = 9;
    }
    pub(super) mod tensor {
        pub(in super::super) const DTYPE: u32 = 1;
        pub(in super::super) const SHAPE: u32 = 2;
        pub(in super::super) const STRINGS: u32 = 8;
    }
}
use field::{event, tensor, value};

/// `DataType.DT_STRING`.
const STRING: u64 = 7;
/// `DataClass.DATA_CLASS_TENSOR`.
const TENSOR_CLASS: u64 = 2;
/// `SessionLog.SessionStatus.START`.
const START: u64 = 1;

impl Event {
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// The event that every file begins with.
    pub(super) fn file_version(wall_time: f64) -> Self {
        Self(stamp(wall_time, 0).present(event::FILE_VERSION, b"brain.Event:2"))
    }

    pub(super) fn scalars<'a>(
        wall_time: f64,
        step: u64,
        scalars: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Self {
        let values = scalars.into_iter().map(|(tag, scalar)| {
            Message::default().string(value::TAG, tag).present_float(value::SIMPLE_VALUE, scalar as f32)
        });
        Self::summary(wall_time, step, values)
    }

    /// Texts in a tensor of this shape; the empty shape is a single text.
    pub(super) fn text(wall_time: f64, step: u64, tag: &str, shape: &[u64], texts: &[&str]) -> Self {
        let shape = shape.iter().fold(Message::default(), |message, &size| {
            message.message(2, &Message::default().integer(1, size))
        });
        let tensor = Message::default().integer(tensor::DTYPE, STRING).message(tensor::SHAPE, &shape);
        let tensor =
            texts.iter().fold(tensor, |tensor, text| tensor.present(tensor::STRINGS, text.as_bytes()));
        let plugin = Message::default().string(1, "text");
        let metadata = Message::default().message(1, &plugin).integer(4, TENSOR_CLASS);
        let text = Message::default()
            .string(value::TAG, tag)
            .message(value::TENSOR, &tensor)
            .message(value::METADATA, &metadata);
        Self::summary(wall_time, step, [text])
    }

    pub(super) fn histogram(wall_time: f64, step: u64, tag: &str, histogram: &Histogram) -> Self {
        let encoded = Message::default()
            .double(1, histogram.min)
            .double(2, histogram.max)
            .double(3, histogram.count)
            .double(4, histogram.sum)
            .double(5, histogram.sum_squares)
            .packed_doubles(6, &histogram.limits)
            .packed_doubles(7, &histogram.counts);
        let value = Message::default().string(value::TAG, tag).message(value::HISTOGRAM, &encoded);
        Self::summary(wall_time, step, [value])
    }

    /// A process starts to write events of `step` and later.
    pub(super) fn session_start(wall_time: f64, step: u64) -> Self {
        Self(stamp(wall_time, step).message(event::SESSION_LOG, &Message::default().integer(1, START)))
    }

    fn summary(wall_time: f64, step: u64, values: impl IntoIterator<Item = Message>) -> Self {
        let summary =
            values.into_iter().fold(Message::default(), |summary, value| summary.message(1, &value));
        Self(stamp(wall_time, step).message(event::SUMMARY, &summary))
    }
}

fn stamp(wall_time: f64, step: u64) -> Message {
    Message::default().double(event::WALL_TIME, wall_time).integer(event::STEP, step)
}

/// Counts of values in buckets of equal width.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Histogram {
    min: f64,
    max: f64,
    count: f64,
    sum: f64,
    sum_squares: f64,
    /// The upper ends of the buckets; the first bucket begins at `min`.
    limits: Vec<f64>,
    counts: Vec<f64>,
}

impl Histogram {
    /// `None` where there are no values, or one is not finite.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        const BUCKETS: usize = 30;
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut limits = Vec::with_capacity(BUCKETS);
        let mut limit = min;
        for k in 1..BUCKETS {
            // Weighted ends, because max - min may overflow; never below the limit before, whatever the rounding.
            let share = k as f64 / BUCKETS as f64;
            limit = (min * (1.0 - share) + max * share).clamp(limit, max);
            limits.push(limit);
        }
        limits.push(max);
        let mut counts = vec![0.0; BUCKETS];
        for &value in values {
            let bucket = limits.partition_point(|&limit| limit < value);
            if let Some(count) = counts.get_mut(bucket) {
                *count += 1.0;
            }
        }
        let sum = values.iter().sum();
        let sum_squares = values.iter().map(|value| value * value).sum();
        Some(Self { min, max, count: values.len() as f64, sum, sum_squares, limits, counts })
    }
}

#[cfg(test)]
mod tests;
